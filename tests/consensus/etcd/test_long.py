"""Three members of etcd, killed, stopped and started, while three nodes write."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from flow_consensus.etcd import Etcd
from flow_storage.memory import MemoryLog
from flowcore.errors import OutcomeUnknown, Overloaded, StateUnavailable
from support.etcds import open_etcds
from support.on_etcd import new_prefix, on_etcd, read, surely


@pytest.mark.long
async def test_members_die_and_nothing_acknowledged_is_lost_or_done_twice() -> None:
    chance = random.Random(11)
    prefix = new_prefix()
    acknowledged: dict[int, bytes] = {}
    unknown: set[bytes] = set()
    refused: set[bytes] = set()
    looked: list[int] = []
    ended = False
    with open_etcds(3) as etcd:
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(
                    on_etcd(
                        *etcd.urls[at:],
                        *etcd.urls[:at],
                        prefix=prefix,
                        name=f"n{at}",
                        storage=MemoryLog(f"n{at}"),
                        patience=0.9,
                        silence=0.2,
                        timeout=0.5,
                    )
                )
                for at in range(3)
            ]

            async def work(node: Etcd, number: int) -> None:
                turn = 0
                while not ended:
                    command = b"%d.%d" % (number, turn)
                    turn += 1
                    try:
                        position = await node.propose(command)
                    except OutcomeUnknown:
                        unknown.add(command)
                    except (StateUnavailable, Overloaded):
                        refused.add(command)
                    else:
                        assert position not in acknowledged
                        acknowledged[position] = command

            async def look(node: Etcd) -> None:
                """What was acknowledged anywhere before is before a barrier, wherever it is asked."""
                while not ended:
                    known = max(acknowledged, default=0)
                    try:
                        barrier = await node.read_barrier()
                    except StateUnavailable:
                        await trio.lowlevel.checkpoint()
                    else:
                        assert barrier >= known
                        looked.append(barrier)

            async def more(count: int) -> None:
                aim = len(acknowledged) + count
                with trio.fail_after(120):
                    while len(acknowledged) < aim:  # noqa: ASYNC110
                        await trio.sleep(0.01)

            async with trio.open_nursery() as nursery:
                for number in range(9):
                    nursery.start_soon(work, nodes[number % 3], number)
                for node in nodes:
                    nursery.start_soon(look, node)
                for turn in range(30):
                    await more(50)
                    victim = chance.choice(etcd.members)
                    if turn % 3 == 2:
                        victim.pause()
                        await more(20)
                        victim.go_on()
                    else:
                        await trio.to_thread.run_sync(victim.kill)
                        await more(20)
                        victim.start()
                await more(50)
                ended = True
            assert len(looked) > 100
            last = await surely(nodes[0], b"the end")
            found = await read(nodes[0], last)
            assert len(set(found)) == len(found) - found.count(b"the end") + 1
            for position, command in acknowledged.items():
                assert found[position - 1] == command
            rest = set(found) - set(acknowledged.values()) - {b"the end"}
            assert rest <= unknown
            assert not set(found) & refused
            for node in nodes[1:]:
                await node.read_barrier()
                assert await read(node, last) == found


@pytest.mark.long
async def test_without_a_majority_nothing_is_taken_and_afterwards_all_is() -> None:
    with open_etcds(3) as etcd:
        prefix = new_prefix()
        settings: dict[str, Any] = {"patience": 0.9, "timeout": 0.5, "silence": 0.2}
        async with on_etcd(*etcd.urls, prefix=prefix, **settings) as node:
            await surely(node, b"a")
            for member in etcd.members[:2]:
                member.pause()
            for _ in range(5):
                with pytest.raises((StateUnavailable, OutcomeUnknown)):
                    await node.propose(b"perhaps")
                with pytest.raises(StateUnavailable):
                    await node.read_barrier()
            for member in etcd.members[:2]:
                member.go_on()
            last = await surely(node, b"b")
            found = await read(node, last)
            assert found[0] == b"a"
            assert found[-1] == b"b"
            assert found.count(b"perhaps") <= 5
