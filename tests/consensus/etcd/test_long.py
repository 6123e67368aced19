"""Three members of etcd, killed, stopped and started, while three nodes write."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack

import pytest
import trio

from flow_consensus.etcd import Etcd
from flow_storage.memory import MemoryLog
from flowcore.errors import OutcomeUnknown, Overloaded, StateUnavailable
from support.etcds import open_etcds
from support.on_etcd import new_prefix, on_etcd, read


@pytest.mark.long
async def test_members_die_and_nothing_acknowledged_is_lost_or_done_twice() -> None:
    chance = random.Random(11)
    prefix = new_prefix()
    acknowledged: dict[int, bytes] = {}
    unknown: set[bytes] = set()
    refused: set[bytes] = set()
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

            async def more(count: int) -> None:
                aim = len(acknowledged) + count
                with trio.fail_after(120):
                    while len(acknowledged) < aim:  # noqa: ASYNC110
                        await trio.sleep(0.01)

            async with trio.open_nursery() as nursery:
                for number in range(9):
                    nursery.start_soon(work, nodes[number % 3], number)
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
            last = await nodes[0].propose(b"the end")
            found = await read(nodes[0], last)
            assert len(found) == len(set(found))
            for position, command in acknowledged.items():
                assert found[position - 1] == command
            rest = set(found) - set(acknowledged.values()) - {b"the end"}
            assert rest <= unknown
            assert not set(found) & refused
            for node in nodes[1:]:
                await node.read_barrier()
                assert await read(node, last) == found
