"""The port that memberships are tested on behaves as that of a node does."""

from __future__ import annotations

import pathlib

import trio
import trio.testing

from flowcore.testing import Wires
from flowcore.testing.ports import Port, Ports, address_of


def two(folder: pathlib.Path) -> tuple[Port, Port]:
    ports = Ports(Wires())
    return ports.port("ant", folder), ports.port("bee", folder)


async def test_a_receiver_that_was_woken_as_its_node_crashes_is_cancelled_and_nothing_else(
    tmp_path: pathlib.Path, autojump_clock: trio.testing.MockClock
) -> None:
    ant, bee = two(tmp_path)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(bee.datagrams.receive)
        await trio.testing.wait_all_tasks_blocked()
        ant.datagrams.post(bee.address, b"wakes them")
        nursery.cancel_scope.cancel()
        bee.close()
    assert nursery.cancel_scope.cancelled_caught


async def test_what_a_node_posts_when_it_has_crashed_is_dropped_and_counted(
    tmp_path: pathlib.Path, autojump_clock: trio.testing.MockClock
) -> None:
    ant, bee = two(tmp_path)
    wake = trio.Event()

    async def post() -> None:
        await wake.wait()
        ant.datagrams.post(bee.address, b"too late")
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(post)
        await trio.testing.wait_all_tasks_blocked()
        wake.set()
        nursery.cancel_scope.cancel()
        ant.close()
    assert (ant.datagrams.posted, ant.datagrams.unsent) == (0, 1)
    with trio.move_on_after(60) as waited:
        await bee.datagrams.receive()
    assert waited.cancelled_caught


async def test_datagrams_come_from_the_address_of_who_posted_them(
    tmp_path: pathlib.Path, autojump_clock: trio.testing.MockClock
) -> None:
    ant, bee = two(tmp_path)
    ant.datagrams.post(bee.address, b"hello")
    assert await bee.datagrams.receive() == (address_of("ant"), b"hello")
    assert ant.datagrams.posted == 5
