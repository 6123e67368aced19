"""The server as a well-behaved client sees it."""

from __future__ import annotations

import logging

import pytest
import trio

from flowcore.config import Address
from flowcore.http import (
    CannotListen,
    Limits,
    Request,
    Response,
    Send,
    Stream,
    open_http_server,
)
from support.http_peer import GET, LOCAL, open_peer, post, serving


async def test_an_answer_has_length_date_and_reason() -> None:
    async with serving() as (_, address), open_peer(address) as peer:
        await peer.send(GET)
        raw = b""
        while b"GET /" not in raw.partition(b"\r\n\r\n")[2]:
            raw += await peer.stream.receive_some()
    head = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"HTTP/1.1 200 OK"
    assert b"content-length: 6" in head
    assert any(line.startswith(b"date: ") and line.endswith(b" GMT") for line in head)


async def test_a_connection_serves_request_after_request() -> None:
    async with serving() as (server, address), open_peer(address) as peer:
        for number in range(20):
            reply = await peer.ask(post(b"%d" % number, b"/a?b=c"))
            assert reply.body == b"POST /a?b=c %d" % number
        statistics = server.statistics()
    assert (statistics.requests, statistics.connections, statistics.open) == (20, 1, 1)
    assert (statistics.failures, statistics.disconnects, statistics.refused) == (0, 0, {})


async def test_a_handler_sees_the_request_as_it_came() -> None:
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(204)

    async with serving(handler) as (_, address), open_peer(address) as peer:
        more = b"X-A: \t one \t\r\nx-b:\r\nX-A: two\r\nMcp-Name: \xc3\xa9\r\n"
        reply = await peer.ask(post(b"body", b"/p/a%20th?q=1&r=2", more), "POST")
    request = seen[0]
    assert (reply.status, reply.body) == (204, b"")
    assert b"content-length" not in reply.headers
    assert (request.method, request.path, request.query) == ("POST", "/p/a%20th", "q=1&r=2")
    assert request.headers[b"x-a"] == b"one"
    assert request.headers.getall(b"x-a") == [b"one", b"two"]
    assert request.headers.getall(b"x-b") == [b""]
    assert request.headers.getall(b"x-c") == []
    assert request.headers[b"mcp-name"] == b"\xc3\xa9"
    assert request.client == "127.0.0.1"
    assert request.http_version == "1.1"
    assert not request.secure


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def handler(request: Request) -> Response:
        for _ in range(9 - int(request.body)):  # the first takes longest
            await trio.lowlevel.checkpoint()
        return Response(200, (), request.body)

    async with serving(handler) as (_, address), open_peer(address) as peer:
        await peer.send(b"".join(post(b"%d" % number) for number in range(9)))
        assert [(await peer.reply()).body for _ in range(9)] == [b"%d" % n for n in range(9)]


async def test_a_long_pipeline_waits_and_is_answered() -> None:
    async with serving() as (server, address), open_peer(address) as peer:
        await peer.send(b"".join(post(b"%d" % number) for number in range(500)))
        for number in range(500):
            assert (await peer.reply()).body == b"POST / %d" % number
        assert server.statistics().held == 0


async def test_a_body_in_chunks_is_put_together() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3\r\nabc\r\n0A ; name=value\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n"
    async with serving() as (_, address), open_peer(address) as peer:
        assert (await peer.ask(head + body)).body == b"POST / abc0123456789"
        for byte in head + body:
            await peer.send(bytes((byte,)))
        assert (await peer.reply()).body == b"POST / abc0123456789"
        assert (await peer.ask(GET)).body == b"GET / "


