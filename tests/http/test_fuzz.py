"""Made-up bytes against the real server over real sockets: an answer or an end, and nobody else notices."""

from __future__ import annotations

import h11
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from flowcore.http import Limits, Request, Response, Send, Stream
from support.http_bytes import cuts, pieces, streams
from support.http_peer import GET, open_peer, serving

LIMITS = Limits(head=1000, target=100, headers=10, body=300)
STATUSES = frozenset((200, 400, 408, 413, 414, 417, 431, 501, 505))


async def handler(request: Request) -> Response | Stream:
    if len(request.body) % 2:
        await trio.lowlevel.checkpoint()
        return Stream(200, (), lambda send: _send_twice(send, request.body))
    return Response(200, (), request.body)


async def _send_twice(send: Send, data: bytes) -> None:
    await send(data)
    await send(data)


async def attack(data: bytes, at: list[int]) -> None:
    """Send, end, read all answers, and see that the server is as it was."""
    async with serving(handler, LIMITS) as (server, address):
        async with open_peer(address) as peer:
            for piece in pieces(data, at):
                await peer.send(piece)
            assert isinstance(peer.stream, trio.SocketStream)
            try:
                await peer.stream.send_eof()
            except trio.BrokenResourceError:
                await trio.lowlevel.checkpoint()
            for status in statuses(await peer.rest()):
                assert status in STATUSES
        async with open_peer(address) as other:
            assert (await other.ask(GET)).status == 200
        await trio.testing.wait_all_tasks_blocked()
        statistics = server.statistics()
        assert (statistics.failures, statistics.held, statistics.streams) == (0, 0, 0)


def statuses(data: bytes) -> list[int]:
    """The statuses of these answers; the last may be cut, since its client had hung up."""
    found: list[int] = []
    while data:
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        event = connection.next_event()
        while isinstance(event, h11.InformationalResponse):
            event = connection.next_event()
        if event is h11.NEED_DATA:
            break
        assert isinstance(event, h11.Response), event
        found.append(event.status_code)
        while isinstance(event, (h11.Response, h11.Data)):
            event = connection.next_event()
        if event is h11.NEED_DATA:
            break
        assert isinstance(event, h11.EndOfMessage)
        data = bytes(connection.trailing_data[0])
    return found


@given(streams, cuts)
@settings(max_examples=150)
async def test_made_up_requests(data: bytes, at: list[int]) -> None:
    await attack(data, at)


@given(st.binary(max_size=300), cuts)
@settings(max_examples=50)
async def test_made_up_bytes(data: bytes, at: list[int]) -> None:
    await attack(data, at)


@pytest.mark.long
@given(streams, cuts)
@settings(max_examples=10_000)
async def test_ten_thousand_made_up_requests(data: bytes, at: list[int]) -> None:
    await attack(data, at)
