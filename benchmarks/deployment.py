"""The table of measured topologies in docs/deployment.md, made from the results that are kept
(`make benchmark-topologies` makes it anew)."""

from __future__ import annotations

import pathlib

from benchmarks.report import RESULTS, read

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "deployment.md"
BEGIN, END = "<!-- topologies: made by benchmarks/deployment.py -->", "<!-- end of topologies -->"
_COLUMNS = (
    ("links of a node", ("links of a node, least", "links of a node, most"), " to ", 0),
    (
        "a call at the node / 1 / 2 / 3 hops away, p50, ms",
        (
            "call at the node, p50",
            "call over 1 hop, p50",
            "call over 2 hops, p50",
            "call over 3 hops, p50",
        ),
        " / ",
        1,
    ),
    (
        "first node killed: known by all, p50 / most, s",
        ("first node killed: dead for all, p50", "first node killed: dead for all, most"),
        " / ",
        2,
    ),
    (
        "service again, p50 / most, s",
        ("first node killed: service again, p50", "first node killed: service again, most"),
        " / ",
        2,
    ),
    (
        "idle: gossip / links, B/s",
        ("gossip of an idle node", "links of an idle node, gossip apart"),
        " / ",
        0,
    ),
    ("CPU of one core, %", ("CPU of an idle node, of one core",), "", 1),
    ("memory, MB", ("memory of a node",), "", 0),
)
"""A heading, the figures under it, what is between them, and their decimals."""


def table() -> str:
    """Both tables, and what they were measured on."""
    report = read(RESULTS / "topologies.json")
    values = {one.name: one.value for one in report.results if one.value is not None}
    lines = [
        "| of 5 nodes | " + " | ".join(heading for heading, *_ in _COLUMNS) + " |",
        "|---" * (len(_COLUMNS) + 1) + "|",
    ]
    names = [name.partition(":")[0] for name in values if name.endswith("links of a node, least")]
    for name in names:
        cells = [
            between.join(
                f"{values[key]:.{decimals}f}"
                for key in (f"{name}: {figure}" for figure in figures)
                if key in values
            )
            for _, figures, between, decimals in _COLUMNS
        ]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    lines += ["", "| gossip of an idle node | B/s | CPU of one core, % |", "|---|---|---|"]
    sizes = [name.rpartition(" ")[2] for name in values if name.startswith("gossip of an idle")]
    lines += [
        f"| among {size} | {values[f'gossip of an idle node among {size}']:.0f}"
        f" | {values[f'CPU of gossip among {size}, of one core']:.2f} |"
        for size in sizes
    ]
    machine = report.machine
    said = f"Python {machine.python}, {machine.cores} shared cores under load {report.load:g}"
    return "\n".join([*lines, "", f"Measured at {report.commit}: {said}."])


def page() -> str:
    """docs/deployment.md with the tables of the results as they are now."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