async def test_a_head_request_gets_the_length_and_no_body() -> None:
    async with serving() as (_, address), open_peer(address) as peer:
        reply = await peer.ask(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD")
        assert (reply.headers[b"content-length"], reply.body) == (b"7", b"")
        assert (await peer.ask(GET)).body == b"GET / "


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_body_has_none_whatever_the_handler_gave(status: int) -> None:
    async def handler(request: Request) -> Response:
        return Response(status if request.method == "GET" else 200, (), b"smuggled")

    async with serving(handler) as (_, address), open_peer(address) as peer:
        assert (await peer.ask(GET)).status == status
        assert (await peer.ask(post(b""), "POST")).body == b"smuggled"


async def test_http_1_0_closes_unless_asked_to_keep() -> None:
    async with serving() as (_, address):
        async with open_peer(address) as peer:
            reply = await peer.ask(b"GET / HTTP/1.0\r\n\r\n")
            assert (reply.body, reply.headers[b"connection"]) == (b"GET / ", b"close")
            assert await peer.rest() == b""
        async with open_peer(address) as peer:
            keep = b"GET / HTTP/1.0\r\nConnection: Foo, Keep-Alive\r\n\r\n"
            await peer.send(keep)
            raw = b""
            while not raw.endswith(b"GET / "):
                raw += await peer.stream.receive_some()
            assert b"connection: keep-alive\r\n" in raw
            assert (await peer.ask(GET)).body == b"GET / "


async def test_a_client_may_ask_to_close() -> None:
    async with serving() as (_, address), open_peer(address) as peer:
        more = b"Connection: keep-alive\r\nConnection: x, CLOSE\r\n"
        reply = await peer.ask(post(b"", more=more), "POST")
        assert reply.headers[b"connection"] == b"close"
        assert await peer.rest() == b""


async def test_a_handler_may_close() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, (), b"bye", close=True)

    async with serving(handler) as (_, address), open_peer(address) as peer:
        reply = await peer.ask(GET + GET)
        assert (reply.body, reply.headers[b"connection"]) == (b"bye", b"close")
        assert await peer.rest() == b""


async def test_a_client_that_expects_100_is_told_to_go_on() -> None:
    async with serving() as (_, address), open_peer(address) as peer:
        head, _, body = post(b"body", more=b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        await peer.send(head + b"\r\n\r\n")
        assert await peer.stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await peer.ask(body)).body == b"POST / body"
        # whoever does not wait is not told
        reply = await peer.ask(post(b"body", more=b"Expect: 100-Continue\r\n"))
        assert reply.body == b"POST / body"


async def test_100_waits_for_the_answers_before_it() -> None:
    go_on = trio.Event()

    async def handler(request: Request) -> Response:
        if request.method == "GET":
            await go_on.wait()
        return Response(200, (), request.body)

    async with serving(handler) as (_, address), open_peer(address) as peer:
        head, _, body = post(b"body", more=b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        await peer.send(GET + head + b"\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked(0.01)
        go_on.set()
        raw = b""
        while not raw.endswith(b"\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"):
            raw += await peer.stream.receive_some()
        assert raw.startswith(b"HTTP/1.1 200 ")
        assert (await peer.ask(body)).body == b"body"


async def test_a_large_body_and_a_large_answer_pass() -> None:
    body = bytes(range(256)) * 40_000
    async with serving() as (server, address), open_peer(address) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, post(body))
            assert (await peer.reply()).body == b"POST / " + body
        assert server.statistics().held == 0


async def test_a_failing_handler_tells_nothing_and_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: Request) -> Response:
        if request.body == b"fail":
            raise RuntimeError("a secret")
        return Response(200, (), request.body)

    async with serving(handler) as (server, address), open_peer(address) as peer:
        with caplog.at_level(logging.ERROR):
            reply = await peer.ask(post(b"fail"))
        assert (reply.status, reply.body) == (500, b"internal error\n")
        assert (await peer.ask(post(b"fine"))).body == b"fine"
        assert server.statistics().failures == 1
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Response(99),
        Response(1000),
        Response(200, [(b"a", b"b\r\nset-cookie: c")]),
        Response(200, ((b"a", b"b\nc"),)),
        Response(200, [(b"a b", b"c")]),
        Response(200, [(b"", b"c")]),
        Response(200, [(b"Content-Length", b"0")]),
        Response(200, [(b"transfer-encoding", b"chunked")]),
        Response(200, (), "text"),  # type: ignore[arg-type]
        Stream(204, (), lambda send: send(b"x")),
        Stream(200, [(b"a", b"\0")], lambda send: send(b"x")),
    ],
)
async def test_an_answer_that_cannot_be_sent_is_a_failure_of_the_handler(
    answer: Response | Stream | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> Response | Stream:
        return answer  # type: ignore[return-value]

    async with serving(handler) as (server, address), open_peer(address) as peer:
        for _ in range(2):
            assert (await peer.ask(GET)).status == 500
        assert server.statistics().failures == 2
    assert caplog.records


async def test_a_client_that_goes_away_cancels_its_handler() -> None:
    cancelled = trio.Event()

    async def handler(request: Request) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async with serving(handler) as (server, address):
        async with open_peer(address) as peer:
            await peer.send(GET)
            await trio.testing.wait_all_tasks_blocked(0.01)
        await cancelled.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert server.statistics().disconnects == 1
        assert server.statistics().open == 0


async def test_a_half_closed_client_counts_as_gone() -> None:
    cancelled = trio.Event()

    async def handler(request: Request) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async with serving(handler) as (_, address), open_peer(address) as peer:
        await peer.send(GET)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert isinstance(peer.stream, trio.SocketStream)
        await peer.stream.send_eof()
        await cancelled.wait()
        assert await peer.rest() == b""


@pytest.mark.parametrize(
    "part",
    [
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ],
)
async def test_who_stops_sending_within_a_request_is_told(part: bytes) -> None:
    async with serving() as (server, address):
        for before, expected in ((b"", b""), (GET, b"HTTP/1.1 200 OK\r\n")):
            async with open_peer(address) as peer:
                await peer.send(before + part)
                assert isinstance(peer.stream, trio.SocketStream)
                await peer.stream.send_eof()
                said = await peer.rest()
                assert said.startswith(expected or b"HTTP/1.1 400 Bad Request\r\n")
                assert said.endswith(b"\r\n\r\nthe request ended before it was whole\n")
        async with open_peer(address) as peer:
            assert isinstance(peer.stream, trio.SocketStream)
            await peer.stream.send_eof()
            assert await peer.rest() == b""
        assert server.statistics().refused == {400: 2}


async def test_draining_ends_idle_connections_and_finishes_requests() -> None:
    go_on = trio.Event()

    async def handler(request: Request) -> Response:
        if request.method == "POST":
            await go_on.wait()
        return Response(200, (), b"done")

    async with serving(handler) as (server, address):
        async with open_peer(address) as idle, open_peer(address) as busy:
            await idle.ask(GET)
            await busy.send(post(b""))
            await trio.testing.wait_all_tasks_blocked(0.01)
            drained: list[bool] = []

            async def drain() -> None:
                drained.append(await server.drain(30))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain)
                assert await idle.rest() == b""
                with pytest.raises(OSError, match="all attempts"):
                    await trio.open_tcp_stream(address.host, address.port)
                assert server.statistics().open == 1
                go_on.set()
                reply = await busy.reply()
                assert (reply.body, reply.headers[b"connection"]) == (b"done", b"close")
                assert await busy.rest() == b""
                await trio.aclose_forcefully(busy.stream)
            assert drained == [True]
            assert server.statistics().open == 0


