"""Requests that come drop by drop are read now and then. The clock is mocked, the sockets are real."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
import trio
import trustme
from trio.testing import MockClock

from flowcore.http import Limits, Request, Response
from flowcore.http.pace import FREE, LEAST, PLENTY, SHARE, Pace
from support.http_peer import GET, open_peer, post, serving

DAYS = 1e6
EVERY = 0.005
"""Seconds between two drops."""
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\na: "


async def drip(send: trio.abc.SendStream, data: bytes) -> None:
    try:
        for byte in data:
            await send.send_all(bytes((byte,)))
            await trio.sleep(EVERY)
    except trio.BrokenResourceError:
        await trio.lowlevel.checkpoint()


def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many reads there were since."""
    sizes: list[int] = []
    took = Pace.took

    def taken(pace: Pace, size: int) -> None:
        sizes.append(size)
        took(pace, size)

    monkeypatch.setattr(Pace, "took", taken)
    return lambda: len(sizes)


@pytest.mark.parametrize(
    ("at_once", "slowly"),
    [
        (b"", HEAD + b"b" * 1500 + b"\r\n\r\n"),
        (post(b"x" * 1500)[:-1500], b"x" * 1500),
        (CHUNKED, b"1\r\nx\r\n" * 250 + b"0\r\n\r\n"),
    ],
    ids=["head", "body", "chunks"],
)
async def test_drops_are_gathered(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, at_once: bytes, slowly: bytes
) -> None:
    reads = counting(monkeypatch)
    async with serving(within=DAYS) as (_, address):
        async with open_peer(address) as peer, trio.open_nursery() as nursery:
            await peer.send(at_once)
            began = trio.current_time()
            nursery.start_soon(drip, peer.stream, slowly)
            assert (await peer.reply()).status == 200
            took = trio.current_time() - began
    assert FREE < reads() < 0.3 * len(slowly)
    assert took <= (len(slowly) * EVERY + LEAST) * (1 + SHARE) + EVERY


async def test_what_is_sent_behind_a_long_request_is_gathered(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(request: Request) -> Response:
        await trio.sleep(len(HEAD * 100) * EVERY * 2)
        return Response(204)

    reads = counting(monkeypatch)
    async with serving(handler, within=DAYS) as (_, address):
        async with open_peer(address) as peer, trio.open_nursery() as nursery:
            await peer.send(GET)
            nursery.start_soon(drip, peer.stream, HEAD + b"b" * 1500)
            assert (await peer.reply()).status == 204
            nursery.cancel_scope.cancel()
    assert FREE < reads() < 500


async def test_a_handshake_that_comes_in_drops_is_gathered(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("flow.test").configure_cert(context)
    reads = counting(monkeypatch)
    # the head of a record, and of a message within it, that is announced to be long (RFC 8446 section 4)
    hello = b"\x16\x03\x01\x40\x00" + b"\x01\x00\x3f\xfc\x03\x03" + b"r" * 1500
    limits = Limits(handshake_timeout=20)
    async with serving(context=lambda: context, limits=limits, within=DAYS) as (server, address):
        async with open_peer(address) as peer, trio.open_nursery() as nursery:
            nursery.start_soon(drip, peer.stream, hello)
            assert await peer.rest() == b""
            nursery.cancel_scope.cancel()
        assert server.statistics().timeouts == 1
    assert FREE < reads() < 0.3 * len(hello)


async def test_requests_that_are_whole_are_not_slowed(autojump_clock: MockClock) -> None:
    async with serving(within=DAYS) as (_, address), open_peer(address) as peer:
        began = trio.current_time()
        for _ in range(10 * FREE):
            assert (await peer.ask(GET)).status == 200
        assert trio.current_time() == began


async def test_large_pieces_are_not_slowed(autojump_clock: MockClock) -> None:
    pace = Pace()
    pace.begin()
    for _ in range(10 * FREE):
        pace.took(PLENTY)
    assert not pace.due


async def test_the_longer_it_takes_the_longer_are_the_pauses(autojump_clock: MockClock) -> None:
    pace = Pace()
    pace.begin()
    for _ in range(FREE):
        pace.took(1)
    assert not pace.due
    for after in (0.0, 10.0, 100.0):
        pace.took(1)
        assert pace.due
        await trio.sleep(after)
        began = trio.current_time()
        await pace.pause()
        assert trio.current_time() - began == pytest.approx(max(LEAST, began * SHARE), abs=0.1)
    pace.took(1)
    pace.end()
    assert not pace.due
