"""More connections than there is room for: whoever is answered stays, and so does the service."""

from __future__ import annotations

import gc
import logging
import os
import resource
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flowcore.http import Limits, Request, Response, Send, Server, Stream
from flowcore.http.connection import SLOW_BODY, SLOW_HEAD
from flowcore.http.wire import SocketWire
from support.http_peer import GET, Peer, open_peer, post, serving


async def wait_for_ever(request: Request) -> Response:
    await trio.sleep_forever()
    raise AssertionError


async def test_when_all_are_answered_the_next_is_turned_away() -> None:
    answer = trio.Event()

    async def handler(request: Request) -> Response:
        await answer.wait()
        return Response(200)

    async with serving(handler, Limits(connections=2)) as (server, address):
        async with open_peer(address) as first, open_peer(address) as second:
            await first.send(GET)
            await second.send(GET)
            await wait_all_tasks_blocked(0.01)
            async with open_peer(address) as third:
                reply = await third.ask(GET)
                assert (reply.status, reply.headers[b"connection"]) == (503, b"close")
                assert await third.rest() == b""
            answer.set()
            assert (await first.reply()).status == (await second.reply()).status == 200
        await wait_all_tasks_blocked(0.05)
        async with open_peer(address) as fourth:
            assert (await fourth.ask(GET)).status == 200
        assert server.statistics().refused == {503: 1}
        assert server.statistics().evicted == 0


async def test_the_one_idle_for_longest_makes_room_politely(autojump_clock: MockClock) -> None:
    async with serving(limits=Limits(connections=2)) as (server, address):
        async with open_peer(address) as first, open_peer(address) as second:
            assert (await second.ask(GET)).status == 200
            await trio.sleep(2)
            assert (await first.ask(GET)).status == 200
            async with open_peer(address) as third:
                assert (await third.ask(GET)).status == 200
                assert await second.stream.receive_some() == b""  # an end, no reset
                assert (await first.ask(GET)).status == 200
        assert (server.statistics().evicted, server.statistics().refused) == (1, {})


SLOW = {
    "silent": (b"", SLOW_HEAD),
    "head": (GET[:-2], SLOW_HEAD),
    "body": (post(b"body")[:-1], SLOW_BODY),
}


