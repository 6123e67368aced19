"""The latency that flowserve adds: an open loop at 500 requests a second, direct and through, in turns.

Requests come by the same schedule whatever is in the way, and count from when they were due, so that no stall
is left out. Direct and through go to the same upstream over HTTP.
"""

from __future__ import annotations

import pathlib
import statistics
import tempfile

from benchmarks.contenders import OURS, Task
from benchmarks.load import ERAS, Load, median, open_loop, wait_ready
from benchmarks.report import Figure
from benchmarks.servers import Server, free_port, running

RATE = 500.0
SECONDS = 4.0
WARMING = 1.0
ROUNDS = 3
BAR = 10.0
"""Milliseconds that may be added to p99."""


def added_latency(upstream: Server, url: str) -> tuple[list[Figure], Figure]:
    """The figures of each era; and how late the generator was itself."""
    figures, late = [], []
    for era in ERAS:
        direct, through = _in_turns(upstream, url, era)
        late += [load.late for load in (*direct, *through)]
        said = f"open loop, {RATE:g}/s, {era}"
        for what in ("p50", "p99"):
            bare, ours = median(direct, what), median(through, what)
            figures += [
                Figure(name=f"{said}: direct, {what}", value=bare, unit="ms"),
                Figure(name=f"{said}: through flowserve, {what}", value=ours, unit="ms"),
                Figure(
                    name=f"{said}: added {what}",
                    value=ours - bare,
                    unit="ms",
                    bar=BAR if what == "p99" else None,
                ),
            ]
    return figures, Figure(
        name="open loop: the generator's own lateness, median p99",
        value=statistics.median(late),
        unit="ms",
    )


def _in_turns(upstream: Server, url: str, era: str) -> tuple[list[Load], list[Load]]:
    port = free_port()
    ours = f"http://127.0.0.1:{port}/mcp"
    direct, through = [], []
    with tempfile.TemporaryDirectory() as folder:
        task = Task(case="http", era=era, port=port, url=url, folder=pathlib.Path(folder))
        with running(OURS.command(task)) as server:
            wait_ready(ours, era, OURS.tool)
            for turn in range(ROUNDS + 1):
                seconds = SECONDS if turn else WARMING
                one = open_loop(upstream, url, era, "echo", rate=RATE, seconds=seconds, seed=turn)
                other = open_loop(
                    server, ours, era, OURS.tool, rate=RATE, seconds=seconds, seed=turn
                )
                if turn:
                    direct.append(one)
                    through.append(other)
    return direct, through
