"""What nodes agree by is on its way when it is posted, and handed over in the task of its link."""

from __future__ import annotations

import hashlib
from functools import partial

import trio
import trio.testing
from trio.testing import MockClock

from flow_topologies.mesh import Mesh
from flowcore.swarm import Lane, open_channel
from flowcore.swarm.links.secure import SecureWire, wire_of
from support.linked import identity, open_peer
from support.swarms import open_swarm

MUCH = 40_000


async def test_it_has_left_when_it_is_posted_unless_something_waits_before_it() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta") as beta:
        link = await alpha.links.dial(beta.address)
        assert link.post(Lane.GOSSIP, b"hello")
        await beta.user.until(lambda: bool(beta.user.messages))
        await trio.testing.wait_all_tasks_blocked()
        before = link.status()["bytes"]["out"]
        assert link.post(Lane.CONSENSUS, b"first")
        after = link.status()["bytes"]["out"]
        assert after > before
        assert link.post(Lane.CONTROL, b"second")
        assert link.post(Lane.CONSENSUS, b"third")
        assert link.status()["bytes"]["out"] == after
        await beta.user.until(lambda: len(beta.user.messages) == 4)
        assert [message for _, _, message in beta.user.messages[1:]] == [
            b"first",
            b"third",
            b"second",
        ]


async def test_messages_of_any_size_arrive_whole_and_in_order() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta") as beta:
        link = await alpha.links.dial(beta.address)

        def came(count: int) -> bool:
            return len(beta.user.messages) >= count

        sizes = [1, MUCH, 10, 700_000, 3, 20_000, 0] * 5
        for number, size in enumerate(sizes):
            assert link.post(Lane.CONSENSUS, b"%d " % number + bytes(size))
            few = max(0, number - 2)
            await beta.user.until(partial(came, few))
        await beta.user.until(lambda: len(beta.user.messages) == len(sizes))
        told = [message for _, _, message in beta.user.messages]
        assert told == [b"%d " % number + bytes(size) for number, size in enumerate(sizes)]


async def test_what_the_network_does_not_take_goes_before_what_follows() -> None:
    (server,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    there = await trio.open_tcp_stream("127.0.0.1", server.socket.getsockname()[1])
    client = SecureWire(wire_of(there), identity("alpha").context(server=False), server=False)
    served = SecureWire(
        wire_of(await server.accept()), identity("beta").context(server=True), server=True
    )
    await server.aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.handshake)
        nursery.start_soon(served.handshake)
    sent = hashlib.sha256()
    count, taken = 0, True
    while taken:  # until what the kernel holds is full, as nobody reads
        assert client.prompt
        piece = count.to_bytes(4, "big") * 4000
        taken = client.send_now(piece)
        sent.update(piece)
        count += len(piece)
    assert not client.prompt
    came, size = hashlib.sha256(), 0

    async def rest() -> None:
        await client.send(b"")
        assert client.prompt
        assert client.send_now(b"the end")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rest)
        while size < count + 7:
            data = await served.receive()
            came.update(data)
            size += len(data)
    sent.update(b"the end")
    assert came.digest() == sent.digest()
    await client.close(polite=False)
    await served.close(polite=False)


async def test_a_receiver_gets_what_waits_and_then_what_comes(autojump_clock: MockClock) -> None:
    heard: list[tuple[str, bytes]] = []
    async with (
        open_swarm(["alpha", "beta"], Mesh()) as swarm,
        open_channel(swarm["alpha"], "t") as alpha,
        open_channel(swarm["beta"], "t") as beta,
    ):
        assert alpha.send("beta", b"1")
        assert alpha.send("beta", b"2")
        await trio.sleep(1)
        assert beta.waiting == 2
        beta.hand_to(lambda node, message: heard.append((node, message)))
        assert (beta.waiting, len(heard)) == (0, 2)
        assert alpha.send("beta", b"3")
        await trio.sleep(1)
    assert heard == [("alpha", b"1"), ("alpha", b"2"), ("alpha", b"3")]
