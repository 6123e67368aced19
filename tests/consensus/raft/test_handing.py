"""What is done at once where somebody waits: in whose task, and who is told when."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from flow_consensus.raft.driver.opening import open_node
from flow_consensus.raft.driver.port import Alone
from flow_consensus.raft.driver.settings import RaftSettings
from flow_consensus.raft.messages import Heartbeat, encode
from flow_storage.memory import MemoryLog
from support.raft.nodes import open_group

ABC = ("a", "b", "c")


async def test_a_follower_applies_together_what_nobody_waits_for(
    autojump_clock: MockClock,
) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        await group.agree()
        await trio.sleep(0.0123)  # nothing is due just now
        follower = next(name for name in ABC if name != leader)
        seen = group.running[follower].seen
        began, first = trio.current_time(), seen[-1].position
        for number in range(20):
            position = await group[leader].propose(b"%d" % number)
        assert seen[-1].position <= first + 5  # a heartbeat may have told of some
        assert trio.current_time() == began
        await trio.sleep(0.021)
        assert seen[-1].position == position


async def test_who_reads_or_proposes_at_a_follower_is_told_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        follower = next(name for name in ABC if name != leader)
        seen = group.running[follower].seen

        async def reached(position: int) -> None:
            while seen[-1].position < position:
                await trio.testing.wait_all_tasks_blocked()

        for number in range(20):
            await group.agree()
            began = trio.current_time()
            await group[leader].propose(b"before")
            position = await group[leader].propose(b"%d" % number)
            assert await group[follower].read_barrier() >= position
            await reached(position)
            await group[leader].propose(b"before")
            await reached(await group[follower].propose(b"here"))
            assert trio.current_time() == began


class _Handed(Alone):
    """A transport over which a test says what has come."""

    def hand_to(self, receiver: Callable[[str, bytes], None]) -> None:
        self.receiver = receiver


async def test_a_fault_in_the_task_of_a_link_ends_the_node_and_not_the_link(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    transport = _Handed()
    settings = RaftSettings(voters=("a", "b"))

    def step(sender: str, message: object) -> str:
        raise RuntimeError("a fault of the engine")

    with pytest.raises(BaseExceptionGroup) as raised:
        async with open_node("a", settings, MemoryLog("a"), transport, Random(1)) as raft:
            await trio.testing.wait_all_tasks_blocked()
            monkeypatch.setattr(raft.engine, "step", step)
            transport.receiver("b", encode(Heartbeat(1, 0, 0)))
            transport.receiver("b", encode(Heartbeat(1, 0, 0)))  # it takes nothing any more
            await trio.sleep_forever()
    assert raised.group_contains(RuntimeError, match="a fault of the engine", depth=2)


async def test_a_fault_in_the_task_of_who_proposes_ends_the_node(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        async with open_node(
            "a", RaftSettings(voters=("a",)), MemoryLog("a"), Alone(), Random(1)
        ) as raft:
            assert await raft.propose(b"x") == 2

            def ready() -> None:
                raise RuntimeError("a fault of the engine")

            monkeypatch.setattr(raft.engine, "ready", ready)
            await raft.propose(b"y")
    assert raised.group_contains(RuntimeError, match="a fault of the engine", depth=2)
