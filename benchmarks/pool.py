"""One of ten workers ten times slower, at 70 % load: who gets it, and what callers wait.

The real agent, pool and balancers with real tasks, on a virtual clock: what is measured are decisions, so the
figures do not depend on the machine. A worker does one call after another, in order, and takes a time that
is exponentially distributed; the calls come at random (Poisson), 70 % of what ten equal workers could do.
Last, in real time, what a call through the pool costs.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, nullcontext

import attrs
import msgspec
import trio
import trio.testing

from benchmarks.report import Figure
from flowcore import Envelope
from flowcore.agents import EMPTY, Agent, AgentSettings, PoolSettings, State, Watchers, open_agent
from flowcore.envelope import Reply
from flowcore.interfaces import AgentPort, Balancer, PoolDefaults

WORKERS = 10
SERVICE = 0.010
SLOWER = 10.0
SHARE = 0.7
CALLS = 20_000
REPLY = Reply(msgspec.Raw(b"{}"))


@attrs.define(eq=False)
class Server:
    """A worker that does one call after another; it keeps what each took from its coming to its end."""

    mean: float
    chance: random.Random
    turn: trio.Lock = attrs.field(factory=trio.Lock)
    took: list[float] = attrs.field(factory=list)

    async def call(self, envelope: Envelope) -> Reply:
        began = trio.current_time()
        async with self.turn:
            await trio.sleep(self.chance.expovariate(1 / self.mean))
        self.took.append(trio.current_time() - began)
        return REPLY

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()


class Instant(Server):
    """A worker that has nothing to do."""

    async def call(self, envelope: Envelope) -> Reply:
        return REPLY


@attrs.define(eq=False)
class Source:
    """Ten workers of which the first is slower by a factor."""

    slower: float
    make: Callable[[float, random.Random], Server] = Server
    servers: list[Server] = attrs.field(factory=list)
    pool_defaults: PoolDefaults = PoolDefaults(min=WORKERS, max=WORKERS, concurrency=10_000)
    heartbeat: bool = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Source]:
        yield self

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Server]:
        port.announce(EMPTY)
        mean = SERVICE if self.servers else SERVICE * self.slower
        server = self.make(mean, random.Random(len(self.servers)))
        self.servers.append(server)
        yield server


def run() -> list[Figure]:
    """The share of the slow worker and the tail, for each balancer; bars are for peak_ewma."""
    figures = []
    for name, make in balancers().items():
        source = _simulate(make())
        share, all_p99, best_p99 = _shares(source)
        barred = name == "peak_ewma"
        figures += [
            Figure(
                name=f"{name}: calls to the slow worker",
                value=share * 100,
                unit="%",
                bar=3.0 if barred else None,
            ),
            Figure(
                name=f"{name}: p99 of all over that of the best worker",
                value=all_p99 / best_p99,
                unit="x",
                bar=10.0 if barred else None,
            ),
            Figure(name=f"{name}: p99 of all", value=all_p99 * 1e3, unit="ms"),
        ]
    for name, make in balancers().items():
        cost = min(trio.run(_cost, make()) for _ in range(3))
        figures.append(
            Figure(name=f"CPU of a call through the pool, {name}", value=cost * 1e6, unit="µs")
        )
    return figures


def balancers() -> dict[str, Callable[[], Balancer]]:
    """Each balancer as shipped."""
    from flow_balancers.consistent_hash import ConsistentHash, ConsistentHashConfig
    from flow_balancers.least_connections import LeastConnections
    from flow_balancers.peak_ewma import PeakEwma, PeakEwmaConfig
    from flow_balancers.round_robin import RoundRobin
    from flow_balancers.weighted import Weighted

    return {
        "peak_ewma": lambda: PeakEwma(PeakEwmaConfig(), random.Random(1)),
        "least_connections": LeastConnections,
        "round_robin": RoundRobin,
        "weighted": Weighted,
        "consistent_hash": lambda: ConsistentHash(ConsistentHashConfig()),
    }


def _simulate(balancer: Balancer) -> Source:
    """Let the calls come, in virtual time."""
    source = Source(SLOWER)

    async def arrive() -> None:
        chance = random.Random(2)
        async with _agent(source, balancer) as agent, trio.open_nursery() as nursery:
            for number in range(CALLS):
                await trio.sleep(chance.expovariate(SHARE * WORKERS / SERVICE))
                nursery.start_soon(agent.call, _envelope(number % 97))

    trio.run(arrive, clock=trio.testing.MockClock(autojump_threshold=0))
    return source


def _shares(source: Source) -> tuple[float, float, float]:
    """(share of calls that the slow worker got, p99 of all, p99 of the best worker), in seconds."""
    slow, *others = (sorted(server.took) for server in source.servers)
    everything = sorted([*slow, *(one for took in others for one in took)])
    return len(slow) / len(everything), _p99(everything), min(_p99(took) for took in others)


def _p99(values: list[float]) -> float:
    return values[int(0.99 * (len(values) - 1))]


async def _cost(balancer: Balancer) -> float:
    """CPU seconds of a call that has nothing to do, of one caller."""
    calls = 10_000
    async with _agent(Source(1.0, Instant), balancer) as agent:
        envelope = _envelope(1)
        began = time.process_time()
        for _ in range(calls):
            await agent.call(envelope)
        return (time.process_time() - began) / calls


def _envelope(affinity: int) -> Envelope:
    return Envelope(
        agent="pool",
        name="work",
        params={},
        deadline=trio.current_time() + 1e6,
        affinity=b"%d" % affinity,
    )


@asynccontextmanager
async def _agent(source: Source, balancer: Balancer) -> AsyncGenerator[Agent]:
    """The agent, with all of its workers up."""
    async with open_agent(
        "pool",
        AgentSettings(pool=PoolSettings(max_starting=1)),
        source.open,
        lambda: nullcontext(balancer),
        chance=random.Random(1),
        watchers=Watchers(),
        changed=lambda _: None,
    ) as agent:
        await agent.wait_until(State.IDLE)
        while len(source.servers) < WORKERS:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        yield agent
