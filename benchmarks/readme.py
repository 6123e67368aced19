"""The table in README.md, made from the results that are kept (`make benchmark` makes it anew)."""

from __future__ import annotations

import pathlib

from benchmarks.report import RESULTS, Peer, Result, read

README = pathlib.Path(__file__).parents[1] / "README.md"
MANY = 24
"""Figures with a bar, above which a family is shown in brief."""
BEGIN, END = "<!-- figures: made by benchmarks/readme.py -->", "<!-- end of figures -->"


def figures_table() -> str:
    """Every figure that has a bar, what peers took beside it, and what it was measured on."""
    lines = ["| figure | value | bar | | beside |", "|---|---|---|---|---|"]
    sources = []
    for path in sorted(RESULTS.glob("*.json")):
        report = read(path)
        sources.append(f"{path.stem} at {report.commit} under load {report.load:g}")
        lines += _rows(path.stem, [one for one in report.results if one.bar is not None])
    machine = report.machine
    said = f"Measured with Python {machine.python} on {machine.cores} shared cores: "
    return "\n".join([*lines, "", said + "; ".join(sources) + "."])


def _rows(family: str, results: list[Result]) -> list[str]:
    """A row for each; of a long family for each that is missed, and for the one that is met least."""
    if len(results) <= MANY:
        return [_row(family, one) for one in results]
    missed = [one for one in results if not one.met]
    met = sorted((one for one in results if one.met), key=_distance)
    rows = [_row(family, one) for one in [*missed, *met[:1]]]
    return [*rows, f"| {family}: {len(met) - 1} others | | | met | |"] if met[1:] else rows


def _distance(one: Result) -> float:
    """How far a figure is from its bar, 0 to 1."""
    value, bar = one.value or 0.0, one.bar or 0.0
    return 1 - min(value, bar) / (max(value, bar) or 1.0)


def _row(family: str, one: Result) -> str:
    value = "not measured" if one.value is None else f"{_number(one.value)} {one.unit}"
    met = "met" if one.met else "**missed**"
    peers = ", ".join(f"{name} {_beside(peer)}" for name, peer in one.peers.items())
    return f"| {family}: {one.name} | {value} | {one.sign} {one.bar:g} | {met} | {peers} |"


def _beside(peer: Peer) -> str:
    if peer.value is None:
        return peer.why
    beside = _number(peer.value)
    return beside if peer.ratio is None else f"{beside} ({peer.ratio:.3g} x)"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def readme() -> str:
    """README.md with the table of the results as they are now."""
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{figures_table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(readme())