async def test_another_drop_does_not_keep_who_drips(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a busy server, to which something of everybody has come that it has not read yet
    monkeypatch.setattr(SocketWire, "stale", lambda wire: True)
    async with serving(limits=Limits(connections=2)) as (server, address):
        async with open_peer(address) as first, open_peer(address) as dripping:
            assert (await first.ask(GET)).status == 200
            await dripping.send(GET[:4])
            await trio.sleep(SLOW_HEAD + 0.1)
            async with open_peer(address) as third:
                assert (await third.ask(GET)).status == 200
                assert (await first.ask(GET)).status == 200
                async with open_peer(address) as fourth:
                    assert (await fourth.ask(GET)).status == 503
        assert (server.statistics().evicted, server.statistics().refused) == (1, {503: 1})


@pytest.mark.parametrize(("said", "after"), SLOW.values(), ids=SLOW)
async def test_who_is_slow_goes_before_who_is_idle(
    autojump_clock: MockClock, said: bytes, after: float
) -> None:
    async with serving(limits=Limits(connections=2)) as (_, address):
        async with open_peer(address) as idle, open_peer(address) as slow:
            await idle.ask(GET)
            await slow.send(said)
            await trio.sleep(after + 0.1)
            async with open_peer(address) as third:
                assert (await third.ask(GET)).status == 200
                assert await slow.rest() == b""
                assert (await idle.ask(GET)).status == 200


async def test_who_does_not_read_makes_room(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            await send(b"x" * (1 if request.body else 64 << 20))

        return Stream(200, (), run)

    async with serving(handler, Limits(connections=1)) as (server, address):
        async with open_peer(address) as greedy:
            await greedy.send(GET)
            await wait_all_tasks_blocked(0.01)
            await trio.sleep(SLOW_BODY + 0.1)
            async with open_peer(address) as other:
                assert (await other.ask(post(b"1"), "POST")).body == b"x"
        assert server.statistics().evicted == 1


async def test_one_address_cannot_take_the_room_of_others(autojump_clock: MockClock) -> None:
    limits = Limits(connections=10, connections_per_address=3)
    async with serving(wait_for_ever, limits) as (server, address), trio.open_nursery() as nursery:
        peers = []
        for _ in range(3):
            stream = await trio.open_tcp_stream(address.host, address.port)
            peers.append(Peer(stream))
            await peers[-1].send(GET)
        await wait_all_tasks_blocked(0.01)
        async with open_peer(address) as fourth:
            assert (await fourth.ask(GET)).status == 503
        other = trio.socket.socket()
        await other.bind(("127.0.0.2", 0))
        await other.connect((address.host, address.port))
        await Peer(trio.SocketStream(other)).send(GET)
        await wait_all_tasks_blocked(0.01)
        assert (server.statistics().open, server.statistics().requests) == (4, 4)
        for peer in peers:
            await peer.stream.aclose()
        other.close()
        nursery.cancel_scope.cancel()


async def test_a_thousand_that_stall_shut_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    kinds = (b"", GET[:-2], post(b"x" * 1000)[:-1], b"POST / HTTP/1.1\r\nHost: x\r\n")
    limits = Limits(connections=100, head_timeout=600, body_timeout=600)
    async with serving(limits=limits) as (server, address):
        stalled = []
        try:
            for number in range(1000):
                one = socket.create_connection((address.host, address.port))
                one.sendall(kinds[number % len(kinds)])
                stalled.append(one)
                if number % 50 == 0:
                    async with open_peer(address) as other:
                        assert (await other.ask(GET)).status == 200
            await wait_all_tasks_blocked(0.05)
            statistics = server.statistics()
            assert statistics.open == 100
            assert statistics.evicted >= 900
            assert statistics.refused == {}
        finally:
            for one in stalled:
                one.close()
    assert not caplog.records


@contextmanager
def no_more_files(spare: int) -> Generator[None]:
    """This process can open no more than so many further files."""
    gc.collect()  # what an earlier test left must not make room meanwhile
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(spare):
            os.close(taken.pop())
        yield
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_want_of_files_is_said_once_and_passes(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    release = trio.Event()

    async def handler(request: Request) -> Response:
        await release.wait()
        return Response(200)

    async with serving(handler) as (server, address):
        waiting = [socket.socket() for _ in range(8)]
        with no_more_files(spare=3):
            for one in waiting:
                one.connect((address.host, address.port))
                one.sendall(GET)
            await trio.sleep(10)  # many tries
            assert server.statistics().open < 8
        release.set()
        for one in waiting:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(one))
            async with stream:
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert server.statistics().requests == 8
    complaints = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert len(complaints) == 1


async def test_for_want_of_files_the_idle_make_room() -> None:
    async with serving() as (server, address):
        async with open_peer(address) as idle:
            assert (await idle.ask(GET)).status == 200
            newcomer = socket.socket()
            with no_more_files(spare=0):
                newcomer.connect((address.host, address.port))
                newcomer.sendall(GET)
                assert await idle.rest() == b""
                async with trio.SocketStream(trio.socket.from_stdlib_socket(newcomer)) as stream:
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert server.statistics().evicted == 1


@pytest.mark.parametrize("turns", range(6))
async def test_the_sweep_may_look_at_any_step_of_a_connections_end(turns: int) -> None:
    reset = trio.Event()

    async def handler(request: Request) -> Response:
        await reset.wait()
        return Response(200, (), b"nobody reads this")

    async def look(server: Server) -> None:
        [connection] = server._connections
        while not connection._scope.cancel_called:
            await trio.lowlevel.checkpoint()
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        connection.look(trio.current_time())

    for _ in range(10):  # trio shuffles who is first in a turn
        reset = trio.Event()
        async with serving(handler) as (server, address), trio.open_nursery() as nursery:
            with socket.create_connection((address.host, address.port)) as one:
                one.sendall(GET)
                while not server.statistics().requests:
                    await trio.lowlevel.checkpoint()
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            nursery.start_soon(look, server)
            await trio.lowlevel.checkpoint()
            reset.set()
            while server.statistics().open:
                await trio.lowlevel.checkpoint()
            assert server.statistics().disconnects == 1
