"""An upstream over Streamable HTTP, on a real socket: both eras."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from flowcore.config import Secret
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    OutcomeUnknown,
    Overloaded,
    UpstreamError,
    UpstreamFailure,
)
from flowcore.http import Response, Send, Stream, encode_event
from support.upstreaming import (
    Opened,
    RecordingPeer,
    envelope,
    failure,
    losing,
    opened,
    text,
    tool,
    value,
)
from support.upstreams.http_server import (
    EVENTS,
    JSON,
    Answer,
    HttpUpstream,
    arguments_of_raw,
    encoded,
    error,
    result,
    serving,
)

ERAS = [False, True]


@asynccontextmanager
async def upstream(
    *, modern: bool, sessions: bool = True, streams: bool = True, **settings: Any
) -> AsyncGenerator[tuple[HttpUpstream, Opened]]:
    """A server and a ready connection to it."""
    server = HttpUpstream(modern=modern, sessions=sessions, streams=streams)
    async with serving(server), opened(url=server.url, **settings) as up:
        yield server, up


@pytest.fixture
def raw() -> Iterator[dict[str, Any]]:
    """Answers that the tool `raw` gives, by key."""
    arguments_of_raw.clear()
    yield arguments_of_raw
    arguments_of_raw.clear()


@pytest.mark.parametrize("modern", ERAS)
async def test_calls_are_answered(modern: bool) -> None:
    async with upstream(modern=modern) as (server, up):
        reply = await up.call("echo", text="grüße")
        assert text(reply) == "grüße"
        assert reply.modern is modern
        assert [one.name for one in up.port.catalog.tools] == ["echo"]
        assert up.port.catalog.templates == ()
        read = await up.worker.call(envelope("resources/read", "file:///a", {"uri": "file:///a"}))
        assert value(read)["contents"] == []
        with pytest.raises(UpstreamError, match="no such tool"):
            await up.call("missing")
        await up.worker.ping()
    assert server.deleted == ([] if modern else ["session-1"])


async def test_a_modern_request_mirrors_itself_in_headers() -> None:
    headers = {"Authorization": Secret("Bearer very-secret"), "x-team": "blue"}
    async with upstream(modern=True, headers=headers) as (_, up):
        sent = json.loads(text(await up.worker.call(tool("headers"))))
        assert sent["mcp-protocol-version"] == "2026-07-28"
        assert sent["mcp-method"] == "tools/call"
        assert sent["mcp-name"] == "headers"
        assert sent["accept"] == "application/json, text/event-stream"
        assert sent["content-type"] == "application/json"
        assert sent["authorization"] == "Bearer very-secret"
        assert sent["x-team"] == "blue"
        assert "mcp-session-id" not in sent


async def test_a_request_in_a_session_names_it_and_its_version() -> None:
    async with upstream(modern=False) as (server, up):
        sent = json.loads(text(await up.worker.call(tool("headers"))))
        assert sent["mcp-protocol-version"] == "2025-11-25"
        assert sent["mcp-session-id"] == "session-1"
        assert "mcp-method" not in sent
        initialize = next(
            one for one in server.seen if b'"initialize"' in one.body and one.method == "POST"
        )
        assert b"mcp-protocol-version" not in initialize.headers
        assert b"mcp-session-id" not in initialize.headers
        noted = [message["method"] for message in server.messages if "id" not in message]
        assert noted == ["notifications/initialized"]


async def test_a_name_beyond_ascii_is_encoded_in_its_header() -> None:
    async with upstream(modern=True) as (server, up):
        uri = "file:///grüße"
        await up.worker.call(envelope("resources/read", uri, {"uri": uri}))
        assert server.seen[-1].headers[b"mcp-name"] == b"=?base64?ZmlsZTovLy9ncsO8w59l?="


MIRRORING = {
    "name": "mirror",
    "inputSchema": {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {
                "type": "object",
                "properties": {"n": {"type": "integer", "x-mcp-header": "N"}},
            },
        },
    },
}


async def test_arguments_are_mirrored_where_the_tool_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = HttpUpstream(modern=True)
    unmirrorable = {
        "name": "bad",
        "inputSchema": {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
    }
    server.extra_tools = [MIRRORING, unmirrorable]
    async with serving(server), opened(url=server.url) as up:
        assert [one.name for one in up.port.catalog.tools] == ["echo", "mirror"]
        with pytest.raises(UpstreamError):
            await up.call("mirror", region="zürich", deep={"n": 7})
        assert server.seen[-1].headers[b"mcp-param-region"] == b"=?base64?esO8cmljaA==?="
        assert server.seen[-1].headers[b"mcp-param-n"] == b"7"
        with pytest.raises(UpstreamError):
            await up.call("mirror", region=None)
        assert b"mcp-param-region" not in server.seen[-1].headers
    assert "tool 'bad' is left out" in caplog.text


async def test_a_mismatch_of_headers_is_mended_by_listing_anew() -> None:
    async with upstream(modern=True) as (server, up):
        server.extra_tools = [{**MIRRORING, "name": "echo2"}]
        server.extra_tools[0]["name"] = "headers"
        server.demand = {"mcp-param-region": "eu"}
        reply = await up.call("headers", region="eu")
        assert json.loads(text(reply))["mcp-param-region"] == "eu"
        server.demand = {"x-never": "there"}
        with pytest.raises(UpstreamError, match="header x-never"):
            await up.call("echo")


@pytest.mark.parametrize("modern", ERAS)
async def test_what_comes_on_a_calls_stream_reaches_its_caller(modern: bool) -> None:
    peer = RecordingPeer()
    async with upstream(modern=modern) as (_, up):
        reply = await up.worker.call(tool("events", meta={"progressToken": "mine"}, peer=peer))
        assert text(reply) == "done"
        assert [method for method, _ in peer.told] == [
            "notifications/progress",
            "notifications/progress",
            "notifications/message",
        ]
        assert up.worker.statistics().stray == 1


async def test_a_question_on_a_calls_stream_goes_to_its_caller() -> None:
    peer = RecordingPeer({"elicitation": {}}, {"action": "accept"})
    other = RecordingPeer({"elicitation": {}}, {"action": "decline"})
    async with upstream(modern=False) as (server, up), trio.open_nursery() as nursery:
        nursery.start_soon(up.worker.call, tool("hang", peer=other, principal="other"))
        await server.until(lambda: any(b'"hang"' in one.body for one in server.seen))
        reply = await up.worker.call(tool("ask", peer=peer, method="elicitation/create"))
        assert json.loads(text(reply)) == {"result": {"action": "accept"}}
        assert other.asked == []
        nursery.cancel_scope.cancel()


async def test_a_modern_upstream_that_asks_out_of_turn_is_not_answered() -> None:
    peer = RecordingPeer({"elicitation": {}}, {"action": "accept"})
    async with upstream(modern=True) as (server, up):
        reply = await up.worker.call(tool("ask", peer=peer, method="elicitation/create"))
        assert text(reply) == "not asked"
        assert peer.asked == []
        assert server.answers == {}


@pytest.mark.parametrize("modern", ERAS)
async def test_a_cancelled_call_closes_its_stream(modern: bool) -> None:
    async with upstream(modern=modern) as (server, up):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(up.worker.call, tool("hang"))
            await server.until(lambda: any(b'"hang"' in one.body for one in server.seen))
            nursery.cancel_scope.cancel()
        await server.until(lambda: server.disconnected == ["hang"])
        if not modern:
            hung = next(one["id"] for one in server.messages if "hang" in json.dumps(one))
            await server.until(lambda: server.cancelled == [hung])
        assert text(await up.call("echo", text="x")) == "x"


async def test_a_stream_that_breaks_off_is_taken_up_where_it_ended() -> None:
    async with upstream(modern=False) as (server, up):
        assert text(await up.call("broken")) == "resumed"
        resumed = [one for one in server.seen if b"last-event-id" in one.headers]
        assert [one.headers[b"last-event-id"] for one in resumed] == [b"e1", b"e2"]


async def test_a_stream_that_cannot_be_taken_up_leaves_the_outcome_unknown() -> None:
    async with upstream(modern=False, streams=False) as (server, up):
        server.with_streams = False
        with pytest.raises(OutcomeUnknown, match="ended before the answer"):
            await up.call("broken", nameless=True)
    async with upstream(modern=True) as (_, up):
        with pytest.raises(OutcomeUnknown, match="ended before the answer"):
            await up.call("broken")


@pytest.mark.parametrize("status", [404, 400])
async def test_an_expired_session_is_renewed_and_the_call_done_in_the_new_one(status: int) -> None:
    async with upstream(modern=False) as (server, up):
        if status == 400:
            server.unknown_session = error(None, -32000, "Bad Request: No valid session ID", 400)
        await up.worker.call(envelope("resources/subscribe", "file:///a", {"uri": "file:///a"}))
        server.extra_tools = [{"name": "newer"}]
        await up.call("expire")
        replies: list[str] = []

        async def call(number: int) -> None:
            replies.append(text(await up.call("echo", text=str(number))))

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(call, number)
        assert sorted(replies) == [str(number) for number in range(10)]
        assert server.made == 2
        await up.port.until(lambda: len(up.port.catalog.tools) == 2)
        await server.until(lambda: server.subscribed == ["file:///a"] * 2)


async def test_a_session_that_cannot_be_renewed_ends_the_worker() -> None:
    server = HttpUpstream(modern=False)
    async with serving(server), losing(url=server.url) as up:
        await up.call("expire")
        server.modern = True
        with pytest.raises(AgentUnavailable, match="there is no new session") as caught:
            await up.call("echo")
        assert not caught.value.began
        assert isinstance(await up.lost(), UpstreamError)


async def test_an_upstream_without_sessions_or_streams_is_as_good() -> None:
    async with upstream(modern=False, sessions=False, streams=False) as (server, up):
        assert text(await up.call("echo", text="x")) == "x"
        await up.worker.ping()
    assert server.deleted == []


@pytest.mark.parametrize("modern", ERAS)
async def test_changes_are_heard_on_a_stream_of_their_own(modern: bool) -> None:
    async with upstream(modern=modern) as (server, up):
        await server.until(lambda: bool(server.outlets))
        server.extra_tools = [{"name": "newer"}]
        server.broadcast({"method": "notifications/tools/list_changed", "params": {}})
        await up.port.until(lambda: len(up.port.catalog.tools) == 2)
        # the stream ends, something changes meanwhile, and it is opened again
        server.extra_tools.append({"name": "newest"})
        server.broadcast(b"")
        await up.port.until(lambda: len(up.port.catalog.tools) == 3)
        await server.until(lambda: bool(server.outlets))


async def test_the_stream_of_a_session_is_taken_up_after_its_last_event() -> None:
    async with upstream(modern=False) as (server, up):
        await server.until(lambda: bool(server.outlets))
        params = {"uri": "file:///a"}
        note = encoded({"method": "notifications/resources/updated", "params": params})
        server.broadcast(encode_event(note, id_="g1", retry=1))
        server.broadcast(b"")
        await server.until(
            lambda: any(one.headers.get(b"last-event-id") == b"g1" for one in server.seen)
        )
        assert up.port.notifications == [("notifications/resources/updated", params)]


async def test_logs_on_the_stream_of_no_call_are_told_to_all() -> None:
    async with upstream(modern=False) as (server, up):
        await server.until(lambda: bool(server.outlets))
        server.broadcast({"method": "notifications/message", "params": {"level": "info"}})
        await up.port.until(lambda: bool(up.port.notifications))
        meta = {"io.modelcontextprotocol/logLevel": "debug"}
        await up.worker.call(tool("echo", meta=meta))  # that the level cannot be set is no reason


async def test_a_modern_upstream_is_told_of_all_subscriptions_on_one_stream() -> None:
    async with upstream(modern=True) as (server, up):
        lists = {"toolsListChanged": True, "resourcesListChanged": True}
        await server.until(lambda: server.listens == [lists])
        for uri in ("file:///a", "file:///b"):
            await up.worker.call(envelope("resources/subscribe", uri, {"uri": uri}))
        assert server.listens[-1] == {**lists, "resourceSubscriptions": ["file:///a", "file:///b"]}
        await server.until(lambda: len(server.outlets) == 1)
        params = {
            "_meta": {"io.modelcontextprotocol/subscriptionId": 3, "x": 1},
            "uri": "file:///b",
        }
        server.broadcast({"method": "notifications/resources/updated", "params": params})
        updated = ("notifications/resources/updated", {"uri": "file:///b", "_meta": {"x": 1}})
        await up.port.until(lambda: up.port.notifications == [updated])
        await up.worker.call(envelope("resources/unsubscribe", "file:///a", {"uri": "file:///a"}))
        await server.until(lambda: server.listens[-1].get("resourceSubscriptions") == ["file:///b"])
        # subscribed twice: the first to leave takes nothing from the other
        again = envelope("resources/subscribe", "file:///b", {"uri": "file:///b"})
        await up.worker.call(again)
        count = len(server.listens)
        await up.worker.call(envelope("resources/unsubscribe", "file:///b", {"uri": "file:///b"}))
        assert len(server.listens) == count


async def test_subscriptions_outlive_the_connection_that_made_them() -> None:
    server = HttpUpstream(modern=False)
    async with serving(server), opened(url=server.url) as up:
        uri = {"uri": "file:///a"}
        await up.worker.call(envelope("resources/subscribe", "file:///a", uri))
        async with up.source.open_worker(up.port) as second:
            assert server.subscribed == ["file:///a"]
            await second.call(envelope("resources/unsubscribe", "file:///a", uri))
            assert server.subscribed == []
            await second.call(envelope("resources/subscribe", "file:///a", uri))
    async with serving(server), opened(url=server.url) as up:
        await up.worker.call(envelope("resources/subscribe", "file:///a", uri))
        server.subscribed.clear()
        async with up.source.open_worker(up.port):
            up.source._memory.subscriptions._listeners[0][1].set()
            assert server.subscribed == []


# ---- what goes wrong


ANSWERS: dict[str, tuple[Any, type[CallError], str, bool]] = {
    "text": (
        lambda number: Response(200, ((b"content-type", b"text/html"),), b"<html>"),
        UpstreamFailure,
        "neither JSON nor events (content type: text/html)",
        True,
    ),
    "untyped": (lambda number: Response(200, (), b"{}"), UpstreamFailure, "type: none", True),
    "nothing": (lambda number: Response(202), UpstreamFailure, "answers nothing: HTTP 202", True),
    "empty": (lambda number: Response(200, JSON), UpstreamFailure, "not a JSON-RPC", True),
    "broken": (lambda number: Response(200, JSON, b"{"), UpstreamFailure, "not a JSON-RPC", True),
    "request": (
        lambda number: Response(200, JSON, encoded({"id": 1, "method": "x"})),
        UpstreamFailure,
        "not a JSON-RPC response",
        True,
    ),
    "other": (
        lambda number: result("other", {}),
        UpstreamFailure,
        "answers what it was not asked ('other')",
        True,
    ),
    "forbidden": (lambda number: Response(403), UpstreamFailure, "refuses", False),
    "moved": (
        lambda number: Response(302, ((b"location", b"http://other/"),)),
        UpstreamFailure,
        "redirects to 'http://other/', which is not followed",
        False,
    ),
    "failed": (lambda number: Response(502), OutcomeUnknown, "failed: HTTP 502", True),
    "busy": (
        lambda number: Response(429, ((b"retry-after", b"7"),)),
        Overloaded,
        "takes no more",
        False,
    ),
    "later": (
        lambda number: Response(503, ((b"retry-after", b"2"),)),
        Overloaded,
        "takes no more",
        False,
    ),
    "down": (lambda number: Response(503), OutcomeUnknown, "failed: HTTP 503", True),
    "created": (
        lambda number: Response(201, JSON, encoded({"id": number, "result": {}})),
        UpstreamFailure,
        "answers nothing: HTTP 201",
        True,
    ),
    "large": (
        lambda number: Response(200, JSON, b" " * 2_000_000),
        UpstreamFailure,
        "too large",
        True,
    ),
    "own": (lambda number: error(number, -32603, "broke", 500), UpstreamError, "broke", True),
    "null": (lambda number: error(None, -32700, "unread", 400), UpstreamError, "unread", True),
}


@pytest.mark.parametrize("key", ANSWERS)
async def test_an_answer_that_is_none_fails_its_call_alone(key: str, raw: dict[str, Any]) -> None:
    raw[key], kind, says, began = ANSWERS[key]
    async with upstream(modern=True, message=1 << 20) as (_, up):
        with pytest.raises(CallError) as caught:
            await up.call("raw", key=key)
        assert type(caught.value) is kind
        assert says in str(caught.value)
        assert caught.value.began is began
        assert text(await up.call("echo", text="x")) == "x"


async def test_how_long_to_wait_is_passed_on(raw: dict[str, Any]) -> None:
    raw["busy"] = ANSWERS["busy"][0]
    async with upstream(modern=False) as (_, up):
        with pytest.raises(Overloaded) as caught:
            await up.call("raw", key="busy")
        assert caught.value.retry_after == 7


def streaming(*events: bytes, endless: bytes = b"") -> Callable[[Any], Answer]:
    async def run(send: Send) -> None:
        for event in events:
            await send(event)
        while endless:
            await send(endless)

    def answer(number: Any) -> Answer:
        return Stream(200, EVENTS, run)

    return answer


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (streaming(encode_event(b"{not json")), "sends what is no message"),
        (streaming(endless=b"x" * 65536), "says too much at once"),
        (streaming(endless=b"data: x\n" * 8192), "says too much at once"),
    ],
    ids=["rubbish", "a line", "an event"],
)
async def test_a_stream_of_anything_fails_its_call_alone(
    answer: Any, says: str, raw: dict[str, Any]
) -> None:
    raw["x"] = answer
    async with upstream(modern=True, message=1 << 16) as (_, up):
        with pytest.raises(UpstreamFailure, match=says):
            await up.call("raw", key="x")
        assert text(await up.call("echo", text="x")) == "x"


async def test_rubbish_on_the_stream_of_no_call_ends_the_worker() -> None:
    server = HttpUpstream(modern=False)
    async with serving(server), losing(url=server.url) as up:
        await server.until(lambda: bool(server.outlets))
        server.broadcast(encode_event(b"rubbish"))
        assert isinstance(await up.lost(), UpstreamFailure)


@pytest.mark.parametrize("modern", ERAS)
async def test_an_upstream_that_comes_back_is_used_again(modern: bool) -> None:
    server = HttpUpstream(modern=modern)
    async with trio.open_nursery() as nursery:
        stop, stopped = trio.Event(), trio.Event()

        async def serve(port: int, *, task_status: trio.TaskStatus[None]) -> None:
            async with serving(server, port) as listening, trio.open_nursery() as serving_nursery:
                task_status.started()
                serving_nursery.start_soon(trio.sleep_forever)
                await stop.wait()
                await listening.drain(0)
                serving_nursery.cancel_scope.cancel()
            stopped.set()

        await nursery.start(serve, 0)
        port = int(server.url.split(":")[2].split("/")[0])
        async with opened(url=server.url) as up:
            assert text(await up.call("echo", text="x")) == "x"
            stop.set()
            await stopped.wait()
            with pytest.raises(AgentUnavailable, match="cannot be reached") as refused:
                await up.call("echo")
            assert not refused.value.began
            server.sessions.clear()
            stop = trio.Event()
            await nursery.start(serve, port)
            assert text(await up.call("echo", text="y")) == "y"
        stop.set()


async def test_an_upstream_that_is_lost_in_the_middle_leaves_the_outcome_unknown() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, hang_up, listeners)
        caught = await failure(url=f"http://127.0.0.1:{port}/mcp", protocol="2026-07-28")
        assert isinstance(caught, OutcomeUnknown)
        nursery.cancel_scope.cancel()


async def test_what_cannot_be_reached_or_refuses_says_so() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    error = await failure(url=f"http://127.0.0.1:{port}/mcp")
    assert isinstance(error, AgentUnavailable)
    assert "cannot be reached" in str(error)
    server = HttpUpstream(modern=True)
    async with serving(server):
        error = await failure(url=server.url.replace("/mcp", "/moved"))
        assert "redirects to '/mcp', which is not followed" in str(error)


async def test_a_session_id_that_cannot_be_sent_is_refused() -> None:
    server = HttpUpstream(modern=False)

    async def answer(request: Any) -> Answer:
        reply = await HttpUpstream.handle(server, request)
        if isinstance(reply, Response) and b"protocolVersion" in reply.body:
            reply.headers = (*JSON, (b"mcp-session-id", b"caf\xe9"))
        return reply

    server.handle = answer  # type: ignore[method-assign]
    async with serving(server):
        error = await failure(url=server.url)
    assert str(error) == "the upstream's session id is not of visible ASCII"


async def test_a_handshake_may_be_answered_by_a_stream() -> None:
    server = HttpUpstream(modern=False)

    async def answer(request: Any) -> Answer:
        reply = await HttpUpstream.handle(server, request)
        if isinstance(reply, Response) and b"protocolVersion" in reply.body:
            body = encode_event(reply.body)

            async def run(send: Send) -> None:
                await send(body)

            session = [pair for pair in reply.headers if pair[0] == b"mcp-session-id"]
            return Stream(200, (*EVENTS, *session), run)
        return reply

    server.handle = answer  # type: ignore[method-assign]
    async with serving(server), opened(url=server.url) as up:
        assert text(await up.call("echo", text="x")) == "x"


async def test_an_upstream_that_is_modern_says_what_it_would_rather_speak() -> None:
    server = HttpUpstream(modern=False)
    data = {"supported": ["2025-11-25"], "requested": "2026-07-28"}

    async def answer(request: Any) -> Answer:
        if b"server/discover" in request.body:
            return error(1, -32022, "no", 400, data)
        return await HttpUpstream.handle(server, request)

    server.handle = answer  # type: ignore[method-assign]
    async with serving(server), opened(url=server.url) as up:
        assert not (await up.call("echo")).modern


# ---- streams that do not come


@pytest.mark.parametrize("modern", ERAS)
async def test_a_stream_of_changes_that_does_not_open_is_not_waited_for_long(modern: bool) -> None:
    server = HttpUpstream(modern=modern)
    opening = trio.Event()

    async def answer(request: Any) -> Answer:
        if request.method == "GET" or b"subscriptions/listen" in request.body:
            await opening.wait()
        return await HttpUpstream.handle(server, request)

    server.handle = answer  # type: ignore[method-assign]
    async with serving(server), opened(url=server.url) as up:
        assert text(await up.call("echo", text="x")) == "x"
        # what changed before the stream opened was not announced, and is found out all the same
        server.extra_tools = [{"name": "newer"}]
        opening.set()
        await up.port.until(lambda: len(up.port.catalog.tools) == 2)


async def test_a_stream_that_is_refused_is_asked_for_again() -> None:
    server = HttpUpstream(modern=True)
    refused = 0

    async def answer(request: Any) -> Answer:
        nonlocal refused
        if b"subscriptions/listen" in request.body and refused < 2:
            refused += 1
            number = json.loads(request.body)["id"]
            return error(number, -32603, "not now") if refused == 1 else Response(503)
        return await HttpUpstream.handle(server, request)

    server.handle = answer  # type: ignore[method-assign]
    async with serving(server), opened(url=server.url) as up:
        with pytest.raises(CallError):
            await up.worker.call(envelope("resources/subscribe", "file:///a", {"uri": "file:///a"}))
        await server.until(lambda: bool(server.outlets))
        await up.worker.call(envelope("resources/subscribe", "file:///a", {"uri": "file:///a"}))


async def test_a_subscription_fails_if_its_stream_does_and_the_stream_there_is_stays() -> None:
    async with upstream(modern=True) as (server, up):
        await server.until(lambda: bool(server.outlets))
        outlet = server.outlets[0]

        async def answer(request: Any) -> Answer:
            if b"resourceSubscriptions" in request.body:
                return Response(503)
            return await HttpUpstream.handle(server, request)

        server.handle = answer  # type: ignore[method-assign]
        with pytest.raises(OutcomeUnknown):
            await up.worker.call(envelope("resources/subscribe", "file:///a", {"uri": "file:///a"}))
        assert outlet in server.outlets


async def test_an_acknowledgement_that_names_no_resources_honours_none() -> None:
    async with upstream(modern=True) as (server, up):

        async def answer(request: Any) -> Answer:
            reply = await HttpUpstream.handle(server, request)
            if b"resourceSubscriptions" not in request.body:
                return reply
            number = json.loads(request.body)["id"]
            acknowledged = {
                "method": "notifications/subscriptions/acknowledged",
                "params": {
                    "_meta": {"io.modelcontextprotocol/subscriptionId": number},
                    "notifications": {"resourceSubscriptions": "all"},
                },
            }
            return server.stream([encode_event(encoded(acknowledged))])

        server.handle = answer  # type: ignore[method-assign]
        with pytest.raises(CallError, match="does not announce changes of this resource"):
            await up.worker.call(envelope("resources/subscribe", "file:///a", {"uri": "file:///a"}))


async def test_a_caller_that_stops_waiting_for_a_subscription_leaves_none_behind() -> None:
    async with upstream(modern=True) as (server, up):
        await server.until(lambda: bool(server.outlets))

        asked = False

        async def answer(request: Any) -> Answer:
            nonlocal asked
            if b"resourceSubscriptions" in request.body:
                asked = True
                server.happened()
                return server.hanging("listen")
            return await HttpUpstream.handle(server, request)

        server.handle = answer  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            wanted = envelope("resources/subscribe", "file:///a", {"uri": "file:///a"})
            nursery.start_soon(up.worker.call, wanted)
            await server.until(lambda: asked)
            nursery.cancel_scope.cancel()
        assert up.source._memory.subscriptions.wanted == {}
        await server.until(lambda: server.disconnected == ["listen"])
        await server.until(lambda: bool(server.outlets))


async def test_a_server_that_offers_nothing_that_changes_is_not_listened_to() -> None:
    server = HttpUpstream(modern=True)
    server.discover = result(
        1, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    )
    async with serving(server), opened(url=server.url, protocol="2026-07-28") as up:
        assert text(await up.call("echo", text="x")) == "x"
        assert server.listens == []


@pytest.mark.parametrize("status", [500, 200])
async def test_a_get_that_fails_is_tried_again(status: int) -> None:
    server = HttpUpstream(modern=False)
    tried = 0

    async def answer(request: Any) -> Answer:
        nonlocal tried
        if request.method == "GET":
            tried += 1
            if tried == 1:
                return Response(status, JSON, b"{}")
        return await HttpUpstream.handle(server, request)

    server.handle = answer  # type: ignore[method-assign]
    async with serving(server), opened(url=server.url):
        await server.until(lambda: bool(server.outlets))


async def test_a_resumed_stream_that_breaks_again_and_again_is_given_up() -> None:
    async with upstream(modern=False) as (server, up):

        def empty(number: Any) -> Answer:
            return streaming(encode_event(b"", id_="e1", retry=1))(number)

        arguments_of_raw["x"] = empty

        async def answer(request: Any) -> Answer:
            if b"last-event-id" in request.headers:
                server.seen.append(request)
                return streaming()(0)
            return await HttpUpstream.handle(server, request)

        server.handle = answer  # type: ignore[method-assign]
        with pytest.raises(OutcomeUnknown, match="ended before the answer"):
            await up.call("raw", key="x")
        assert sum(b"last-event-id" in one.headers for one in server.seen) == 5
        arguments_of_raw.clear()


async def test_a_handshake_that_cannot_be_finished_is_a_failure() -> None:
    server = HttpUpstream(modern=False)

    async def answer(request: Any) -> Answer:
        if b"notifications/initialized" in request.body:
            return Response(500)
        return await HttpUpstream.handle(server, request)

    server.handle = answer  # type: ignore[method-assign]
    async with serving(server):
        error_ = await failure(url=server.url)
    assert str(error_) == "the upstream refuses a message: HTTP 500"
