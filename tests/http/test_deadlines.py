"""Slow peers: each wait has its end. The clock is trio's mock clock, the sockets are real."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from flowcore.http import Limits, Request, Response, Send, Server, Stream, open_client
from support.http_peer import GET, open_peer, post, serving

SLACK = 1.1
"""Two sweeps and a little: by how much a deadline may be late."""

DAYS = 1e6


def between(began: float, seconds: float) -> bool:
    return seconds <= trio.current_time() - began <= seconds + SLACK


async def test_a_connection_that_says_nothing_ends(autojump_clock: MockClock) -> None:
    async with serving(limits=Limits(head_timeout=10), within=DAYS) as (server, address):
        async with open_peer(address) as peer:
            began = trio.current_time()
            assert await peer.rest() == b""
            assert between(began, 10)
        assert server.statistics().timeouts == 0  # nothing was asked


async def test_an_idle_connection_ends(autojump_clock: MockClock) -> None:
    async with serving(limits=Limits(idle_timeout=40), within=DAYS) as (server, address):
        async with open_peer(address) as peer:
            for _ in range(3):
                assert (await peer.ask(GET)).status == 200
                await trio.sleep(39)
            assert (await peer.ask(GET)).status == 200
            began = trio.current_time()
            assert await peer.rest() == b""
            assert between(began, 40)
        assert server.statistics().timeouts == 0


async def until_left(server: Server) -> None:
    while server.statistics().open:  # noqa: ASYNC110 (of the mock clock)
        await trio.sleep(0.1)


async def drip(send: trio.abc.SendStream, data: bytes, every: float) -> None:
    try:
        for byte in data:
            await send.send_all(bytes((byte,)))
            await trio.sleep(every)
    except trio.BrokenResourceError:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize(
    ("at_once", "slowly", "seconds"),
    [
        (b"", b"GET / HTTP/1.1\r\nHost: " + b"x" * 1000, 10),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 100, 10),
        (post(b"x" * 1000)[:-999], b"x" * 999, 30),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n" * 99,
            30,
        ),
    ],
    ids=["line", "head", "body", "chunks"],
)
async def test_a_slow_request_ends(
    autojump_clock: MockClock, at_once: bytes, slowly: bytes, seconds: float, first: bool
) -> None:
    async with serving(within=DAYS) as (server, address):
        async with open_peer(address) as peer, trio.open_nursery() as nursery:
            if not first:
                await peer.ask(GET)
                await trio.sleep(20)
            began = trio.current_time()
            await peer.send(at_once)
            nursery.start_soon(drip, peer.stream, slowly, 0.7)
            assert (await peer.reply()).status == 408
            assert between(began, seconds)
            assert server.statistics().timeouts == 1
            assert await peer.rest() == b""
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
async def test_the_time_a_server_was_stopped_is_not_its_clients(
    autojump_clock: MockClock, first: bool
) -> None:
    async with serving(within=DAYS) as (server, address), open_peer(address) as peer:
        if not first:
            await peer.ask(GET)
        for part in (GET[:9], GET[9:]):
            await trio.sleep(5)
            await peer.send(part)
            autojump_clock.jump(100)
        assert (await peer.reply()).status == 200
        assert server.statistics().timeouts == 0


async def test_a_request_that_is_cut_within_its_body_ends(autojump_clock: MockClock) -> None:
    async with serving(within=DAYS) as (server, address), open_peer(address) as peer:
        began = trio.current_time()
        await peer.send(post(b"body")[:-1])
        assert (await peer.reply()).status == 408
        assert between(began, 30)
        assert server.statistics().refused == {408: 1}


async def test_the_time_of_a_next_request_begins_with_the_answer_before(
    autojump_clock: MockClock,
) -> None:
    async def handler(request: Request) -> Response:
        await trio.sleep(100)
        return Response(200)

    async with serving(handler, within=DAYS) as (_, address), open_peer(address) as peer:
        await peer.send(GET + GET[:-1])
        assert (await peer.reply()).status == 200
        began = trio.current_time()
        assert (await peer.reply()).status == 408
        assert between(began, 10)


async def test_a_long_answer_may_take_its_time(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Response | Stream:
        if request.method == "POST":
            await trio.sleep(3600)
            return Response(200, (), b"done")

        async def run(send: Send) -> None:
            for _ in range(3):
                await trio.sleep(3600)
                await send(b"on ")

        return Stream(200, (), run)

    async with serving(handler, within=DAYS) as (_, address), open_peer(address) as peer:
        assert (await peer.ask(post(b""))).body == b"done"
        assert (await peer.ask(GET)).body == b"on on on "


@pytest.mark.parametrize("streamed", [True, False])
async def test_who_does_not_read_is_left(autojump_clock: MockClock, streamed: bool) -> None:
    cancelled = trio.Event()

    async def handler(request: Request) -> Response | Stream:
        async def run(send: Send) -> None:
            while True:
                await send(b"x" * 65536)

        if streamed:
            return Stream(200, (), run, close=cancelled.set)
        cancelled.set()
        return Response(200, (), b"x" * (32 << 20))

    async with serving(handler, within=DAYS) as (server, address), open_peer(address) as peer:
        began = trio.current_time()
        await peer.send(GET)
        await until_left(server)
        assert between(began, 30)
        assert cancelled.is_set()
        assert server.statistics().timeouts == 1


async def test_who_reads_slowly_but_reads_gets_it_all(autojump_clock: MockClock) -> None:
    async with serving(within=DAYS) as (_, address), open_peer(address) as peer:
        body = b"x" * (16 << 20)
        await peer.send(post(body))
        got = 0
        began = trio.current_time()
        while got < len(body):
            got += len(await peer.stream.receive_some(300_000))
            await trio.sleep(1)
        assert trio.current_time() - began > 30


async def test_who_does_not_close_after_the_last_answer_is_left(autojump_clock: MockClock) -> None:
    async with serving(within=DAYS) as (server, address), open_peer(address) as peer:
        began = trio.current_time()
        assert (await peer.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 200
        await until_left(server)
        assert between(began, 1)
        assert server.statistics().disconnects == 0


async def test_who_sends_on_after_a_refusal_is_left(autojump_clock: MockClock) -> None:
    async with serving(within=DAYS) as (server, address), open_peer(address) as peer:
        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            await peer.send(b"garbage\r\n\r\n")
            nursery.start_soon(drip, peer.stream, b"x" * 100, 0.3)
            assert (await peer.reply()).status == 400
            await until_left(server)
            assert between(began, 1)
            nursery.cancel_scope.cancel()


async def test_a_server_that_never_shakes_hands_ends_the_connecting(
    autojump_clock: MockClock,
) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        url = f"https://127.0.0.1:{listener.socket.getsockname()[1]}/"
        async with open_client(connect_timeout=5) as client:
            began = trio.current_time()
            with pytest.raises(Exception, match="no connection to .* within 5 s"):
                await client.request("GET", url)
            assert between(began, 5)
