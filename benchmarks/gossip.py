"""Gossip: what it costs among 64 nodes, how soon the dead and the new are known, what is wrongly believed.

CPU, bytes and joins are measured on UDP sockets of this machine, with real signatures, all 64 nodes in one
process; exchanges go from one to the other in memory, without TLS. The rest is the campaign of simulated
swarms (`benchmarks.gossip_campaign`), on all cores, about 3 s of CPU for each of 1,000 seeds.

`SEEDS=50 python -m benchmarks gossip` takes fewer; with `KEEP=FILE` what came of each seed is kept there, and
a run that was broken off goes on. `python -m benchmarks.gossip --quick` takes a few, and keeps no results.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from statistics import mean, median

import attrs
import trio

from benchmarks.gossip_campaign import (
    BLOCK,
    BLOCKED_EACH,
    DEADLINE,
    LOSS,
    NODES,
    PERIOD,
    SLOW,
    SLOW_FOR,
    Run,
    Slow,
    campaign,
    quantile,
)
from benchmarks.report import Figure, as_table
from flow_membership.swim.driver import SwimMembership
from flow_membership.swim.settings import SwimConfig
from flowcore.errors import LinkFailed
from flowcore.swarm import Member, MemberState
from flowcore.swarm.links import open_ports
from flowcore.testing import Wires
from flowcore.testing.ports import Port, Ports

SEEDS, QUICK = int(os.environ.get("SEEDS", "1000")), 4
KEEP = pathlib.Path(os.environ["KEEP"]) if "KEEP" in os.environ else None
JOINS = 9
SECONDS = 20.0
ABOUT = 100
"""Bytes that each node tells anew each second, where it does."""


def run(*, quick: bool = False) -> list[Figure]:
    """Costs and joins on sockets, then the campaign."""
    measured = on_sockets(3.0 if quick else SECONDS, 2 if quick else JOINS)
    return [*measured, *_simulated(campaign(QUICK if quick else SEEDS, keep=KEEP))]


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "profile": f"local: a probe each {PERIOD * 1000:g} ms; {NODES} nodes",
        "sockets": f"{NODES} nodes in one process, UDP on loopback, Ed25519, {SECONDS:g} s;"
        " exchanges in memory",
        "simulated": f"{SEEDS} seeds, {LOSS:.0%} loss, 0.2 to 1 ms one way, 10 one-way cuts, a crash,"
        " a restart, a farewell, three stops of a second, a partition",
        "slow members": f"{SLOW} of {NODES}, held up for {BLOCK:g} s each {BLOCKED_EACH:g} s,"
        f" {SLOW_FOR:g} s long, without loss; with Lifeguard and without it by the same seeds",
    }


# ---- on sockets


def on_sockets(seconds: float, joins: int) -> list[Figure]:
    """What gossip costs, measured for so long, and how soon who joins is known, the median of so many."""
    return trio.run(_measured, seconds, joins)


@attrs.define(eq=False)
class _Node:
    membership: SwimMembership
    scope: trio.CancelScope


class Swarm:
    """Nodes on sockets, which find each other's memberships in memory."""

    def __init__(self, folder: pathlib.Path, nursery: trio.Nursery) -> None:
        self._folder = folder
        self._nursery = nursery
        self._ports = Ports(Wires())
        self._seeds: tuple[str, ...] = ()
        self._by_address: dict[str, tuple[str, SwimMembership]] = {}
        self.nodes: dict[str, _Node] = {}

    async def start(self, name: str) -> _Node:
        membership = SwimMembership(SwimConfig(profile="local"))
        node = _Node(membership, trio.CancelScope())

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            with node.scope:
                async with open_ports("127.0.0.1:0") as (listener, datagrams, address):
                    del listener
                    port = self._ports.port(name, self._folder / name, seeds=self._seeds)
                    _put_on_socket(port, str(address), datagrams, self._exchange)
                    self._by_address[str(address)] = (name, membership)
                    await membership.run(port, _ignored, task_status=task_status)

        await self._nursery.start(run)
        self.nodes[name] = node
        self._seeds = self._seeds or (next(iter(self._by_address)),)
        return node

    async def _exchange(self, sender: str, address: str, data: bytes) -> tuple[str, bytes]:
        await trio.lowlevel.checkpoint()
        found = self._by_address.get(address)
        if found is None:
            raise LinkFailed(f"nobody is at {address}")
        name, membership = found
        return name, await membership.answer(sender, data)

    def stop(self, name: str) -> None:
        self.nodes.pop(name).scope.cancel()

    def alive_for_all(self, name: str) -> bool:
        views = [node.membership.members().get(name) for node in self.nodes.values()]
        return all(view is not None and view.state is MemberState.ALIVE for view in views)

    def worst_health(self) -> int:
        return max(int(one.membership.status()["health"]["score"]) for one in self.nodes.values())

    def sent(self) -> int:
        return sum(node.membership.status()["bytes"]["sent"] for node in self.nodes.values())


def _ignored(member: Member) -> None:
    """Nobody is told."""


def _put_on_socket(port: Port, address: str, datagrams: object, exchange: object) -> None:
    """Let a port in memory use a socket, and the table of the swarm."""
    port.close()
    port.address = address
    port.datagrams = datagrams  # type: ignore[assignment]
    name = port.name

    async def ask(to: str, data: bytes) -> tuple[str, bytes]:
        return await exchange(name, to, data)  # type: ignore[operator,no-any-return]

    port.exchange = ask  # type: ignore[method-assign,assignment]


