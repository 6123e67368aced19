"""The client, against our server and against one that is scripted."""

from __future__ import annotations

import pytest
import trio

from flowcore.config import Address
from flowcore.http import (
    ConnectFailed,
    HttpError,
    ProtocolFailure,
    Request,
    Response,
    Send,
    Stream,
    open_client,
    open_http_server,
    split_url,
)
from support.http_peer import LOCAL, echo, serving
from support.lying_server import Asked, lying

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_requests_share_a_kept_connection() -> None:
    async with serving() as (server, address), open_client() as client:
        for number in range(10):
            url = f"http://{address}/a?b={number}"
            response = await client.request("POST", url, body=b"%d" % number)
            assert response.body == b"POST /a?b=%d %d" % (number, number)
        assert response.status == 200
        assert response.headers[b"content-type"] == b"text/plain"
        assert server.statistics().connections == 1
    await trio.testing.wait_all_tasks_blocked(0.01)


async def test_concurrent_requests_have_a_connection_each() -> None:
    arrived = 0
    all_here = trio.Event()

    async def handler(request: Request) -> Response:
        nonlocal arrived
        arrived += 1
        if arrived == 20:
            all_here.set()
        await all_here.wait()
        return Response(200, (), request.body)

    async with serving(handler) as (server, address), open_client(most_idle=5) as client:
        answers: list[bytes] = []

        async def ask(number: int) -> None:
            response = await client.request("POST", f"http://{address}/", body=b"%d" % number)
            assert response.body == b"%d" % number
            answers.append(response.body)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
        assert len(answers) == 20
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (server.statistics().connections, server.statistics().open) == (20, 5)


async def test_more_requests_than_connections_wait_their_turn() -> None:
    most = 0
    running = 0

    async def handler(request: Request) -> Response:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await trio.testing.wait_all_tasks_blocked(0.001)
        running -= 1
        return Response(204)

    async with serving(handler) as (server, address), open_client(most_connections=3) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(client.request, "GET", f"http://{address}/")
        assert most == 3
        assert server.statistics().connections == 3


async def test_who_waits_for_a_connection_can_give_up() -> None:
    async def handler(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with serving(handler) as (_, address), open_client(most_connections=1) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "GET", f"http://{address}/")
            await trio.testing.wait_all_tasks_blocked(0.01)
            with trio.move_on_after(0.01) as scope:
                await client.request("GET", f"http://{address}/")
            assert scope.cancelled_caught
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
async def test_methods(method: str) -> None:
    async with serving() as (_, address), open_client() as client:
        for _ in range(2):
            response = await client.request(method, f"http://{address}/")
            assert response.status == 200
            assert response.body == (b"" if method == "HEAD" else f"{method} / ".encode())


@pytest.mark.parametrize("size", [1 << 15, (1 << 15) + 1, 3_000_000])
async def test_a_body_arrives_whole_whatever_its_size(size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    async with serving() as (_, address), open_client() as client:
        for given in (body, memoryview(body)):
            response = await client.request("POST", f"http://{address}/", body=given)
            assert response.body == b"POST / " + body


async def test_what_is_sent() -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(OK)

    async with lying(script) as server, open_client() as client:
        await client.request("GET", server.url + "a?b=%20#c")
        await client.request("POST", server.url, headers=[(b"X-A", b"b")])
        await client.request("PUT", server.url, headers=((b"HOST", b"other"),), body=b"xy")
        port = server.url.rsplit(":", 1)[1].rstrip("/").encode()
    assert [asked.raw for asked in server.asked] == [
        b"GET /a?b=%%20 HTTP/1.1\r\nhost: 127.0.0.1:%b\r\n\r\n" % port,
        b"POST / HTTP/1.1\r\nhost: 127.0.0.1:%b\r\nX-A: b\r\ncontent-length: 0\r\n\r\n" % port,
        b"PUT / HTTP/1.1\r\nHOST: other\r\ncontent-length: 2\r\n\r\nxy",
    ]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ((b"a", b"b\r\nc: d"), "holds a character"),
        ((b"a", b"b\0"), "holds a character"),
        ((b"a b", b"c"), "cannot be a header's name"),
        ((b"", b"c"), "cannot be a header's name"),
        ((b"Content-Length", b"7"), "made from the message itself"),
        ((b"Transfer-Encoding", b"chunked"), "made from the message itself"),
    ],
)
async def test_headers_that_cannot_be_sent(header: tuple[bytes, bytes], says: str) -> None:
    async with open_client() as client:
        with pytest.raises(ValueError, match=says):
            await client.request("GET", "http://127.0.0.1:1/", headers=[header])


