"""`tools/call` over the MCP edge: in the process, by a stdio and by an HTTP upstream; and by peers.

All who do the same run at once and are measured in turns (A B C A B C), so that a change of the machine
meets all; each figure is the median of its rounds. The first figure is CPU time of the server process per
call, since machines are noisy.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
import tempfile
from collections.abc import Generator
from itertools import permutations

import attrs

from benchmarks.added import added_latency
from benchmarks.contenders import (
    CASES,
    CONTENDERS,
    OURS,
    PYPI,
    SHARED,
    TRIO,
    Contender,
    Task,
    flowserve_config,
    versions,
)
from benchmarks.load import ERAS, HANDSHAKE, Load, LoadError, closed_loop, median, wait_ready
from benchmarks.report import Figure, Peer, absent, beside
from benchmarks.servers import ON_CLIENTS_CPU, ROOT, Server, free_port, running

ROUNDS = 3
SECONDS = {1: 0.5, 16: 1.0, 64: 0.5}
"""How long a round is, by the number of connections; what is under way at its end is still waited for."""
FIRST = 16
"""Connections under which CPU time is compared."""
BARS = {"in-process": 100.0, "stdio": 160.0, "http": 220.0}
"""CPU microseconds per call."""
FACTORS = {PYPI: 5.0, TRIO: 10.0, SHARED: 15.0}
"""How many times our CPU a peer takes at least."""


@attrs.define
class Group:
    """All who do one thing in one era, and what came of it."""

    case: str
    era: str
    loads: dict[tuple[str, int], list[Load]] = attrs.field(factory=dict)
    """By contender and connections, one for each round."""
    hindered: dict[str, str] = attrs.field(factory=dict)
    """Who could not be measured, and why."""

    def rounds(self, contender: str, connections: int, what: str) -> list[float]:
        """One field of `Load`, round by round."""
        return [getattr(load, what) for load in self.loads[contender, connections]]

    def median(self, contender: str, connections: int, what: str) -> float:
        """Its median."""
        return median(self.loads[contender, connections], what)


def run() -> list[Figure]:
    """Every figure."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    upstream = [sys.executable, "-m", "benchmarks.upstream", "http", str(port)]
    with running(upstream, pin=ON_CLIENTS_CPU) as server:
        wait_ready(url, HANDSHAKE, "echo")
        groups = [_measured(case, era, url) for case in CASES for era in ERAS]
        bridges = [_bridged(client, upstream, url) for client, upstream in permutations(ERAS)]
        added, late = added_latency(server, url)
    shares = [load.share for group in groups for load in group.loads[OURS.name, FIRST]]
    return [
        *(figure for group in groups for figure in _first_figures(group)),
        *bridges,
        *added,
        *(figure for group in groups for figure in _further_figures(group)),
        Figure(
            name="the load generator's share of its CPU, most beside flowserve at 16 connections",
            value=max(shares) * 100,
            unit="%",
        ),
        late,
    ]


def setup() -> dict[str, str]:
    """How it is measured."""
    task = Task(
        case="", era="ERA", port=7300, url="http://127.0.0.1:7400/mcp", folder=pathlib.Path()
    )
    configs = {
        f"flowserve, {case}": flowserve_config(attrs.evolve(task, case=case))
        .replace(str(ROOT), ".")
        .replace(sys.executable, "python")
        for case in CASES
    }
    return configs | {
        "peers": versions(),
        "load": "benchmarks/generator.py, one process; it and the upstreams on CPU 1, the server on CPU 0",
        "rounds": f"{ROUNDS} of 0.5 to 1 s, in turns with the peers; values and ratios are medians over them",
    }


