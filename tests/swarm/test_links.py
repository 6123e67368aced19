"""Links over real sockets and certificates."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from flowcore.errors import LinkFailed, StreamBroken
from flowcore.swarm import MOST_CHUNK, MOST_MESSAGE, Lane
from support.linked import everything, open_peer


async def test_who_is_wanted_is_linked_to_and_both_sides_know() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta") as beta:
        alpha.links.want({"beta": beta.address})
        there, here = await alpha.link("beta"), await beta.link("alpha")
        assert (there.peer, there.address, here.address) == ("beta", beta.address, alpha.address)
        assert there.post(Lane.GOSSIP, b"hello")
        await beta.user.until(lambda: bool(beta.user.messages))
        assert beta.user.messages == [("alpha", Lane.GOSSIP, b"hello")]


async def test_two_that_dial_each_other_at_once_have_one_link() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta") as beta:
        alpha.links.want({"beta": beta.address})
        beta.links.want({"alpha": alpha.address})
        await alpha.link("beta")
        await beta.link("alpha")
        for number in range(100):
            assert alpha.links.up()["beta"].post(Lane.CONTROL, b"%d" % number)
        await beta.user.until(lambda: len(beta.user.messages) == 100)
        assert alpha.user.events == [("up", "beta")]
        assert beta.user.events == [("up", "alpha")]


async def test_streams_keep_chunks_in_order_and_end_in_both_directions() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta") as beta:
        link = await alpha.links.dial(beta.address)
        async with await link.open(Lane.REQUESTS, b"head") as stream:
            assert await stream.receive() == b"head"
            for chunk in (b"", b"x", b"y" * MOST_CHUNK, b"z" * 20_000):
                await stream.send(chunk)
                assert await stream.receive() == chunk
            await stream.finish()
            assert await stream.receive() is None
        assert link.status()["streams"] == {"ours": 0, "theirs": 0}


async def test_a_large_amount_flows_through_a_stream() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta") as beta:
        link = await alpha.links.dial(beta.address)
        size = 200 * MOST_CHUNK
        async with await link.open(Lane.BULK, b"") as stream, trio.open_nursery() as nursery:

            async def send() -> None:
                for _ in range(200):
                    await stream.send(bytes(MOST_CHUNK))
                await stream.finish()

            nursery.start_soon(send)
            assert await everything(stream) == bytes(size)


async def test_large_messages_arrive_whole_and_in_order() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta") as beta:
        link = await alpha.links.dial(beta.address)
        sent = [b"a" * MOST_MESSAGE, b"b", b"c" * 20_000, b"d"]
        for one in sent:
            assert link.post(Lane.BULK, one)
        await beta.user.until(lambda: len(beta.user.messages) == 4)
        assert [message for _, _, message in beta.user.messages] == sent
        with pytest.raises(ValueError, match="at most 1048576 bytes"):
            link.post(Lane.BULK, b"a" * (MOST_MESSAGE + 1))


async def test_an_older_and_a_newer_node_work_together_while_one_is_upgraded() -> None:
    """The newer one speaks versions 1 to 3, and says what the older one may skip."""
    newer: dict[str, Any] = {"newest": 3, "features": ("quick", "new")}
    async with open_peer("alpha", features=("quick",)) as alpha, open_peer("beta", **newer) as beta:
        link = await alpha.links.dial(beta.address)
        other = await beta.link("alpha")
        assert link.status()["version"] == other.status()["version"] == 1
        assert link.features == other.features == {"quick"}
        body = msgspec.msgpack.encode([99, "of version 3"])
        beta.links.up()["alpha"].session.own((len(body) | 1 << 31).to_bytes(4, "big") + body)
        assert other.post(Lane.GOSSIP, b"after it")
        await alpha.user.until(lambda: bool(alpha.user.messages))
        assert link.status()["frames"]["skipped"] == 1
        beta.links.up()["alpha"].session.own(len(body).to_bytes(4, "big") + body)
        await alpha.user.until(lambda: bool(alpha.user.reasons))
        assert "a frame that is none" in alpha.user.reasons[0]


async def test_nobody_at_an_address_is_told() -> None:
    async with open_peer("alpha") as alpha:
        with pytest.raises(LinkFailed, match="no link to 127.0.0.1:1: cannot connect"):
            await alpha.links.dial("127.0.0.1:1")
        with pytest.raises(LinkFailed, match="is named 'alpha', as this node itself"):
            await alpha.links.dial(alpha.address)


async def test_a_stream_breaks_with_its_link() -> None:
    async with open_peer("alpha") as alpha:
        async with open_peer("beta") as beta:
            link = await alpha.links.dial(beta.address)
            stream = await link.open(Lane.REQUESTS, b"")
            assert await stream.receive() == b""
        with pytest.raises(StreamBroken, match="the link to 'beta' is down"):
            await stream.receive()
        assert stream.broken.is_set()
        assert alpha.user.events == [("up", "beta"), ("down", "beta")]
        with pytest.raises(StreamBroken, match="is down"):
            await link.open(Lane.REQUESTS, b"")
        assert not link.post(Lane.REQUESTS, b"")