@pytest.mark.parametrize("method", ["", "G T", "GET\r\n", "GÉT"])
async def test_methods_that_cannot_be_sent(method: str) -> None:
    async with open_client() as client:
        with pytest.raises(ValueError, match="HTTP method"):
            await client.request(method, "http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "absolute http or https URL"),
        ("/path", "absolute http or https URL"),
        ("ftp://a/", "absolute http or https URL"),
        ("http://", "absolute http or https URL"),
        ("http://a b/", "visible ASCII"),
        ("http://a/\n", "visible ASCII"),
        ("http://ä/", "visible ASCII"),
        ("http://user:password@a/", "without user and password"),
        ("http://a:0/", "a port from 1 to 65535"),
        ("http://a:65536/", "out of range"),
        ("http://a:b/", "cast|port"),
        ("http://[::1/", "IPv6"),
    ],
)
def test_urls_that_are_none(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        split_url(url)


def test_urls_are_taken_apart() -> None:
    origin, target = split_url("https://Example.com/a/b?c=d#e")
    assert (origin.secure, origin.host, origin.port) == (True, "example.com", 443)
    assert (origin.authority, target) == ("example.com", "/a/b?c=d")
    origin, target = split_url("http://[::1]:8080?q")
    assert (origin.host, origin.authority, target) == ("::1", "[::1]:8080", "/?q")
    assert split_url("http://a:443")[0].authority == "a:443"


async def test_a_stream_is_read_as_it_comes() -> None:
    go_on = trio.Event()

    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            await send(b"one")
            await go_on.wait()
            await send(b"two")

        return Stream(200, [(b"content-type", b"text/event-stream")], run)

    async with serving(handler) as (server, address), open_client() as client:
        for _ in range(2):
            async with client.stream("GET", f"http://{address}/") as response:
                assert response.headers[b"content-type"] == b"text/event-stream"
                pieces = []
                async for piece in response.chunks():
                    pieces.append(piece)
                    go_on.set()
                assert b"".join(pieces) == b"onetwo"
                assert response.complete
        assert server.statistics().connections == 1


async def test_leaving_a_stream_early_cancels_the_work_there() -> None:
    cancelled = trio.Event()

    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            await send(b"one")
            await trio.sleep_forever()

        return Stream(200, (), run, close=cancelled.set)

    async with serving(handler) as (_, address), open_client() as client:
        async with client.stream("GET", f"http://{address}/") as response:
            assert await response.receive() == b"one"
            assert not response.complete
        await cancelled.wait()


async def test_a_cancelled_request_does_not_leave_its_answer_to_the_next() -> None:
    started = trio.Event()
    cancelled = trio.Event()

    async def handler(request: Request) -> Response:
        if request.body == b"slow":
            started.set()
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()
        return Response(200, (), request.body)

    async with serving(handler) as (server, address), open_client() as client:
        url = f"http://{address}/"
        await client.request("POST", url, body=b"first")
        async with trio.open_nursery() as nursery:

            async def slow() -> None:
                await client.request("POST", url, body=b"slow")

            nursery.start_soon(slow)
            await started.wait()
            nursery.cancel_scope.cancel()
        await cancelled.wait()
        assert (await client.request("POST", url, body=b"next")).body == b"next"
        assert server.statistics().connections == 2


async def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async with open_client() as client:
        async with serving() as (_, address):
            await client.request("GET", f"http://{address}/")
        async with open_http_server(echo, address):
            response = await client.request("POST", f"http://{address}/", body=b"safe")
        assert response.body == b"POST / safe"


@pytest.mark.parametrize(
    ("method", "idempotent", "again"),
    [("GET", None, True), ("POST", True, True), ("POST", None, False), ("GET", False, False)],
)
async def test_only_what_is_idempotent_is_sent_again(
    method: str, idempotent: bool | None, again: bool
) -> None:
    async def script(asked: Asked) -> None:
        if asked.number == 1:
            await asked.stream.aclose()  # just as it is used again
        else:
            await asked.answer(OK)

    async with lying(script) as server, open_client() as client:
        await client.request(method, server.url, idempotent=idempotent)
        if again:
            response = await client.request(method, server.url, idempotent=idempotent)
            assert (response.status, server.connections) == (200, 2)
        else:
            with pytest.raises(ProtocolFailure, match="before the answer") as caught:
                await client.request(method, server.url, idempotent=idempotent)
            assert caught.value.sent
            assert caught.value.silent
            assert server.connections == 1


async def test_what_fails_on_a_new_connection_is_not_sent_again() -> None:
    async with lying(b"") as server, open_client() as client:
        with pytest.raises(ProtocolFailure, match="before the answer"):
            await client.request("GET", server.url)
        assert len(server.asked) == 1


async def test_an_answer_that_began_is_not_asked_for_again() -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(OK if asked.number == 0 else b"HTTP/1.1 200 O")
        if asked.number:
            await asked.stream.aclose()

    async with lying(script) as server, open_client() as client:
        await client.request("GET", server.url)
        with pytest.raises(ProtocolFailure) as caught:
            await client.request("GET", server.url)
        assert not caught.value.silent


async def test_an_announced_end_of_keeping_is_heeded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n")

    async with lying(script) as server, open_client() as client:
        await client.request("GET", server.url)
        await trio.sleep(3)
        await client.request("GET", server.url)
        assert server.connections == 1
        await trio.sleep(4)
        await client.request("GET", server.url)
        assert server.connections == 2


async def test_connections_are_not_kept_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(OK)

    async with lying(script) as one, lying(script) as other, open_client(idle_timeout=30) as client:
        await client.request("GET", one.url)
        await trio.sleep(31)
        await client.request("GET", other.url)
        await trio.testing.wait_all_tasks_blocked()
        assert one.asked[0].stream.socket.fileno() < 0  # closed, although it was not used again
        await client.request("GET", one.url)
        assert one.connections == 2


async def test_connection_close_is_heeded() -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(
            b"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 0\r\n\r\n"
        )

    async with lying(script) as server, open_client() as client:
        for _ in range(3):
            await client.request("GET", server.url)
        assert server.connections == 3


async def test_an_answer_may_come_before_the_request_is_read() -> None:
    async with serving() as (server, address), open_client() as client:
        with trio.fail_after(25):
            response = await client.request("POST", f"http://{address}/", body=b"x" * (17 << 20))
        assert response.status == 413
        assert server.statistics().refused == {413: 1}


async def test_refused_connections_say_where_and_why() -> None:
    async with serving() as (_, address):
        pass
    async with open_client() as client:
        with pytest.raises(ConnectFailed, match=f"no connection to {address}: Connection refused"):
            await client.request("GET", f"http://{address}/")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64 + ".invalid"])
