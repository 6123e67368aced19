"""How long nobody can write after the leader was killed: flowcore beside etcd, each with its own defaults.

A leader is killed with kill -9, and somebody writes to whichever node takes it; then it is started again, and
when it is back, the next one is killed. `FLOW_FAILOVER_ROUNDS` says how often (50; etcd a fifth of that).
"""

from __future__ import annotations

import os

import trio

from benchmarks.clusters import ETCD, OURS, Group, group, missing
from benchmarks.report import Figure, Peer, absent
from benchmarks.writers import Refused, connected, write

_WRITE = 0.3
"""Seconds after which a write that is not answered is tried elsewhere."""


def run() -> list[Figure]:
    """The figures."""
    rounds = int(os.environ.get("FLOW_FAILOVER_ROUNDS", "50"))
    with group(OURS) as made:
        ours = sorted(trio.run(_rounds, made, rounds))
    peers = {}
    theirs: list[float] = []
    if not missing(ETCD):
        with group(ETCD) as made:
            theirs = sorted(trio.run(_rounds, made, max(1, rounds // 5)))
    figures = []
    for what, share, bar in (("p50", 0.5, None), ("p99", 0.99, 2.0), ("longest", 1.0, None)):
        value = _share(ours, share)
        if theirs:
            peers = {ETCD: Peer(round(_share(theirs, share), 6), _share(theirs, share) / value)}
        else:
            peers = {ETCD: absent(missing(ETCD))}
        name = f"the leader is killed: writes again after, {what}"
        figures.append(Figure(name=name, value=value, unit="s", bar=bar, peers=peers))
    return figures


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "rounds": "from kill -9 of the leader to the first write that another node acknowledges; one client"
        " that tries the two that are left in turn, each write by a new connection",
        OURS: "election 150 ms, heartbeat 50 ms (the defaults)",
        ETCD: "election 1 s, heartbeat 100 ms (its defaults)",
    }


def _share(took: list[float], share: float) -> float:
    return took[min(len(took) - 1, int(len(took) * share))]


async def _rounds(made: Group, rounds: int) -> list[float]:
    """Seconds without writes, of each round."""
    took = []
    for number in range(rounds):
        leader = await made.leader()
        await made.put(leader, "before")
        began = trio.current_time()
        made.kill(leader)
        left = [name for name in made.nodes if name != leader]
        await _written(made, left, f"round {number}")
        took.append(trio.current_time() - began)
        made.start(leader)
        await made.ready()
    return took


async def _written(made: Group, names: list[str], key: str) -> None:
    with trio.fail_after(60):
        while True:
            for name in names:
                with trio.move_on_after(_WRITE):
                    try:
                        async with connected(made.ports[name]) as connection:
                            await connection.ask(write(made.kind, key))
                        return
                    except (OSError, Refused, trio.BrokenResourceError):
                        await trio.sleep(0.005)
