"""One run of a seed: servers, clients, an operator, a nemesis; at the end everything heals and must work."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs

from flowcore.testing import (
    Faults,
    Host,
    Link,
    Nemesis,
    World,
    corrupt_record,
    long_tail,
    uniform,
)
from support.raft_world.build import Build, shipped
from support.raft_world.figure8 import Figure8
from support.raft_world.operator import Operator
from support.raft_world.oracle import Oracle
from support.raft_world.server import Policy, RaftServer
from support.raft_world.sideline import Sideline
from support.raft_world.state import StateMachine
from support.simulation.client import Client
from support.simulation.ends import Broken
from support.simulation.machine import Machine
from support.simulation.run import Run
from support.simulation.store import LOG

CLIENTS = 4
LOOKED_FOR = ("", "", "", "figure 8", "figure 8", "stale reads", "stale reads")
"""What an adversary looks for; "" leaves all to chance."""
DISKS = (uniform(0.0002, 0.002), uniform(0.0002, 0.002), uniform(0.01, 0.06), long_tail(0.005, 1.5))
"""How long an fsync takes."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What a run came to, for those who count."""

    seed: int
    servers: int
    steps: int
    seconds: float
    elections: int
    committed: int
    operations: int
    faults: dict[str, int]

    def counts(self) -> dict[str, int]:
        """What is added up over all runs."""
        return {
            "steps": self.steps,
            "elections": self.elections,
            "committed": self.committed,
            "operations": self.operations,
        }


class RaftRun(Run):
    """The world of one seed."""

    def __init__(
        self, seed: int, build: Build | None = None, *, seconds: float = 8.0, trace: int = 0
    ) -> None:
        self.build = build or shipped()
        chance = Random(seed * 7919 + 1)
        self.count = chance.choice((3, 3, 5, 5, 7))
        self.looks_for = chance.choice(LOOKED_FOR)
        self.leased = 0.0 if self.looks_for == "figure 8" else 0.5
        """Figure 8 has nodes stand whatever the leader promised: no lease means anything then."""
        self.changes = not self.looks_for and chance.random() < 0.6
        self.corrupts = not self.changes and not self.looks_for and chance.random() < 0.2
        self.names = tuple("abcdefg"[: self.count])
        spares = tuple("stu"[: chance.randint(1, 3)]) if self.changes else ()
        self.servers = (*self.names, *spares)
        super().__init__(
            seed, World(seed, link=_link(chance, self.looks_for), trace=trace), seconds
        )
        self.oracle = Oracle()
        self.policy = self._policy(chance)
        for name in self.servers:
            node = self.world.add(name, self._start(self.names if name in self.names else ()))
            if self.looks_for != "figure 8":
                node.disk.latency = chance.choice(DISKS)
        for number in range(CLIENTS):
            self.world.add(f"client {number}", self._client)
        self.operator = Operator(
            self.world, self.oracle, self.build, self.servers, changes=self.changes
        )
        self.nemesis = Nemesis(self.world, self.servers, self._faults(chance))
        self.adversary: Figure8 | Sideline | None = None
        if self.looks_for == "figure 8":
            self.adversary = Figure8(self.world, self.servers)
        elif self.looks_for:
            self.adversary = Sideline(self.world, self.servers)
        if self.corrupts:
            self.world.after(chance.uniform(1.0, seconds), self._corrupt)

    def _policy(self, chance: Random) -> Policy:
        made = _policy(chance, self.build, self.looks_for)
        behind = (0, 3, 100)[self.seed % 3]  # not drawn: what a seed plays else stays as it was
        return made._replace(settings=attrs.evolve(made.settings, commit_behind=behind))

    def _faults(self, chance: Random) -> Faults:
        return _faults(chance, self.looks_for)

    def _start(self, voters: tuple[str, ...]) -> Any:
        def start(host: Host) -> RaftServer:
            return RaftServer(host, self.build, self.policy, self.oracle, voters, self._revive)

        return start

    def _client(self, host: Host) -> Client:
        does = ""
        if self.looks_for == "stale reads":
            does = ("write", "read")[len(self.clients) % 2]
        self.clients.append(
            Client(
                host,
                self.servers,
                self.history,
                lambda: self.world.now,
                does=does,
                leased=self.leased,
            )
        )
        return self.clients[-1]

    def _corrupt(self) -> None:
        """A sector of one disk goes bad while its server is down; it must not start again."""
        node = self.world.nodes[self.world.random.choice(self.names)]
        node.crash("its disk is looked at")
        damaged = corrupt_record(node.disk, self.world.random, LOG)
        self.world.trace(f"a record of {node.name} is damaged: {damaged}")
        if node.restart() == damaged:
            raise Broken(f"{node.name} starts with a damaged disk" if damaged else node.why)

    # ---- the whole of it

    def _outcome(self) -> Outcome:
        return Outcome(
            seed=self.seed,
            servers=self.count,
            steps=self.world.steps,
            seconds=self.world.now,
            elections=self.oracle.elections,
            committed=len(self.oracle.committed) - 1,
            operations=sum(one.done for one in self.clients),
            faults=dict(self.nemesis.done),
        )

    def _calm(self) -> None:
        if self.adversary is not None:
            self.adversary.stop()
        self.operator.stop()

    def _members(self) -> list[Any]:
        """Servers that are up and take part, as the leader of the latest term sees it; it comes first."""
        up = [one for one in self.oracle.servers.values() if one.host.alive]
        leaders = [one for one in up if one.engine.role == "leader"]
        if not leaders:
            return []
        leader = max(leaders, key=lambda one: one.engine.term)
        members = leader.engine.membership.members
        return [
            leader,
            *(one for one in up if one.host.name in members and one is not leader),
        ]

    def _settled(self) -> bool:
        members = self._members()
        if not members:
            return False
        last = members[0].engine.log.last
        return all(
            one.machine.position == one.engine.log.commit == one.engine.log.last == last
            for one in members
        )

    def _state(self) -> str:
        said = []
        for name in self.servers:
            node = self.world.nodes[name]
            if not node.up:
                said.append(f"{name} is down: {node.why}")
                continue
            engine = self.oracle.servers[name].engine
            log = engine.log
            said.append(
                f"{name} {engine.role} {engine.term} leader={engine.leader or '-'} log={log.start}.."
                f"{log.last} durable={log.durable} commit={log.commit} given={log.given}"
                f" members={engine.membership}"
            )
        return "\n  ".join(("", *said))


