"""Run benchmark families: `python -m benchmarks [FAMILY ...]`. A family is a module with `run()`."""

from __future__ import annotations

import importlib
import os
import sys

from benchmarks.readme import README, readme
from benchmarks.report import as_table, write

FAMILIES = ("messages", "spawn", "pool", "start", "edge")


def main(names: list[str]) -> int:
    """Run the families named, or all; 2 for an unknown one."""
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        print(f"unknown families {unknown} (known: {', '.join(FAMILIES)})", file=sys.stderr)
        return 2
    for name in names or FAMILIES:
        load = os.getloadavg()[0]
        figures = importlib.import_module(f"benchmarks.{name}").run()
        path = write(name, figures, load)
        print(f"\n{name} (load {load:.1f}, {path.name})\n\n{as_table(figures)}\n")
    README.write_text(readme())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
