"""What README.md and docs/figures.md show of the results that are kept (`make benchmark` makes both anew)."""

from __future__ import annotations

import pathlib

from benchmarks.report import RESULTS, Peer, Report, Result, read

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures.md"
BEGIN, END = "<!-- figures: made by benchmarks/pages.py -->", "<!-- end of figures -->"
_CALL = "CPU per call, 16 connections"
HEADLINES = (
    ("edge", f"stdio, 2026-07-28: {_CALL}", "a call to a stdio server: CPU of flowserve"),
    ("edge", f"http, 2026-07-28: {_CALL}", "a call to an HTTP server: CPU of flowserve"),
    ("messages", "call and reply", "calls between agents in one program"),
    ("start", "quick start without upstream servers: process start to ready", "start to ready"),
    ("spawn", "Python program with imports, from a template, p99", "a new worker process, p99"),
    ("overload", "goodput: done within 1 s, of the peak", "five times too much: done, of the peak"),
    ("routing", "MiniLM: CLINC150, all examples", "the right one of 150 intents"),
    (
        "routing",
        "MiniLM: tasks of 186 MCP tools, in the first 8",
        "the right one of 186 MCP tools, never seen before, among 8",
    ),
    (
        "learning",
        "class-incremental: the defaults: final",
        "right after learning ten fields one after the other",
    ),
    ("finding", "tokens spared on 1,000 tools", "tokens a client is spared on 1,000 tools"),
    (
        "index",
        "1,000,000 vectors: search, p99",
        "the nearest of 1,000,000 patterns on disk, p99",
    ),
    ("links", "forwarded call: added by one hop, p50", "added by another node doing it, p50"),
    (
        "topologies",
        "mesh: first node killed: service again, most",
        "a node dies: its work is done elsewhere after, at most",
    ),
    ("commit", "16 clients: p99", "a write that a majority has on disk, 16 clients, p99"),
    ("commit", "64 clients: writes over etcd's", "writes of 64 clients, over etcd's"),
    (
        "failover",
        "the leader is killed: writes again after, p99",
        "the leader is killed: writes again after, p99",
    ),
    ("bft", "16 clients: bft, 4 nodes: p50 over raft's", "one may lie: p50 of a write over Raft's"),
)
"""A family, one of its figures, and what README calls it."""


def brief() -> str:
    """README's table: the headlines, how many bars are met, and all that are missed."""
    reports = _reports()
    lines = ["| figure | value | bar | beside |", "|---|---|---|---|"]
    lines += [_row(said, _named(reports[family], name)) for family, name, said in HEADLINES]
    barred = [
        (family, one) for family, report in reports.items() for one in _barred(report.results)
    ]
    missed = [(family, one) for family, one in barred if not one.met]
    told = f"{len(barred) - len(missed)} of {len(barred)} bars are met ([all figures](docs/figures.md))."
    if not missed:
        return "\n".join([*lines, "", told])
    lines += ["", f"{told} Missed:", "", "| figure | value | bar | beside |", "|---|---|---|---|"]
    return "\n".join([*lines, *(_row(f"{family}: {one.name}", one) for family, one in missed)])


def page() -> str:
    """docs/figures.md: every figure of every family, with its bar, its peers, and what it was measured on."""
    lines = [
        "# Figures",
        "",
        "Made by `make benchmark` from `benchmarks/results`; [benchmarks.md](benchmarks.md) tells how each",
        "is measured. Machines are noisy: ratios say more than values. A peer's is its value over ours.",
    ]
    for family, report in _reports().items():
        on = report.machine
        lines += [
            "",
            f"## {family}",
            "",
            f"At `{report.commit}`, Python {on.python}, {on.cores} shared cores, load {report.load:g}.",
            "",
            "| figure | value | bar | | beside |",
            "|---|---|---|---|---|",
        ]
        for one in report.results:
            bar, met = ("", "")
            if one.bar is not None:
                bar, met = f"{one.sign} {one.bar:g}", "met" if one.met else "**missed**"
            lines.append(f"| {one.name} | {_value(one)} | {bar} | {met} | {_peers(one)} |")
    return "\n".join(lines) + "\n"


def _reports() -> dict[str, Report]:
    return {path.stem: read(path) for path in sorted(RESULTS.glob("*.json"))}


def _named(report: Report, name: str) -> Result:
    """A figure by its name; raises LookupError."""
    for one in report.results:
        if one.name == name:
            return one
    raise LookupError(f"no figure {name!r} in the results, which a headline of README shows")


def _barred(results: list[Result]) -> list[Result]:
    return [one for one in results if one.bar is not None]


def _row(said: str, one: Result) -> str:
    bar = "" if one.bar is None else f"{one.sign} {one.bar:g}"
    return f"| {said} | {_value(one)} | {bar} | {_peers(one)} |"


def _value(one: Result) -> str:
    return "not measured" if one.value is None else f"{_number(one.value)} {one.unit}".rstrip()


def _peers(one: Result) -> str:
    return ", ".join(f"{name} {_beside(peer)}" for name, peer in one.peers.items())


def _beside(peer: Peer) -> str:
    if peer.value is None:
        return peer.why
    beside = _number(peer.value)
    return beside if peer.ratio is None else f"{beside} ({peer.ratio:.3g} x)"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def readme() -> str:
    """README.md with the results as they are now."""
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{brief()}\n{END}{after}"


def write_pages() -> None:
    """Both pages anew."""
    README.write_text(readme())
    FIGURES.write_text(page())


if __name__ == "__main__":
    write_pages()
