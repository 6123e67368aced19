"""Both types under trio, on wires in memory and the mock clock: real signatures, real files."""

from __future__ import annotations

import json
import logging
import pathlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock

from flow_membership.static import Static, StaticConfig
from flow_membership.swim.driver import SwimMembership
from flow_membership.swim.settings import SwimConfig
from flow_membership.swim.syncing import Answer, Ask
from flowcore.errors import StorageFailed, UntrustedFile
from flowcore.swarm import Member, MemberState
from flowcore.testing import Link, Wires
from flowcore.testing.ports import Port, Ports, address_of

LOCAL = SwimConfig(profile="local")
ALIVE, DEAD, LEFT, SUSPECT = (
    MemberState.ALIVE,
    MemberState.DEAD,
    MemberState.LEFT,
    MemberState.SUSPECT,
)


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0.001)


@attrs.define(eq=False)
class Node:
    membership: SwimMembership | Static
    port: Port
    scope: trio.CancelScope
    changes: list[Member] = attrs.field(factory=list)

    def state(self, name: str) -> MemberState | None:
        member = self.membership.members().get(name)
        return None if member is None else member.state


class Rig:
    """Nodes that come and go."""

    def __init__(self, folder: pathlib.Path, nursery: trio.Nursery, link: Link | None) -> None:
        self.wires = Wires(3, link=link)
        self.ports = Ports(self.wires)
        self.nodes: dict[str, Node] = {}
        self._folder = folder
        self._nursery = nursery

    async def start(
        self,
        name: str,
        make: Callable[[], SwimMembership | Static] = lambda: SwimMembership(LOCAL),
        *,
        seed: str = "ann",
        cluster: str = "flow",
        folder: str = "",
        at: str = "",
    ) -> Node:
        """`at`: where it is, if that is not where its name says."""
        port = self.ports.port(
            name,
            self._folder / (folder or name),
            seeds=(address_of(seed),),
            cluster=cluster,
            at=at,
        )
        node = Node(make(), port, trio.CancelScope())

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            with node.scope:
                await node.membership.run(port, node.changes.append, task_status=task_status)

        await self._nursery.start(run)
        self.ports.answering[at or name] = (name, node.membership)
        self.nodes[at or name] = node
        return node

    def crash(self, name: str) -> None:
        node = self.nodes.pop(name)
        self.ports.answering.pop(name)
        node.scope.cancel()
        node.port.close()

    def all_say(self, state: MemberState | None, *names: str) -> bool:
        return all(node.state(name) is state for node in self.nodes.values() for name in names)


async def until(holds: Callable[[], bool], most: float = 20.0) -> float:
    """After how many seconds of the mock clock it holds."""
    began = trio.current_time()
    while not holds():
        assert trio.current_time() - began < most, "it does not come to hold"
        await trio.sleep(0.01)
    return trio.current_time() - began


@asynccontextmanager
async def rig(folder: pathlib.Path, link: Link | None = None) -> AsyncGenerator[Rig]:
    async with trio.open_nursery() as nursery:
        yield Rig(folder, nursery, link)
        nursery.cancel_scope.cancel()


# ---- swim


