"""The table in README.md, made from the results that are kept (`make benchmark` makes it anew)."""

from __future__ import annotations

import json
import pathlib

from benchmarks.report import RESULTS

README = pathlib.Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- figures: made by benchmarks/readme.py -->", "<!-- end of figures -->"


def figures_table() -> str:
    """Every figure that has a bar or a peer, and what it was measured on."""
    lines = ["| figure | value | bar | | beside |", "|---|---|---|---|---|"]
    sources = []
    for path in sorted(RESULTS.glob("*.json")):
        report = json.loads(path.read_text())
        machine = report["machine"]
        sources.append(f"{path.stem} at {report['commit']} under load {report['load']:g}")
        for one in report["results"]:
            if one["bar"] is None and not one["peers"]:
                continue
            beside = ", ".join(
                f"{name}: {peer['ratio']:.3g} x" for name, peer in one["peers"].items()
            )
            bar = "" if one["bar"] is None else f"{one['bar']:g}"
            met = {True: "met", False: "missed", None: ""}[one["met"]]
            name, value = f"{path.stem}: {one['name']}", f"{one['value']:.4g} {one['unit']}"
            lines.append(f"| {name} | {value} | {bar} | {met} | {beside} |")
    said = f"Measured with Python {machine['python']} on {machine['cores']} shared cores: "
    return "\n".join([*lines, "", said + "; ".join(sources) + "."])


def readme() -> str:
    """README.md with the table of the results as they are now."""
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{figures_table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(readme())
