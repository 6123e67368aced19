"""Hostile bytes: each gets its status and an end, and the next request on another connection works."""

from __future__ import annotations

import logging

import pytest
import trio

from flowcore.config import Address
from flowcore.http import Limits, Request, Response
from flowcore.http.connection import AHEAD
from support.http_peer import GET, Peer, open_peer, post, serving

H = b"GET / HTTP/1.1\r\nHost: x\r\n"
P = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = P + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

CASES: dict[str, tuple[int, bytes]] = {
    # ---- framing: a proxy in front may read these differently (RFC 9112 section 11.2)
    "length and coding": (
        400,
        P + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    ),
    "coding and length": (
        400,
        P + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
    ),
    "two lengths": (400, P + b"Content-Length: 0\r\nContent-Length: 35\r\n\r\n" + SMUGGLED),
    "the same length twice": (400, P + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
    "a list of lengths": (400, P + b"Content-Length: 2, 2\r\n\r\nab"),
    "a plus": (400, P + b"Content-Length: +2\r\n\r\nab"),
    "a minus": (400, P + b"Content-Length: -2\r\n\r\nab"),
    "a length in hex": (400, P + b"Content-Length: 0x2\r\n\r\nab"),
    "a length with an underscore": (400, P + b"Content-Length: 1_0\r\n\r\nab"),
    "a length of other digits": (400, P + "Content-Length: ²\r\n\r\nab".encode()),
    "an empty length": (400, P + b"Content-Length:\r\n\r\nab"),
    "a length with a space": (400, P + b"Content-Length: 1 2\r\n\r\nab"),
    "a length beyond the limit": (413, P + b"Content-Length: 16777217\r\n\r\n"),
    "a length of 2^64 + 2": (413, P + b"Content-Length: 18446744073709551618\r\n\r\nab"),
    "a length of 10,000 digits": (413, P + b"Content-Length: " + b"9" * 10_000 + b"\r\n\r\nab"),
    "a length that is expected to be refused": (
        413,
        P + b"Content-Length: 16777217\r\nExpect: 100-continue\r\n\r\n",
    ),
    "an unknown coding": (501, P + b"Transfer-Encoding: gzip\r\n\r\n"),
    "gzip, chunked": (501, P + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (501, P + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "two codings": (
        501,
        P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    "an almost chunked coding": (501, P + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "a coding in quotes": (501, P + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "a coding with a vertical tab": (400, P + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    "an empty coding": (501, P + b"Transfer-Encoding:\r\n\r\n"),
    "chunks in HTTP/1.0": (
        400,
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    # ---- chunks
    "a chunk of 2^72": (413, CHUNKED + b"1000000000000000000\r\n"),
    "a chunk beyond the limit": (413, CHUNKED + b"1000001\r\n"),
    "a chunk without a size": (400, CHUNKED + b"\r\nab"),
    "a chunk of minus one": (400, CHUNKED + b"-1\r\nab"),
    "a chunk of 0x2": (400, CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n"),
    "a chunk with a space before its size": (400, CHUNKED + b" 2\r\nab\r\n0\r\n\r\n"),
    "a chunk with words after its size": (400, CHUNKED + b"2 x\r\nab\r\n0\r\n\r\n"),
    "a chunk longer than its size": (400, CHUNKED + b"2\r\nabc\r\n0\r\n\r\n"),
    "a chunk's size with a bare LF": (400, CHUNKED + b"2\nab\r\n0\r\n\r\n"),
    "a chunk with a bare LF at its end": (400, CHUNKED + b"2\r\nab\n0\r\n\r\n"),
    "an extension with a bare CR": (400, CHUNKED + b"2;a\rb\r\nab\r\n0\r\n\r\n"),
    "an extension with a NUL": (400, CHUNKED + b"2;a\0b\r\nab\r\n0\r\n\r\n"),
    "a long extension": (400, CHUNKED + b"2;" + b"a" * 5000),
    "a flood of extensions": (400, CHUNKED + (b"1;" + b"a" * 500 + b"\r\nx\r\n") * 10),
    "a flood of zeros": (400, CHUNKED + (b"0" * 500 + b"1\r\nx\r\n") * 10),
    "a flood of tiny chunks": (400, CHUNKED + b"1\r\nx\r\n" * 20_000),
    "a trailer that is none": (400, CHUNKED + b"0\r\nabc\r\n\r\n"),
    "a trailer with a bare LF": (400, CHUNKED + b"0\r\na: b\n\r\n"),
    "a trailer with a NUL": (400, CHUNKED + b"0\r\na: \0\r\n\r\n"),
    "a folded trailer": (400, CHUNKED + b"0\r\na: b\r\n c\r\n\r\n"),
    "a flood of trailers": (400, CHUNKED + b"0\r\n" + b"a: b\r\n" * 2000),
    # ---- lines
    "bare LF": (400, b"GET / HTTP/1.1\nHost: x\n\n"),
    "bare LF before the end": (400, H + b"a: b\n\r\n"),
    "bare LF between headers": (400, H + b"a: b\nc: d\r\n\r\n"),
    "bare CR": (400, H + b"a: b\rc: d\r\n\r\n"),
    "CR CR LF": (400, H + b"a: b\r\r\n\r\n"),
    "LF CR": (400, b"GET / HTTP/1.1\n\rHost: x\n\r\n\r"),
    "a folded header": (400, H + b"a: b\r\n c\r\n\r\n"),
    "a header folded by a tab": (400, H + b"a: b\r\n\tc\r\n\r\n"),
    "a space before the first header": (400, b"GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
    "a NUL in a value": (400, H + b"a: \0\r\n\r\n"),
    "an escape in a value": (400, H + b"a: \x1b[2J\r\n\r\n"),
    "a DEL in a value": (400, H + b"a: \x7f\r\n\r\n"),
    "a NUL in a name": (400, H + b"a\0: b\r\n\r\n"),
    "a space before the colon": (400, H + b"a : b\r\n\r\n"),
    "a tab before the colon": (400, H + b"a\t: b\r\n\r\n"),
    "an empty name": (400, H + b": b\r\n\r\n"),
    "a name that is no token": (400, H + b"a(b): c\r\n\r\n"),
    "a name beyond ASCII": (400, H + b"\xe9: c\r\n\r\n"),
    "a line without a colon": (400, H + b"abc\r\n\r\n"),
    "two empty lines first": (400, b"\r\n\r\n" + GET),
    # ---- the request line
    "no version": (400, b"GET /\r\nHost: x\r\n\r\n"),
    "two spaces": (400, b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a tab for a space": (400, b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a space at the end": (400, b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n"),
    "a space in front": (400, b" GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "no method": (400, b" / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a method that is no token": (400, b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\nHost: x\r\n\r\n"),
    "HTTP/11": (400, b"GET / HTTP/11\r\nHost: x\r\n\r\n"),
    "HTTP/1.10": (400, b"GET / HTTP/1.10\r\nHost: x\r\n\r\n"),
    "http/1.1": (400, b"GET / http/1.1\r\nHost: x\r\n\r\n"),
    "the preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"),
    "half of the preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n"),
    "a TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "a target beyond ASCII": (400, b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with a NUL": (400, b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with a fragment": (400, b"GET /#a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target without a slash": (400, b"GET a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "an asterisk for GET": (400, b"GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
    "CONNECT": (501, b"CONNECT y:443 HTTP/1.1\r\nHost: y:443\r\n\r\n"),
    "a URL of another host": (400, b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a URL with a user": (400, b"GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a URL of another scheme": (400, b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a long target": (414, b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a longer target": (414, b"GET /" + b"a" * 100_000),
    # ---- headers
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, H + b"Host: x\r\n\r\n"),
    "two Hosts in HTTP/1.0": (400, b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n"),
    "a Host with a space": (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "a Host with a user": (400, b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "a Host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "a Host beyond ASCII": (400, b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n"),
    "a Host with a port of letters": (400, b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    "another expectation": (417, P + b"Expect: the-best\r\nContent-Length: 0\r\n\r\n"),
    "101 headers": (431, H + b"a: b\r\n" * 100 + b"\r\n"),
    "10,000 headers": (431, H + b"a: b\r\n" * 10_000 + b"\r\n"),
    "a header of 100 kB": (431, H + b"a: " + b"b" * 100_000 + b"\r\n\r\n"),
    "a name of 100 kB": (431, H + b"a" * 100_000),
    "garbage": (400, bytes(range(128, 256)) * 4 + b"\r\n\r\n"),
}


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