async def test_members_find_each_other_and_know_who_is_gone(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    async with rig(tmp_path, Link(loss=0.1)) as all_:
        names = [f"n{number}" for number in range(7)]
        for name in ("ann", *names):
            await all_.start(name)
        await until(lambda: all_.all_say(ALIVE, "ann", *names))
        all_.crash("n3")
        assert await until(lambda: all_.all_say(DEAD, "n3")) < 5
        await all_.nodes["n4"].membership.leave()
        await until(lambda: all_.all_say(LEFT, "n4"))
        all_.crash("n4")
        await all_.start("n3")
        await until(lambda: all_.all_say(ALIVE, "n3"))
        states = {one.state for one in all_.nodes["ann"].changes if one.name == "n4"}
        assert states == {ALIVE, LEFT}


async def test_a_restart_goes_on_above_what_is_on_disk(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    async with rig(tmp_path) as all_:
        seen = []
        for _ in range(4):
            node = await all_.start("ann")
            seen.append(node.membership.members()["ann"].incarnation)
            all_.crash("ann")
    assert seen == sorted(set(seen))
    assert int((tmp_path / "ann" / "incarnation").read_text()) >= seen[-1]


async def test_a_machine_that_was_replaced_takes_its_name_over(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    """Another disk, another certificate: it goes on above what the old one has claimed."""
    async with rig(tmp_path) as all_:
        for name in ("ann", "bob", "cid"):
            await all_.start(name)
        await until(lambda: all_.all_say(ALIVE, "ann", "bob", "cid"))
        all_.crash("bob")
        await until(lambda: all_.all_say(DEAD, "bob"))
        await all_.start("bob", folder="another disk")
        await until(lambda: all_.all_say(ALIVE, "ann", "bob", "cid"))
        assert all_.nodes["bob"].membership.members()["bob"].incarnation == 2
        assert all_.nodes["ann"].membership.status()["conflicts"] == {}


@pytest.mark.parametrize(
    "make", [lambda: SwimMembership(LOCAL), lambda: Static(StaticConfig())], ids=["swim", "static"]
)
@pytest.mark.parametrize("held", [b"", b"7", b"seven\n", b"-3\n", b"\xff\xff\n", b"1" * 30 + b"\n"])
async def test_a_damaged_incarnation_is_refused_with_what_to_do(
    tmp_path: pathlib.Path, held: bytes, make: Callable[[], SwimMembership | Static]
) -> None:
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "incarnation").write_bytes(held)
    port = Ports(Wires(1)).port("ann", tmp_path / "ann")
    with pytest.raises(UntrustedFile, match=r"incarnation holds .* \(expected a number"):
        await make().run(port, lambda _member: None)
    assert (tmp_path / "ann" / "incarnation").read_bytes() == held


async def test_a_disk_that_cannot_be_written_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ann").write_text("a file where the folder should be")
    port = Ports(Wires(1)).port("ann", tmp_path / "ann")
    with pytest.raises(StorageFailed, match="incarnation"):
        await SwimMembership(LOCAL).run(port, lambda _member: None)


async def test_a_node_of_another_swarm_is_told_so(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    async with rig(tmp_path) as all_:
        await all_.start("ann")
        other = await all_.start("bob", cluster="other")
        await trio.sleep(30)
        assert other.state("ann") is None
        assert all_.nodes["ann"].state("bob") is None
        exchanges = other.membership.status()["exchanges"]
        assert exchanges["unreached"] == {"ann:7400": "this is swarm 'flow', not 'other'"}


async def test_one_who_does_not_know_it_yet_is_no_stranger_for_long(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    """Two join at the same time through different members; nobody is suspected for it."""
    async with rig(tmp_path) as all_:
        await all_.start("ann")
        await all_.start("bob")
        await until(lambda: all_.all_say(ALIVE, "ann", "bob"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: all_.start("cid", seed="ann"))
            nursery.start_soon(lambda: all_.start("dot", seed="bob"))
        await until(lambda: all_.all_say(ALIVE, "ann", "bob", "cid", "dot"))
        await trio.sleep(8)
        assert {one.state for node in all_.nodes.values() for one in node.changes} == {ALIVE}


async def test_where_no_datagrams_get_through_members_are_kept_by_exchanges(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    """A firewall that lets TCP through alone: slower, and nobody is dead for it."""
    async with rig(tmp_path, Link(loss=1.0)) as all_:
        await all_.start("ann")
        await all_.start("bob")
        await until(lambda: all_.all_say(ALIVE, "ann", "bob"))
        await trio.sleep(15)
        assert {one.state for node in all_.nodes.values() for one in node.changes} == {ALIVE}
        assert all_.nodes["ann"].membership.status()["only_exchanges"] == ["bob"]


async def test_a_dead_member_is_shown_with_who_says_so_and_logged(
    tmp_path: pathlib.Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig(tmp_path) as all_:
        await all_.start("ann")
        await all_.start("bob")
        await until(lambda: all_.all_say(ALIVE, "ann", "bob"))
        all_.crash("bob")
        await until(lambda: all_.all_say(DEAD, "bob"))
        status = all_.nodes["ann"].membership.status()
        assert status["accused"]["bob"]["by"] == "ann"
        assert status["members"] == {"alive": 0, "suspect": 0, "dead": 1, "left": 0}
        assert json.dumps(status)
    assert "member 'bob' at bob:7400 is dead, says 'ann'" in caplog.text


async def test_two_nodes_of_one_name_are_logged(
    tmp_path: pathlib.Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with rig(tmp_path) as all_:
        for name in ("ann", "bob", "cid"):
            await all_.start(name)
        await until(lambda: all_.all_say(ALIVE, "ann", "bob", "cid"))
        await all_.start("bob", at="twin", folder="twin")
        await trio.sleep(10)
        assert "bob" in all_.nodes["ann"].membership.status()["conflicts"]
    assert "two nodes are called 'bob'" in caplog.text


async def test_what_is_told_before_it_runs_is_told(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    def make() -> SwimMembership:
        made = SwimMembership(LOCAL)
        assert made.members() == {}
        assert made.status() == {"type": "swim", "running": False}
        made.tell(b"early")
        return made

    async with rig(tmp_path) as all_:
        await all_.start("ann", make)
        await all_.start("bob")
        await until(lambda: all_.all_say(ALIVE, "ann", "bob"))
        await until(lambda: all_.nodes["bob"].membership.members()["ann"].about == b"early")
        with pytest.raises(ValueError, match="513 bytes"):
            all_.nodes["bob"].membership.tell(bytes(513))


async def test_who_does_not_run_answers_and_leaves_at_once() -> None:
    one = SwimMembership(LOCAL)
    answer = msgspec.msgpack.decode(await one.answer("bob", b"garbage"), type=Answer)
    assert answer.refused == "membership does not run here"
    await one.leave()


async def test_an_exchange_cannot_bring_what_is_not_signed(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    async with rig(tmp_path) as all_:
        for name in ("ann", "bob", "cid"):
            await all_.start(name)
        await until(lambda: all_.all_say(ALIVE, "ann", "bob", "cid"))
        bob = all_.nodes["bob"].membership
        assert isinstance(bob, SwimMembership)
        engine = bob._engine
        assert engine is not None
        ask = msgspec.msgpack.decode(engine.syncing.bring(["cid"]), type=Ask)
        (record,) = ask.records
        alive = msgspec.msgpack.decode(record.alive.body)
        alive[1] += 7
        body = msgspec.msgpack.encode(alive)
        forged = msgspec.structs.replace(
            record, alive=msgspec.structs.replace(record.alive, body=body)
        )
        await all_.nodes["ann"].membership.answer(
            "bob", msgspec.msgpack.encode(Ask(1, "flow", None, [forged]))
        )
        assert all_.nodes["ann"].membership.members()["cid"].incarnation == alive[1] - 7
        assert all_.nodes["ann"].membership.status()["refused"]["unproved_claims"] == 1


# ---- static


def static(*names: str, **settings: Any) -> Callable[[], Static]:
    nodes = {name: address_of(name) for name in names}
    return lambda: Static(StaticConfig(nodes=nodes, **settings))


async def test_configured_nodes_are_shown_from_the_start_as_not_heard(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    async with rig(tmp_path) as all_:
        ann = await all_.start("ann", static("ann", "bob"))
        assert (ann.state("ann"), ann.state("bob")) == (ALIVE, SUSPECT)
        assert 4.9 < await until(lambda: ann.state("bob") is DEAD) < 6
        status = ann.membership.status()["nodes"]["bob"]
        assert status["why"] == "nobody is at bob:7400"
        assert status["failures"] > 0
        await all_.start("bob", static("ann", "bob"))
        await until(lambda: all_.all_say(ALIVE, "ann", "bob"))
        assert [one.state for one in ann.changes if one.name == "bob"] == [SUSPECT, DEAD, ALIVE]


async def test_a_standing_link_is_enough(tmp_path: pathlib.Path, autojump_clock: MockClock) -> None:
    async with rig(tmp_path) as all_:
        ann = await all_.start("ann", static("ann", "bob"))
        all_.ports.links.add(frozenset({"ann", "bob"}))
        await until(lambda: ann.state("bob") is ALIVE)
        await trio.sleep(30)
        assert ann.state("bob") is ALIVE
        all_.ports.links.clear()
        assert await until(lambda: ann.state("bob") is DEAD) < 7


async def test_another_node_at_a_configured_address_is_not_taken_for_it(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    async with rig(tmp_path) as all_:
        make = lambda: Static(StaticConfig(nodes={"bob": address_of("cid")}))  # noqa: E731
        ann = await all_.start("ann", make)
        await all_.start("cid", static("ann", "cid"))
        await until(lambda: ann.state("bob") is DEAD)
        assert ann.membership.status()["nodes"]["bob"]["why"] == "'cid' is there, not 'bob'"
        assert ann.state("cid") is None


async def test_a_stranger_and_another_swarm_are_refused(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    async with rig(tmp_path) as all_:
        ann = await all_.start("ann", static("ann", "bob"))
        bob = await all_.start("bob", static("ann", "bob"), cluster="other")
        await until(lambda: ann.state("bob") is DEAD and bob.state("ann") is DEAD)
        assert "is of swarm" in ann.membership.status()["nodes"]["bob"]["why"]
        before = ann.membership.status()["refused"]
        assert b"not configured" in await ann.membership.answer("eve", b"garbage")
        assert b"cannot be read" in await ann.membership.answer("bob", b"\x96\x01\xa1\xff")
        assert ann.membership.status()["refused"] == before + 2


async def test_who_leaves_by_configuration_has_left_until_it_is_back(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    async with rig(tmp_path) as all_:
        for name in ("ann", "bob"):
            await all_.start(name, static("ann", "bob"))
        await until(lambda: all_.all_say(ALIVE, "ann", "bob"))
        ann, bob = all_.nodes["ann"], all_.nodes["bob"]
        await bob.membership.leave()
        assert ann.state("bob") is LEFT
        all_.crash("bob")
        await trio.sleep(20)
        assert ann.state("bob") is LEFT
        await all_.start("bob", static("ann", "bob"))
        await until(lambda: ann.state("bob") is ALIVE)
        assert [one.state for one in ann.changes if one.name == "bob"] == [
            SUSPECT,
            ALIVE,
            LEFT,
            ALIVE,
        ]


async def test_a_cut_of_configured_nodes_is_seen_from_both_sides(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    async with rig(tmp_path) as all_:
        for name in ("ann", "bob"):
            await all_.start(name, static("ann", "bob"))
        await until(lambda: all_.all_say(ALIVE, "ann", "bob"))
        all_.wires.links.cut("ann", "bob")
        ann, bob = all_.nodes["ann"], all_.nodes["bob"]
        await until(lambda: ann.state("bob") is DEAD and bob.state("ann") is DEAD)
        all_.wires.links.heal()
        await until(lambda: all_.all_say(ALIVE, "ann", "bob"))


def test_configured_addresses_are_checked() -> None:
    with pytest.raises(ValueError, match="host:port"):
        StaticConfig(nodes={"bob": "nowhere"})
    with pytest.raises(ValueError, match="dead_after is 1 s"):
        StaticConfig(dead_after=1.0, interval=2.0)
