"""One run of a seed: honest servers, liars, clients, a nemesis; at the end everything heals but the liars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import attrs

from flowcore.testing import Disk, Faults, Host, Link, Nemesis, long_tail, uniform
from support.bft_world import verifier
from support.bft_world.build import Build, shipped
from support.bft_world.keys import HashRing, RealRing, Ring
from support.bft_world.liar import Liar
from support.bft_world.oracle import Blind, Oracle
from support.bft_world.schedule import Schedule, ScheduledWorld
from support.bft_world.server import BftServer, Cluster
from support.bft_world.strategies import STRATEGIES, Strategy
from support.bft_world.twins import Twins
from support.simulation.client import Client
from support.simulation.ends import Broken
from support.simulation.run import Run

CLIENTS = 3
PATIENCE = 4.0
"""Seconds after which a request is decided where nothing fails, though a leader leaves it out."""
DISKS = (uniform(0.0002, 0.002), uniform(0.0002, 0.002), uniform(0.005, 0.03))
"""How long an fsync takes."""


NONE = Faults(
    crash=0, outage=0, pause=0, partition=0, isolate=0, cut=0, slow=0, sync=0, full=0, skew=0
)
"""No faults at all."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What a run came to, for those who count."""

    seed: int
    servers: int
    lies: tuple[str, ...]
    """The strategies of the liars."""
    told: dict[str, int]
    """How often each of them has lied."""
    steps: int
    seconds: float
    views: int
    heights: int
    operations: int
    caught: int
    accused: int
    censored: int
    taken: int
    faults: dict[str, int]

    def counts(self) -> dict[str, int]:
        """What is added up over all runs."""
        return {
            "steps": self.steps,
            "heights": self.heights,
            "views": self.views,
            "operations": self.operations,
            "lies": sum(self.told.values()),
            "contradictions heard": self.caught,
            "liars accused": self.accused,
            "blocks refused for what they leave out": self.censored,
            "states taken in": self.taken,
        }