@asynccontextmanager
async def swarm_of(count: int) -> AsyncGenerator[Swarm]:
    with tempfile.TemporaryDirectory() as folder:
        async with trio.open_nursery() as nursery:
            swarm = Swarm(pathlib.Path(folder), nursery)
            for number in range(count):
                await swarm.start(f"node-{number:02}")
            while not all(map(swarm.alive_for_all, list(swarm.nodes))):  # noqa: ASYNC110
                await trio.sleep(0.1)
            yield swarm
            nursery.cancel_scope.cancel()


async def _measured(seconds: float, joins: int) -> list[Figure]:
    async with swarm_of(NODES) as swarm:
        await settle(swarm)
        idle_bytes, idle_cpu = await cost(swarm, seconds)
        telling_bytes, telling_cpu = await cost(swarm, seconds, telling=True)
        await trio.sleep(2)
        took = []
        for number in range(joins):
            swarm.stop(f"node-{NODES - 1 + number:02}")
            await trio.sleep(0.5)
            name = f"node-{NODES + number:02}"
            began = time.perf_counter()
            node = await swarm.start(name)
            while len(node.membership.members()) < NODES or not swarm.alive_for_all(name):  # noqa: ASYNC110
                await trio.sleep(0.005)
            took.append(time.perf_counter() - began)
    return [
        Figure(
            name=f"gossip bytes per node per second at {NODES} nodes", value=idle_bytes, unit="B/s"
        ),
        Figure(
            name=f"CPU of a node among {NODES}, of one core", value=idle_cpu * 100, unit="%", bar=1
        ),
        Figure(
            name=f"gossip bytes per node per second, each telling {ABOUT} bytes anew each second",
            value=telling_bytes,
            unit="B/s",
        ),
        Figure(
            name=f"CPU of a node among {NODES}, each telling {ABOUT} bytes anew each second, of one core",
            value=telling_cpu * 100,
            unit="%",
        ),
        Figure(
            name=f"join of the {NODES}th node: known by all, and knowing all",
            value=median(took),
            unit="s",
        ),
    ]


async def settle(swarm: Swarm) -> None:
    """Wait until nothing is news, and the start has been got over."""
    await trio.sleep(3)
    while swarm.worst_health():  # noqa: ASYNC110
        await trio.sleep(0.5)


async def cost(swarm: Swarm, seconds: float, *, telling: bool = False) -> tuple[float, float]:
    """Bytes a second, and CPU seconds a second, of each node."""
    sent, cpu, began = swarm.sent(), time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        if telling:
            told = time.perf_counter_ns()
            for node in swarm.nodes.values():
                node.membership.tell(told.to_bytes(8, "big") + bytes(ABOUT - 8))
        await trio.sleep(1)
    lasted = (time.perf_counter() - began) * len(swarm.nodes)
    return (swarm.sent() - sent) / lasted, (time.process_time() - cpu) / lasted


# ---- simulated


def _simulated(runs: Sequence[Run]) -> list[Figure]:
    first = [one.first_suspected for one in runs]
    periods = [(value - DEADLINE) / PERIOD for value in first if value >= 0]
    hours = sum(one.node_seconds for one in runs) / 3600
    figures = [
        Figure(
            name="simulated swarms that broke a promise",
            value=sum(bool(one.broken) for one in runs),
            unit=f"of {len(runs)}",
            bar=0,
        ),
        Figure(
            name="a crash: first probe that finds it, mean (SWIM: at most e/(e-1) = 1.58 periods)",
            value=mean(periods),
            unit="periods",
            bar=1.582,
        ),
        *_spread("a crash: first suspicion", first),
        *_spread("a crash: dead for all", [one.last_dead for one in runs], bar=5),
        *_spread(
            "a crash: from the first who holds it for dead to all",
            [one.last_dead - one.first_dead for one in runs if one.last_dead >= 0],
        ),
        *_spread("a restart: alive for all", [one.rejoined for one in runs]),
        *_spread("a partition has healed: all agree", [one.healed for one in runs]),
        Figure(
            name="false suspicions, 10 % loss",
            value=sum(one.false_suspicions for one in runs) / hours,
            unit="per hour of a node",
        ),
        Figure(
            name="false deaths, 10 % loss",
            value=sum(one.false_deaths for one in runs),
            unit="",
            bar=0,
        ),
        Figure(
            name="gossip bytes per node per second, 10 % loss",
            value=mean(one.idle_bytes for one in runs),
            unit="B/s",
        ),
        Figure(
            name="datagrams per node per second, 10 % loss",
            value=mean(one.datagrams for one in runs),
            unit="/s",
        ),
    ]
    with_it = [one.lifeguard for one in runs if one.lifeguard is not None]
    without = [one.plain for one in runs if one.plain is not None]
    return [*figures, *_slow("with Lifeguard", with_it), *_slow("without", without)]


def _spread(name: str, values: Sequence[float], bar: float | None = None) -> list[Figure]:
    return [
        Figure(name=f"{name}, p50", value=quantile(values, 0.5), unit="s"),
        Figure(name=f"{name}, p99", value=quantile(values, 0.99), unit="s"),
        Figure(name=f"{name}, most", value=quantile(values, 1), unit="s", bar=bar),
    ]


def _slow(name: str, slow: Sequence[Slow]) -> list[Figure]:
    what = f"{SLOW} slow members, {name}: quick ones"
    if not slow:
        return []
    return [
        Figure(
            name=f"{what} wrongly suspected, mean",
            value=mean(one.suspected for one in slow),
            unit="",
        ),
        Figure(
            name=f"{what} wrongly held for dead, mean",
            value=mean(one.dead for one in slow),
            unit="",
        ),
        Figure(
            name=f"{what} wrongly held for dead by quick ones, mean",
            value=mean(one.dead_for_quick for one in slow),
            unit="",
        ),
    ]


if __name__ == "__main__":
    print(as_table(run(quick="--quick" in sys.argv[1:])))