async def test_draining_lets_a_request_arrive_that_has_begun() -> None:
    async with serving() as (server, address), open_peer(address) as peer:
        await peer.send(post(b"body")[:-2])
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 30)
            await trio.testing.wait_all_tasks_blocked(0.01)
            reply = await peer.ask(b"dy")
            assert (reply.body, reply.headers[b"connection"]) == (b"POST / body", b"close")
            await trio.aclose_forcefully(peer.stream)


async def test_draining_gives_up_at_its_deadline() -> None:
    async def handler(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with serving(handler) as (server, address), open_peer(address) as peer:
        await peer.send(GET)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not await server.drain(0)


async def test_leaving_the_block_cancels_what_runs() -> None:
    async def handler(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with trio.open_nursery() as nursery:
        async with serving(handler) as (_, address):
            peer = await nursery.start(_hold, address)
        assert await peer() == b""


async def _hold(address: Address, task_status: trio.TaskStatus[object]) -> None:
    async with open_peer(address) as peer:
        await peer.send(GET)
        await trio.testing.wait_all_tasks_blocked(0.01)
        done = trio.Event()

        async def rest() -> bytes:
            data = await peer.rest()
            done.set()
            return data

        task_status.started(rest)
        await done.wait()


async def test_a_taken_port_is_said() -> None:
    async with serving() as (_, address):
        with pytest.raises(CannotListen, match=f"{address}: Address already in use"):
            async with open_http_server(_none, address):
                pass


async def test_an_unknown_host_is_said() -> None:
    with pytest.raises(CannotListen, match=r"no-such-host\.invalid:0"):
        async with open_http_server(_none, Address("no-such-host.invalid", 0)):
            pass


async def _none(request: Request) -> Response:
    raise AssertionError


async def test_ipv6() -> None:
    async with open_http_server(_pong, Address("::1", 0)) as server:
        async with open_peer(server.addresses[0]) as peer:
            assert (await peer.ask(GET)).body == b"::1"


async def _pong(request: Request) -> Response:
    return Response(200, (), request.client.encode())


async def test_streams_come_in_chunks_and_keep_the_connection() -> None:
    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            for piece in (b"one", b"", b"two" * 100_000):
                await send(piece)

        return Stream(200, [(b"content-type", b"text/event-stream")], run)

    async with serving(handler) as (server, address), open_peer(address) as peer:
        for _ in range(2):
            reply = await peer.ask(GET)
            assert reply.body == b"one" + b"two" * 100_000
            assert reply.headers[b"transfer-encoding"] == b"chunked"
        assert server.statistics().streams == 0


async def test_a_stream_to_http_1_0_ends_with_the_connection() -> None:
    async def handler(request: Request) -> Stream:
        return Stream(200, (), lambda send: send(b"all"))

    async with serving(handler) as (_, address), open_peer(address) as peer:
        await peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        raw = await peer.rest()
    assert raw.endswith(b"connection: close\r\n\r\nall")


async def test_a_head_request_does_not_run_a_stream() -> None:
    closed: list[bool] = []

    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            raise AssertionError

        return Stream(200, (), run, close=lambda: closed.append(True))

    async with serving(handler) as (_, address), open_peer(address) as peer:
        assert (await peer.ask(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD")).body == b""
        assert closed == [True]


async def test_a_stream_is_cancelled_when_its_client_goes() -> None:
    closed = trio.Event()

    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            await send(b"one")
            await trio.sleep_forever()

        return Stream(200, (), run, close=closed.set)

    async with serving(handler) as (server, address):
        async with open_peer(address) as peer:
            await peer.send(GET)
            raw = b""
            while not raw.endswith(b"one\r\n"):
                raw += await peer.stream.receive_some()
            assert server.statistics().streams == 1
        await closed.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert server.statistics().disconnects == 1


async def test_a_stream_waits_for_a_slow_client_and_holds_little() -> None:
    sent = 0

    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            nonlocal sent
            while True:
                await send(b"x" * 10_000)
                sent += 10_000

        return Stream(200, (), run)

    async with serving(handler) as (_, address), open_peer(address) as peer:
        await peer.send(GET)
        await trio.testing.wait_all_tasks_blocked(0.05)
        before = sent
        assert 0 < before < 16 << 20
        while sent == before:
            await peer.stream.receive_some(1 << 20)


async def test_a_failing_stream_is_cut_so_that_the_client_sees_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            await send(b"one")
            raise RuntimeError("a secret")

        return Stream(200, (), run)

    async with serving(handler) as (server, address), open_peer(address) as peer:
        await peer.send(GET)
        raw = await peer.rest()
        assert raw.endswith(b"\r\n\r\n3\r\none\r\n")
        assert server.statistics().failures == 1
    assert "a secret" in caplog.text


async def test_streams_are_told_when_the_server_drains() -> None:
    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            await send(b"one")
            await request.draining.wait()
            await send(b"bye")

        return Stream(200, (), run)

    async with serving(handler) as (server, address), open_peer(address) as peer:
        await peer.send(GET)
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 30)
            assert (await peer.reply()).body == b"onebye"
            assert await peer.rest() == b""
            await trio.aclose_forcefully(peer.stream)


async def test_more_streams_than_allowed_are_refused_and_closed() -> None:
    closed: list[bool] = []

    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            await send(b"one")
            await trio.sleep_forever()

        return Stream(200, (), run, close=lambda: closed.append(True))

    async with serving(handler, Limits(streams=1)) as (server, address):
        async with open_peer(address) as first, open_peer(address) as second:
            await first.send(GET)
            await trio.testing.wait_all_tasks_blocked(0.01)
            reply = await second.ask(GET)
            assert (reply.status, reply.headers[b"retry-after"]) == (503, b"1")
            assert closed == [True]
            assert (await second.ask(GET)).status == 503  # the connection lives on
            assert server.statistics().refused == {503: 2}


async def test_two_servers_live_side_by_side() -> None:
    async with open_http_server(_pong, LOCAL) as one, open_http_server(_pong, LOCAL) as other:
        for server in (one, other):
            async with open_peer(server.addresses[0]) as peer:
                assert (await peer.ask(GET)).status == 200


async def test_large_bodies_that_come_at_the_same_time_are_not_mixed() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, (), b"%d %d" % (len(request.body), len(set(request.body))))

    async def send(number: int) -> None:
        body = bytes((number,)) * 3_000_000
        framed = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
            b"%x\r\n%b\r\n" % (700_000, body[:700_000]) for _ in range(4)
        )
        async with open_peer(address) as peer:
            for _ in range(3):
                assert (await peer.ask(post(body))).body == b"3000000 1"
                reply = await peer.ask(framed + b"0\r\n\r\n")
                assert reply.body == b"2800000 1"

    async with serving(handler) as (_, address), trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(send, number)