class BftRun(Run):
    """The world of one seed."""

    def __init__(
        self,
        seed: int,
        build: Build | None = None,
        *,
        seconds: float = 2.5,
        trace: int = 0,
        liars: int = -1,
        lies: Sequence[str] = (),
        calm: bool = False,
        league: bool = False,
    ) -> None:
        """`liars` of the nodes lie, by default f, which is as many as may; `lies` are what all of them do,
        names in `STRATEGIES`; by default chance says it for each. Where it is `calm`, the first leader is a
        liar, and nothing else fails; in `league` with them is the network, as else by chance.
        """
        chance = Random(seed * 6007 + 5)
        self.build = build or shipped()
        self.count = chance.choice((4, 4, 4, 4, 7))
        self.names = tuple("abcdefg"[: self.count])
        most = (self.count - 1) // 3
        many = most if liars < 0 else liars
        self.liars = tuple(sorted(chance.sample(self.names, many)))
        self.scheduled = not calm and (chance.random() < 0.4 or league)
        self.quiet = calm or (not self.scheduled and chance.random() < 0.2)
        """Whether nothing fails but what the liars do."""
        if many and (chance.random() < 0.4 or self.quiet):  # who leads first
            self.liars = (
                self.names[0],
                *[one for one in self.liars if one != self.names[0]][: many - 1],
            )
        self.honest = tuple(one for one in self.names if one not in self.liars)
        world = ScheduledWorld(
            seed,
            link=_link(chance, whole=self.scheduled or self.quiet),
            trace=trace,
        )
        super().__init__(seed, world, seconds + 2.5 * self.quiet + 2.0 * self.scheduled)
        real = chance.random() < 0.02
        ring: Ring = RealRing(self.names, seed) if real else HashRing(self.names, seed)
        self.oracle = Oracle(
            ring,
            self.honest,
            verifier.statement if self.build.form else self.build.signing.statement,
        )
        self.strategies: dict[str, tuple[Strategy, ...]] = {}
        for name in self.liars:
            self.strategies[name] = self._strategies(chance, lies)
        self.schedule: Schedule | None = None
        corrupts = any(one.corrupts for some in self.strategies.values() for one in some)
        self.cluster = _cluster(
            chance,
            self.build,
            ring,
            self.names,
            scheduled=self.scheduled,
            relay=seed % 2 == 0,
            corrupts=corrupts,
            quiet=self.quiet,
            schedule=lambda: self.schedule,
        )
        for name in self.names:
            node = self.world.add(name, self._lie if name in self.liars else self._serve)
            node.disk.latency = chance.choice(DISKS)
        self.watched = chance.random() < 0.25
        """Whether one client only reads, often."""
        for number in range(CLIENTS + self.quiet):
            self.world.add(f"client {number}", self._client)
        if self.quiet:
            world.after(PATIENCE, self._look_for_who_waits)
        self.nemesis = Nemesis(
            world, self.honest, NONE if self.quiet or self.scheduled else self._faults(chance)
        )
        if self.scheduled:
            self.schedule = Schedule(world, self.honest, self.liars, self._leads, self._behind)

    def _look_for_who_waits(self) -> None:
        """Where nothing fails but the liars, nobody waits for long, whoever leads, however much is asked."""
        for one in self.oracle.servers.values():
            if one.longest() > PATIENCE:
                raise Broken(f"liveness: {one.host.name} waits for {one.longest():.1f} s")
        self.world.after(0.5, self._look_for_who_waits)

    def _leads(self, height: int, view: int) -> str:
        """Who leads a view, if an honest server is at that height."""
        for one in self.oracle.servers.values():
            if one.engine.height == height:
                found: str = one.engine.standing.proposer(view)
                return found
        return ""

    def _behind(self, height: int) -> bool:
        """Whether some honest server has not decided a height."""
        return any(one.engine.height <= height for one in self.oracle.servers.values())

    def _strategies(self, chance: Random, lies: Sequence[str]) -> tuple[Strategy, ...]:
        """What one of the liars does."""
        kinds = list(lies) or _kinds(chance, self.scheduled, self.quiet)
        return tuple(STRATEGIES[kind]() for kind in kinds)

    def _faults(self, chance: Random) -> Faults:
        return Faults(
            every=long_tail(chance.choice((0.2, 0.4, 0.8))),
            lasting=long_tail(chance.choice((0.2, 0.5, 1.0)), 0.8),
            slowness=uniform(0.0, 0.3),
        )

    def _serve(self, host: Host) -> BftServer:
        return BftServer(host, self.cluster, self.oracle, self._revive)

    def _lie(self, host: Host) -> Any:
        strategies = self.strategies[host.name]
        if any(one.twins for one in strategies):
            spare = Disk(self.world)
            return Twins(host, self.cluster, Blind(), self._revive, strategies, spare)
        return Liar(host, self.cluster, Blind(), self._revive, strategies)

    def _client(self, host: Host) -> Client:
        does = "read" if self.watched and not self.clients else "write" if self.quiet else ""
        self.clients.append(
            Client(host, self.honest, self.history, lambda: self.world.now, does=does)
        )
        return self.clients[-1]

    # ---- the whole of it

    def _outcome(self) -> Outcome:
        oracle = self.oracle
        told: dict[str, int] = {}
        for strategies in self.strategies.values():
            for one in strategies:
                told[one.name] = told.get(one.name, 0) + one.told
        return Outcome(
            seed=self.seed,
            servers=self.count,
            lies=tuple(sorted(told)),
            told=told,
            steps=self.world.steps,
            seconds=self.world.now,
            views=oracle.views,
            heights=max(oracle.decided, default=0),
            operations=sum(one.done for one in self.clients),
            caught=oracle.caught,
            accused=len(oracle.accused),
            censored=oracle.censored,
            taken=oracle.taken,
            faults={**self.nemesis.done, **{f"lies of a {name}": n for name, n in told.items()}},
        )

    def _calm(self) -> None:
        if self.schedule is not None:
            self.schedule.stop()

    def _members(self) -> list[Any]:
        return [one for one in self.oracle.servers.values() if one.host.alive]

    def _settled(self) -> bool:
        members = self._members()
        return len(members) == len(self.honest) and all(
            one.machine.position == members[0].machine.position and not one.engine.waiting
            for one in members
        )

    def _state(self) -> str:
        said = [""]
        for name in self.honest:
            node = self.world.nodes[name]
            if not node.up:
                said.append(f"{name} is down: {node.why}")
                continue
            engine = self.oracle.servers[name].engine
            said.append(
                f"{name} height={engine.height} view={engine.view} {engine.phase}"
                f" leader={engine.standing.proposer(engine.view)} locked={engine.locked.hex()[:8]}"
                f"/{engine.locked_view} pool={len(engine.pool)} waiting={engine.waiting}"
                f" accused={[*engine.standing.accused]} refused={dict(engine.refused)}"
            )
        for name, strategies in self.strategies.items():
            said.append(f"{name} lies: {', '.join(one.name for one in strategies)}")
        return "\n  ".join(said)


