"""Hostile bytes: each gets its status and an end, and the next request on another connection works."""

from __future__ import annotations

import logging

import pytest
import trio

from flowcore.config import Address
from flowcore.http import Limits, Request, Response
from flowcore.http.connection import AHEAD
from support.http_attacks import CASES, CHUNKED, SMUGGLED
from support.http_peer import GET, Peer, open_peer, post, serving


async def _still_works(address: Address) -> None:
    async with open_peer(address) as other:
        assert (await other.ask(GET)).body == b"GET / "


async def _refused(peer: Peer, status: int, method: str = "GET") -> None:
    reply = await peer.reply(method)
    assert reply.status == status
    assert reply.headers[b"connection"] == b"close"
    assert b"Traceback" not in reply.body
    assert await peer.rest() == b""


@pytest.mark.parametrize(("status", "data"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("whole", [True, False], ids=["at once", "in pieces"])
async def test_hostile_bytes_get_their_status_and_an_end(
    status: int, data: bytes, whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as (server, address):
        async with open_peer(address) as peer, trio.open_nursery() as nursery:
            if whole:
                nursery.start_soon(peer.send, data)
            else:
                nursery.start_soon(_in_pieces, peer, data)
            await _refused(peer, status)
            nursery.cancel_scope.cancel()
        await _still_works(address)
        statistics = server.statistics()
        assert (statistics.requests, statistics.refused) == (1, {status: 1})
        assert statistics.failures == 0
    assert not caplog.records


async def _in_pieces(peer: Peer, data: bytes) -> None:
    size = 1 if len(data) < 500 else 777
    for start in range(0, len(data), size):
        await peer.send(data[start : start + size])


@pytest.mark.parametrize(
    "data",
    [
        b"GET http://x/a?b HTTP/1.1\r\nHost: X\r\n\r\n",
        b"GET http://x?b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost:x\r\n\r\n",
        b"GET /%00%2e%2e//?a=[|]{}\"'<> HTTP/1.1\r\nHost: \t x:80 \t\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
        b"!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 000\r\n\r\n",
        b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
    ],
)
async def test_odd_but_right_requests_pass(data: bytes) -> None:
    seen: list[str] = []

    async def handler(request: Request) -> Response:
        seen.append(request.target)
        return Response(200)

    async with serving(handler) as (_, address), open_peer(address) as peer:
        assert (await peer.ask(data)).status == 200
    assert seen[0].startswith(("/", "*"))


async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    async with serving() as (server, address), open_peer(address) as peer:
        await peer.send(post(b"one") + post(b"two") + b"garbage\r\n\r\n" + SMUGGLED)
        assert (await peer.reply()).body == b"POST / one"
        assert (await peer.reply()).body == b"POST / two"
        await _refused(peer, 400)
        assert server.statistics().requests == 2


async def test_garbage_after_a_request_that_is_worked_on_does_not_hide_a_client_that_goes() -> None:
    cancelled = trio.Event()

    async def handler(request: Request) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async with serving(handler) as (_, address):
        async with open_peer(address) as peer:
            await peer.send(GET + b"garbage\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked(0.01)
        await cancelled.wait()


async def test_a_long_pipeline_does_not_hide_a_client_that_goes(autojump_clock: object) -> None:
    cancelled = trio.Event()

    async def handler(request: Request) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async with serving(handler) as (server, address):
        async with open_peer(address) as peer:
            await peer.send(GET * (2 * AHEAD // len(GET) + 10))
            await trio.testing.wait_all_tasks_blocked(0.01)
        await cancelled.wait()
        assert server.statistics().disconnects == 1


async def test_endless_chunks_end_at_the_limit() -> None:
    async with serving(limits=Limits(body=1 << 20)) as (server, address):
        async with open_peer(address) as peer, trio.open_nursery() as nursery:

            async def flood() -> None:
                await peer.send(CHUNKED)
                while True:
                    await peer.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")

            nursery.start_soon(flood)
            await _refused(peer, 413)
            nursery.cancel_scope.cancel()
        await _still_works(address)
        assert server.statistics().bytes_in < 4 << 20


async def test_bodies_of_all_connections_together_are_bounded() -> None:
    limits = Limits(body=1000, bodies=1500)
    async with serving(limits=limits) as (server, address):
        async with open_peer(address) as first, open_peer(address) as second:
            await first.send(post(b"x" * 1000)[:-1])
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert server.statistics().held == 999
            await second.send(post(b"x" * 1000))
            await _refused(second, 503)
            assert (await first.ask(b"x")).status == 200
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert server.statistics().held == 0
        await _still_works(address)


async def test_what_an_unfinished_body_held_is_given_back() -> None:
    async with serving() as (server, address):
        async with open_peer(address) as peer:
            await peer.send(CHUNKED + b"5\r\nabc")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert server.statistics().held == 3
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.statistics().held == 0
        assert server.statistics().open == 0


async def test_a_client_that_resets_at_once_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import socket
    import struct

    async with serving() as (_, address):
        for _ in range(50):
            async with open_peer(address) as peer:
                assert isinstance(peer.stream, trio.SocketStream)
                no_linger = struct.pack("ii", 1, 0)
                peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
                await peer.send(GET)
        await _still_works(address)
    with caplog.at_level(logging.WARNING):
        assert not caplog.records