async def test_hosts_that_do_not_exist(host: str) -> None:
    async with open_client() as client:
        with pytest.raises(ConnectFailed, match="no connection to ") as caught:
            await client.request("GET", f"http://{host}:1/")
        assert not caught.value.sent
        assert isinstance(caught.value, HttpError)


async def test_ipv6() -> None:
    async with open_http_server(echo, Address("::1", 0)) as server, open_client() as client:
        url = f"http://{server.addresses[0]}/"
        assert (await client.request("GET", url)).body == b"GET / "


async def test_one_failing_call_fails_alone() -> None:
    go_on = trio.Event()

    async def script(asked: Asked) -> None:
        if b"GET /bad" in asked.raw:
            await asked.answer(b"nonsense\r\n\r\n")
            go_on.set()
        else:
            await go_on.wait()
            await asked.answer(OK)

    async with lying(script) as server, open_client() as client:
        good: list[bytes] = []

        async def ask() -> None:
            good.append((await client.request("GET", server.url)).body)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
            with pytest.raises(ProtocolFailure):
                await client.request("GET", server.url + "bad")
        assert good == [b"ok"] * 5


async def test_closing_closes_what_is_kept() -> None:
    async with open_http_server(echo, LOCAL) as server:
        async with open_client() as client:
            await client.request("GET", f"http://{server.addresses[0]}/")
            assert server.statistics().open == 1
        with trio.fail_after(25):
            while server.statistics().open:
                await trio.testing.wait_all_tasks_blocked(0.001)