def play(seed: int, build: Build | None = None, **more: Any) -> Outcome:
    """One run. Raises Broken, and whatever an engine raises."""
    outcome: Outcome = BftRun(seed, build, **more).play()
    return outcome


def _kinds(chance: Random, scheduled: bool, quiet: bool) -> list[str]:
    """What a liar does."""
    if scheduled and chance.random() < 0.85:
        return ["yes-sayer", chance.choice(("view liar", "view liar", "view liar", "forger"))]
    if quiet and chance.random() < 0.7:
        return [chance.choice(("equivocating leader", "silent leader", "censor"))]
    return chance.sample([*STRATEGIES], chance.choice((1, 1, 2, 3)))


def _link(chance: Random, *, whole: bool) -> Link:
    if whole:  # liars, or the schedule, do the rest
        return Link(latency=uniform(0.001, 0.006))
    low = chance.choice((0.001, 0.003, 0.01))
    return Link(
        latency=uniform(low, low * chance.choice((2, 3, 6))),
        loss=chance.choice((0.0, 0.0, 0.02, 0.1)),
        duplicate=chance.choice((0.0, 0.02, 0.1)),
        reorder=chance.choice((0.0, 0.05, 0.2)),
        held=uniform(0.0, 0.5),
        ordered=chance.random() < 0.3,
    )


def _cluster(
    chance: Random,
    build: Build,
    ring: Ring,
    names: tuple[str, ...],
    *,
    scheduled: bool,
    relay: bool,
    corrupts: bool,
    quiet: bool,
    schedule: Callable[[], Schedule | None],
) -> Cluster:
    genesis = build.epochs.Epoch.first(
        ring.public,
        exclude=chance.random() < 0.3,
        checkpoint=5 if corrupts else chance.choice((5, 20, 10_000)),
    )
    settings = build.settings.EngineSettings(
        view_ticks=2 if scheduled else chance.choice((4, 10)),
        vote_ticks=1 if scheduled else chance.choice((1, 2, 4)),
        relay=relay,
        doublings=5,
        here_ticks=chance.choice((1, 2, 4)),
        idle_ticks=20,
        overdue_ticks=20,
        fetch_ticks=chance.choice((4, 8)),
        batch_entries=2000 if quiet else chance.choice((1, 3, 2000)),
        memory_bytes=1 if corrupts else chance.choice((1, 2000, 2**20)),
    )
    return Cluster(
        build=build,
        ring=ring,
        name=f"simulated {len(names)}",
        genesis=genesis,
        settings=settings,
        piece=chance.choice((50, 200, 10_000)),
        compacts=corrupts or chance.random() < 0.7,
        as_bytes=not scheduled and chance.random() < 0.15,
        schedule=schedule,
    )


__all__ = ["BftRun", "Broken", "Outcome", "play"]
