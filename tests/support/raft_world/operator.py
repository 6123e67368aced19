"""Who runs the cluster: hands leadership over, changes members, makes snapshots, and is often mistaken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowcore.testing import World
from support.raft_world.build import Build
from support.raft_world.oracle import Oracle


class Operator:
    """Does something every now and then, whatever the state of the cluster."""

    def __init__(
        self,
        world: World,
        oracle: Oracle,
        build: Build,
        servers: Sequence[str],
        *,
        changes: bool,
    ) -> None:
        self.done: dict[str, int] = {}
        self._world = world
        self._oracle = oracle
        self._build = build
        self._servers = list(servers)
        self._running = True
        self._kinds = ["transfer", "campaign", "snapshot", "unreachable"]
        if changes:
            self._kinds += ["change"] * 8 + ["leave"]
        self._plan()

    def stop(self) -> None:
        """Leave it alone, but for a joint configuration that nobody would leave."""
        self._running = False
        self._world.after(1.0, self._leave_joint)

    def _leave_joint(self) -> None:
        for server in self._up():
            if server.engine.role == "leader" and server.engine.membership.joint:
                server.act(lambda engine: engine.leave_joint())
        self._world.after(0.5, self._leave_joint)

    def _plan(self) -> None:
        self._world.after(self._world.random.expovariate(2.0), self._do)

    def _up(self) -> list[Any]:
        return [
            server
            for name in self._servers
            if (server := self._world.nodes[name].process) is not None
            and not self._world.nodes[name].paused
        ]

    def _do(self) -> None:
        if not self._running:
            return
        self._plan()
        chance = self._world.random
        up = self._up()
        if not up:
            return
        kind = chance.choice(self._kinds)
        server = chance.choice(up)
        if kind in ("transfer", "change", "leave", "unreachable"):
            leaders = [one for one in up if one.engine.role == "leader"]
            if leaders:
                server = chance.choice(leaders)
        self._world.trace(f"the operator asks {server.host.name} for {kind}")
        if getattr(self, f"_{kind}")(server):
            self.done[kind] = self.done.get(kind, 0) + 1

    def _transfer(self, server: Any) -> bool:
        to = self._world.random.choice(self._servers)
        return bool(server.act(lambda engine: engine.transfer_leadership(to)))

    def _campaign(self, server: Any) -> bool:
        return bool(server.act(lambda engine: engine.campaign()))

    def _unreachable(self, server: Any) -> bool:
        to = self._world.random.choice(self._servers)
        return bool(server.act(lambda engine: engine.report_unreachable(to)))

    def _snapshot(self, server: Any) -> bool:
        return bool(server.act(lambda engine: server.snapshot()))

    def _leave(self, server: Any) -> bool:
        return bool(server.act(lambda engine: engine.leave_joint()))

    def _change(self, server: Any) -> bool:
        chance = self._world.random
        membership = server.engine.membership
        sets: dict[str, set[str]] = {"voters": set(), "learners": set(), "remove": set()}
        for name in chance.sample(self._servers, chance.choice((1, 1, 1, 2, 3))):
            if name in membership.voters:
                kind = chance.choice(("learners", "remove", "remove"))
            elif name in membership.learners:
                kind = chance.choice(("voters", "voters", "remove"))
            else:
                kind = chance.choice(("voters", "learners"))
            sets[kind].add(name)
        left = (membership.voters | sets["voters"]) - sets["learners"] - sets["remove"]
        if len(left) < 2:
            return False
        joint = chance.choice((None, None, True, False))
        auto = chance.random() < 0.8

        def change(engine: Any) -> None:
            engine.change_voters(self._build.Change(**sets, joint=joint, auto_leave=auto))

        return bool(server.act(change))
