"""Run benchmark families: `python -m benchmarks [FAMILY ...]`.

A family is a module with `run()`, which gives its figures, and perhaps `setup()`, which says how they were
measured. A family that fails is named at the end, and keeps its earlier results.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback

from benchmarks.deployment import PAGE, page
from benchmarks.pages import ROOT, write_pages
from benchmarks.report import as_table, write

FAMILIES = (
    "messages",
    "spawn",
    "pool",
    "start",
    "badinput",
    "edge",
    "telemetry",
    "dashboard",
    "overload",
    "limits",
    "directory",
    "routing",
    "learning",
    "embedding",
    "finding",
    "index",
    "links",
    "gossip",
    "topologies",
    "commit",
    "failover",
    "bft",
    "recovery",
)


def main(names: list[str]) -> int:
    """Run the families named, or all; 2 for an unknown one, 1 if one failed."""
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        print(f"unknown families {unknown} (known: {', '.join(FAMILIES)})", file=sys.stderr)
        return 2
    sys.path.append(str(ROOT / "tests"))  # some measure what tests start
    failed = []
    for name in names or FAMILIES:
        load = os.getloadavg()[0]
        module = importlib.import_module(f"benchmarks.{name}")
        try:
            figures = module.run()
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        setup = module.setup() if hasattr(module, "setup") else {}
        path = write(name, figures, load, setup)
        print(f"\n{name} (load {load:.1f}, {path.name})\n\n{as_table(figures)}\n", flush=True)
    write_pages()
    PAGE.write_text(page())
    if failed:
        print(f"failed, and not written: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