def play(seed: int, build: Build | None = None, *, seconds: float = 8.0, trace: int = 0) -> Outcome:
    """One run. Raises Broken, and whatever an engine raises."""
    outcome: Outcome = RaftRun(seed, build, seconds=seconds, trace=trace).play()
    return outcome


def _link(chance: Random, looks_for: str) -> Link:
    if looks_for == "figure 8":  # which takes many steps, each soon after the other
        return Link(latency=uniform(0.001, 0.006))
    low = chance.choice((0.001, 0.005, 0.02))
    return Link(
        latency=uniform(low, low * chance.choice((2, 3, 6))),
        loss=chance.choice((0.0, 0.0, 0.02, 0.1)),
        duplicate=chance.choice((0.0, 0.02, 0.1)),
        reorder=chance.choice((0.0, 0.05, 0.2)),
        held=uniform(0.0, 0.5),
        ordered=chance.random() < 0.3,
    )


def _policy(chance: Random, build: Build, looks_for: str) -> Policy:
    figure8 = looks_for == "figure 8"
    settings = build.EngineSettings(
        election_ticks=20 if looks_for == "stale reads" else 10,
        heartbeat_ticks=2,
        pre_vote=chance.random() < 0.7,
        check_quorum=chance.random() < 0.8,
        batch_entries=1 if figure8 else chance.choice((1, 2, 1000)),
        window=chance.choice((1, 3, 64)),
        memory_bytes=chance.choice((1, 400, 2**20)),
        promote_lag=chance.choice((0, 5, 1000)),
        uncommitted_bytes=chance.choice((2000, 2**20)),
    )
    return Policy(
        settings=settings,
        snapshot_every=10**9 if figure8 else chance.choice((5, 20, 60, 10**9)),
        keep=chance.choice((0, 0, 5, 20)),
        piece=chance.choice((50, 200, 10_000)),
        as_bytes=chance.random() < 0.1,
        machine=StateMachine if chance.random() < 0.06 else Machine,
    )


def _faults(chance: Random, looks_for: str) -> Faults:
    if looks_for:  # the adversary does the rest
        return Faults(
            crash=0.0, outage=0.2, partition=0.0, isolate=0.0, cut=0.0, full=0.0, sync=0.2
        )
    return Faults(
        every=long_tail(chance.choice((0.2, 0.4, 0.8))),
        lasting=long_tail(chance.choice((0.3, 0.7, 1.5)), 0.8),
        slowness=uniform(0.0, 0.3),
    )
