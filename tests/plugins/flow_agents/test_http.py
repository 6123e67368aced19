"""The http agent against real servers: ones that behave, and ones that do not."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from time import time
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.agents import State
from flowcore.config import Address, ConfigError
from flowcore.errors import (
    AgentUnavailable,
    DeadlineExceeded,
    InvalidArguments,
    OutcomeUnknown,
    Overloaded,
    UnknownTarget,
    UpstreamFailure,
)
from flowcore.http import Handler, Request, Response, open_http_server
from flowcore.requests import Envelope, Raw

JSON = (b"content-type", b"application/json")
NO_RETRY = {"retry": {"attempts": 1}}


@asynccontextmanager
async def open_service(handler: Handler) -> AsyncGenerator[str]:
    """A server of its own; yields its URL."""
    async with open_http_server(handler, Address("127.0.0.1", 0)) as server:
        yield f"http://{server.addresses[0]}"


@asynccontextmanager
async def open_agent(url: str, tools: dict[str, Any], **settings: Any) -> AsyncGenerator[Flow]:
    """A flow with the agent `it`, which never tries again."""
    agent = {"type": "http", "url": url, "tools": tools, **settings}
    async with open_flow({"agent": {"it": agent}, "requests": NO_RETRY}) as flow:
        with trio.fail_after(60):
            await flow.wait_settled()
            yield flow


def answering(
    status: int = 200, body: bytes = b"", *headers: tuple[bytes, bytes]
) -> Callable[[Request], Awaitable[Response]]:
    """A handler that answers so."""

    async def handle(_request: Request) -> Response:
        return Response(status, headers, body)

    return handle


async def mirror(request: Request) -> Response:
    """Answers with what it was asked."""
    seen = {
        "method": request.method,
        "target": request.target,
        "body": request.body.decode(),
        "headers": {key.decode(): value.decode() for key, value in request.headers.items()},
    }
    return Response(200, (JSON,), json.dumps(seen).encode())


async def test_makes_the_request_that_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "Bearer canary-1")
    monkeypatch.setenv("THE_KEY", "canary-2&x={}")
    tools = {
        "update": {
            "description": "Update a thing",
            "method": "PUT",
            "path": "/things/{id}",
            "query": {"dry": "{dry}", "key": {"env": "THE_KEY"}},
            "body": {"name": "{name}", "tags": ["fixed", "{tag}"]},
            "headers": {"X-Which": "{which}", "X-Own": "1"},
            "input": {
                "type": "object",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string"},
                    "dry": {},
                    "name": {},
                    "tag": {},
                    "which": {},
                },
            },
        }
    }
    async with open_service(mirror) as url:
        headers = {"Authorization": {"env": "THE_TOKEN"}, "x-which": "agent"}
        async with open_agent(url + "/v1/", tools, headers=headers) as flow:
            result = await flow.call(
                "it.update",
                {"id": "a/b?c", "dry": True, "name": {"first": "é"}, "which": "tool"},
            )
            seen = result.structured
            assert json.loads(result.text) == seen
            assert seen["method"] == "PUT"
            assert seen["target"] == "/v1/things/a%2Fb%3Fc?dry=true&key=canary-2%26x%3D%7B%7D"
            assert json.loads(seen["body"]) == {"name": {"first": "é"}, "tags": ["fixed"]}
            sent = seen["headers"]
            assert sent["authorization"] == "Bearer canary-1"
            assert (sent["x-which"], sent["x-own"]) == ("tool", "1")
            assert sent["content-type"] == "application/json"
            [tool] = flow.agent("it").catalog.tools
            assert (tool.read_only, tool.idempotent) == (False, True)
            definition = json.loads(bytes(tool.definition))
            assert definition["description"] == "Update a thing"
            assert definition["inputSchema"] == tools["update"]["input"]
            assert "canary" not in json.dumps(flow.status())
            seen = (await flow.call("it.update", {"id": "a"})).structured
            assert seen["headers"]["x-which"] == "agent"
            with pytest.raises(InvalidArguments, match="'X-Which' can hold printable ASCII only"):
                await flow.call("it.update", {"id": "a", "which": "tool\r\nx: 1"})
            with pytest.raises(InvalidArguments, match="id"):
                await flow.call("it.update", {})
            with pytest.raises(UnknownTarget):
                await flow.call("it.delete", {})


async def test_the_trace_goes_on_with_the_request() -> None:
    async with open_service(mirror) as url, open_agent(url, {"get": {}}) as flow:
        reply = await flow.submit(
            Envelope(
                agent="it",
                name="get",
                params={},
                meta={
                    "traceparent": Raw(b'"00-%b-%b-01"' % (b"a" * 32, b"b" * 16)),
                    "tracestate": Raw(b'"bad\\r\\nx: y"'),
                    "baggage": Raw(b'"a=b"'),
                },
                deadline=trio.current_time() + 60,
            )
        )
        headers = json.loads(bytes(reply.result))["structuredContent"]["headers"]
        work = flow.telemetry.recent[-1].records()[-1]
        assert (work.name, work.trace_id) == ("execute_tool get", "a" * 32)
        assert headers["traceparent"] == f"00-{'a' * 32}-{work.span_id}-01"
        assert not {"tracestate", "baggage", "x"} & headers.keys()


@pytest.mark.parametrize(
    ("kind", "body", "content", "structured"),
    [
        (b"application/json", b'{"a":\n1}', [{"type": "text", "text": '{"a": 1}'}], {"a": 1}),
        (
            b"application/problem+json; charset=utf-8",
            b"[1]",
            [{"type": "text", "text": "[1]"}],
            {"result": [1]},
        ),
        (b"application/json", b'"word"', [{"type": "text", "text": "word"}], {"result": "word"}),
        (
            b"application/json",
            b"\xef\xbb\xbfnull",
            [{"type": "text", "text": "null"}],
            {"result": None},
        ),
        (b"text/plain; charset=ISO-8859-1", b"\xe9", [{"type": "text", "text": "é"}], None),
        (b"text/html; charset=no-such", b"\xc3\xa9", [{"type": "text", "text": "é"}], None),
        (b"text/html; charset=cp999", b"\xc3\xa9", [{"type": "text", "text": "é"}], None),
        (b"application/xml", b"<a/>", [{"type": "text", "text": "<a/>"}], None),
        (b"image/png", b"\0", [{"type": "image", "data": "AA==", "mimeType": "image/png"}], None),
        (b"audio/wav", b"\0", [{"type": "audio", "data": "AA==", "mimeType": "audio/wav"}], None),
        (b"application/json", b"", [], None),
    ],
)
async def test_an_answer_becomes_content_of_its_kind(
    kind: bytes, body: bytes, content: Any, structured: Any
) -> None:
    async with open_service(answering(200, body, (b"content-type", kind))) as url:
        async with open_agent(url, {"get": {}}) as flow:
            result = await flow.call("it.get")
            assert result.content == content
            assert result.structured == structured
            assert not result.is_error


async def test_an_answer_of_no_known_kind_is_a_resource() -> None:
    async with open_service(answering(200, b"\0\1")) as url:
        async with open_agent(url, {"get": {}}) as flow:
            [block] = (await flow.call("it.get")).content
            assert block == {
                "type": "resource",
                "resource": {"uri": url, "mimeType": "application/octet-stream", "blob": "AAE="},
            }


@pytest.mark.parametrize("status", [400, 401, 404, 422, 499])
async def test_an_error_of_the_callers_is_a_result_that_says_so(status: int) -> None:
    body = b"no such thing \xff" + b"x" * 100_000
    async with open_service(answering(status, body)) as url:
        async with open_agent(url, {"get": {"path": "/things"}}) as flow:
            for _ in range(2):
                result = await flow.call("it.get")
                assert result.is_error
                assert f"GET /things of agent 'it' was answered {status}" in result.text
                assert "no such thing" in result.text
                assert len(result.text) < 2200
                assert result.raw["_meta"] == {"io.flowcore/http-status": status}


@pytest.mark.parametrize(
    ("status", "retry_after", "error", "began", "seconds"),
    [
        (429, b"7", Overloaded, False, 7.0),
        (429, None, Overloaded, False, None),
        (503, b"3", AgentUnavailable, False, 3.0),
        (503, b"99999999999999999999", AgentUnavailable, False, 3600.0),
        (503, b"soon", AgentUnavailable, True, None),
        (503, None, AgentUnavailable, True, None),
        (500, None, UpstreamFailure, True, None),
        (502, b"1", UpstreamFailure, True, None),
        (301, None, UpstreamFailure, True, None),
        (304, None, UpstreamFailure, True, None),
    ],
)
async def test_a_failure_of_the_service_is_typed(
    status: int, retry_after: bytes | None, error: type[Any], began: bool, seconds: float | None
) -> None:
    headers = [(b"location", b"http://127.0.0.1:1/secret")]
    if retry_after is not None:
        headers.append((b"retry-after", retry_after))
    async with open_service(answering(status, b"", *headers)) as url:
        async with open_agent(url, {"get": {}}) as flow:
            with pytest.raises(error, match=str(status)) as caught:
                await flow.call("it.get")
            assert caught.value.began is began
            assert caught.value.retry_after == seconds
            assert caught.value.data == {"status": status}


async def test_a_date_to_come_again_is_seconds_from_now() -> None:
    date = formatdate(time() + 1000, usegmt=True).encode()
    async with open_service(answering(429, b"", (b"retry-after", date))) as url:
        async with open_agent(url, {"get": {}}) as flow:
            with pytest.raises(Overloaded) as caught:
                await flow.call("it.get")
            assert 900 < (caught.value.retry_after or 0) <= 1000


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "is not"),
        (b'"\xff"', "is not"),
        (b"[" * 1000 + b"]" * 1000, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"x" * 2000, "more than 1,024 bytes"),
    ],
)
async def test_an_answer_that_is_not_what_it_says_is_a_failure(body: bytes, text: str) -> None:
    most = "1KiB" if body.startswith(b"x") else "1MiB"
    async with open_service(answering(200, body, JSON)) as url:
        async with open_agent(url, {"get": {}}, max_response=most) as flow:
            with pytest.raises(UpstreamFailure, match=text):
                await flow.call("it.get")


@asynccontextmanager
async def open_rude(answer: bytes, *, stay: bool = False) -> AsyncGenerator[tuple[str, list[int]]]:
    """A server that reads a request, says just this, and closes (or stays); its URL, and how many came."""
    came: list[int] = []

    async def handle(stream: trio.SocketStream) -> None:
        came.append(1)
        async with stream:
            await stream.receive_some(65536)
            await stream.send_all(answer)
            if stay:
                while await stream.receive_some(65536):
                    came.append(1)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}", came
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", OutcomeUnknown),
        (b"HTTP/1.1 200 OK\r\ncontent-le", UpstreamFailure),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", UpstreamFailure),
        (b"220 smtp.example ESMTP\r\n\r\n", UpstreamFailure),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", UpstreamFailure),
        (b"x" * 100_000, UpstreamFailure),
    ],
)
async def test_a_server_that_breaks_off_or_speaks_no_http_is_a_typed_failure(
    answer: bytes, error: type[Exception]
) -> None:
    async with open_rude(answer) as (url, came):
        async with open_agent(url, {"post": {"method": "POST"}}) as flow:
            with pytest.raises(error):
                await flow.call("it.post")
            assert len(came) == 1


async def test_a_server_that_is_not_there_is_unavailable_and_nothing_began() -> None:
    async with open_rude(b"") as (url, _):
        pass
    async with open_agent(url, {"get": {}}) as flow:
        with pytest.raises(AgentUnavailable, match="no connection") as caught:
            await flow.call("it.get")
        assert not caught.value.began


async def test_a_server_that_does_not_answer_meets_the_deadline_and_sees_the_end() -> None:
    ended = trio.Event()

    async def hang(_request: Request) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with open_service(hang) as url, open_agent(url, {"get": {}}) as flow:
        with pytest.raises(DeadlineExceeded):
            await flow.call("it.get", deadline=0.5)
        await ended.wait()


async def test_connections_are_kept_and_many_calls_go_at_once() -> None:
    connections: set[int] = set()
    together = trio.Event()
    waiting = 0

    async def handle(request: Request) -> Response:
        nonlocal waiting
        connections.add(request.connection)
        if request.query == "n=0":
            waiting += 1
            if waiting == 20:
                together.set()
            await together.wait()
        return Response(200, (JSON,), b"{}")

    async with open_service(handle) as url, open_agent(url, {"get": {}}) as flow:
        for _ in range(10):
            await flow.call("it.get", {"n": 1})
        assert len(connections) == 1
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(flow.call, "it.get", {"n": 0})
        assert len(connections) == 20


async def test_what_is_safe_is_tried_again_and_what_is_not_is_not() -> None:
    tries: dict[str, int] = {}

    async def handle(request: Request) -> Response:
        tries[request.method] = tries.get(request.method, 0) + 1
        return Response(200 if tries[request.method] > 1 else 500, (JSON,), b"{}")

    tools = {"get": {}, "post": {"method": "POST"}}
    async with open_service(handle) as url:
        agent = {"type": "http", "url": url, "tools": tools}
        requests = {"retry": {"base": "1ms", "cap": "1ms"}}
        async with open_flow({"agent": {"it": agent}, "requests": requests}) as flow:
            await flow.wait_settled()
            assert (await flow.call("it.get")).structured == {}
            with pytest.raises(UpstreamFailure):
                await flow.call("it.post")
    assert tries == {"GET": 2, "POST": 1}


async def test_health_decides_whether_its_tools_are_there() -> None:
    well = True
    asked = trio.Event()

    async def handle(request: Request) -> Response:
        if request.target != "/health":
            return Response(200, (JSON,), b"{}")
        asked.set()
        return Response(200 if well else 503)

    async with open_service(handle) as url:
        async with open_agent(
            url,
            {"get": {}},
            health_url=f"{url}/health",
            heartbeat={"interval": "200ms", "misses": 2},
            restart={"base": "10ms", "cap": "10ms", "limit": 0},
        ) as flow:
            assert (await flow.call("it.get")).structured == {}
            async with flow.events() as events:
                for well, wanted in ((False, State.FAILED), (True, State.IDLE)):
                    while flow.agent("it").state is not wanted:
                        await events.receive()
                    if not well:
                        with pytest.raises(AgentUnavailable):
                            await flow.call("it.get")
            assert (await flow.call("it.get")).structured == {}
    assert asked.is_set()


async def test_a_service_that_is_not_well_at_the_start_is_failed_with_its_reason() -> None:
    async with open_service(answering(500)) as url:
        async with open_agent(url, {"get": {}}, health_url=f"{url}/health") as flow:
            assert flow.agent("it").state is State.FAILED
            assert f"{url}/health answered 500" in flow.agent("it").reason


async def test_a_health_url_elsewhere_is_not_told_our_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THE_TOKEN", "canary")
    seen: list[Request] = []

    async def health(request: Request) -> Response:
        seen.append(request)
        return Response(200)

    headers = {"authorization": {"env": "THE_TOKEN"}}
    async with open_service(health) as url, open_service(health) as elsewhere:
        for health_url in (url, elsewhere):
            async with open_agent(url, {"get": {}}, health_url=health_url, headers=headers):
                pass
    assert [request.headers.get(b"authorization") for request in seen] == [b"canary", None]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"url": "ftp://x"}, "it.url: expected an absolute http or https URL"),
        ({"url": "http://u:p@x/"}, "it.url: expected a URL without user and password"),
        ({"url": "http://x/?a=b"}, "it.url: expected an http or https URL without a query"),
        ({"tools": {}}, "it.tools: expected at least one tool"),
        ({"tools": {"a b": {}}}, "it.tools: expected the name of a tool"),
        ({"tools": {"a": {"path": "x"}}}, 'it.tools.a: expected a path that begins with "/"'),
        (
            {"tools": {"a": {"metod": "GET"}}},
            "it.tools.a.metod: unknown key, did you mean 'method'",
        ),
        ({"tools": {"a": {"method": "FETCH"}}}, "it.tools.a.method: unknown value"),
        ({"headers": {"authorization": "canary"}}, "it.headers: the header 'authorization'"),
        ({"health_url": "nowhere"}, "it.health_url: expected"),
    ],
)
async def test_a_wrong_configuration_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with open_agent(**{"url": "http://127.0.0.1", "tools": {"get": {}}, **settings}):
            pytest.fail("it was opened")
    assert text in str(caught.value)
    assert "canary" not in str(caught.value)