def _measured(case: str, era: str, url: str) -> Group:
    """Everyone who does it, in turns. Raises LoadError if flowserve itself fails."""
    group = Group(case, era)
    with contextlib.ExitStack() as stack:
        present = []
        for contender in CONTENDERS:
            if case not in contender.cases:
                continue
            why = contender.hindrance(era)
            if why is None:
                present.append((contender, *stack.enter_context(_started(contender, group, url))))
            else:
                group.hindered[contender.name] = why
        for contender, server, theirs in present:
            with _failing_alone(contender, group):
                wait_ready(theirs, era, contender.tool)
                closed_loop(server, theirs, era, contender.tool, connections=FIRST)  # warm
        for _ in range(ROUNDS):
            for connections, seconds in SECONDS.items():
                for contender, server, theirs in present:
                    if contender.name in group.hindered:
                        continue
                    with _failing_alone(contender, group):
                        load = closed_loop(
                            server,
                            theirs,
                            era,
                            contender.tool,
                            connections=connections,
                            seconds=seconds,
                        )
                        group.loads.setdefault((contender.name, connections), []).append(load)
    return group


def _bridged(era: str, of_upstream: str, url: str) -> Figure:
    """CPU per call of flowserve, where the client is of one era and the upstream of the other."""
    with _started(OURS, Group("stdio", of_upstream), url) as (server, ours):
        wait_ready(ours, era, OURS.tool)
        loads = [
            closed_loop(server, ours, era, OURS.tool, connections=FIRST) for _ in range(ROUNDS + 1)
        ]
    return Figure(
        name=f"stdio, {era} to an upstream of {of_upstream}: CPU per call, 16 connections",
        value=median(loads[1:], "cpu"),  # the first warms
        unit="µs",
        bar=BARS["stdio"],
    )


@contextlib.contextmanager
def _started(contender: Contender, group: Group, url: str) -> Generator[tuple[Server, str]]:
    """A contender's process and its URL."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        task = Task(case=group.case, era=group.era, port=port, url=url, folder=pathlib.Path(folder))
        with running(contender.command(task)) as server:
            yield server, f"http://127.0.0.1:{port}/mcp"


@contextlib.contextmanager
def _failing_alone(contender: Contender, group: Group) -> Generator[None]:
    """A peer that fails is noted by name and measured no more; flowserve must not fail."""
    try:
        yield
    except (LoadError, OSError, RuntimeError) as failure:
        if contender is OURS:
            raise
        group.hindered[contender.name] = f"failed: {failure}"[:300]


def _first_figures(group: Group) -> list[Figure]:
    """CPU per call against the bar, that of all processes, and how many times less it is than a peer's."""
    what = f"{group.case}, {group.era}"
    missing = {name: absent(why) for name, why in group.hindered.items()}
    figures = [
        Figure(
            name=f"{what}: CPU per call, 16 connections",
            value=group.median(OURS.name, FIRST, "cpu"),
            unit="µs",
            bar=BARS[group.case],
            peers=_peers(group, FIRST, "cpu") | missing,
        ),
        Figure(
            name=f"{what}: CPU per call with child processes, 16 connections",
            value=group.median(OURS.name, FIRST, "tree_cpu"),
            unit="µs",
            peers=_peers(group, FIRST, "tree_cpu"),
        ),
    ]
    theirs = figures[0].peers
    for name, factor in FACTORS.items():
        contender = next(one for one in CONTENDERS if one.name == name)
        if group.case in contender.cases and group.era in contender.eras:
            figures.append(
                Figure(
                    name=f"{what}: CPU of {name} over ours",
                    value=theirs[name].ratio,
                    unit="x",
                    bar=factor,
                    least=True,
                    peers={} if theirs[name].ratio else {name: theirs[name]},
                )
            )
    return figures


def _further_figures(group: Group) -> list[Figure]:
    """Rate and latencies."""
    return [
        Figure(
            name=f"{group.case}, {group.era}: {said}, {connections} connections",
            value=group.median(OURS.name, connections, field),
            unit=unit,
            peers=_peers(group, connections, field),
        )
        for connections in SECONDS
        for said, field, unit in (
            ("rate", "rate", "/s"),
            ("p50", "p50", "ms"),
            ("p99", "p99", "ms"),
        )
    ]


def _peers(group: Group, connections: int, field: str) -> dict[str, Peer]:
    ours = group.rounds(OURS.name, connections, field)
    return {
        name: beside(ours, group.rounds(name, connections, field))
        for name, count in group.loads
        if count == connections and name != OURS.name and name not in group.hindered
    }
