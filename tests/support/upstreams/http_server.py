"""An MCP server over Streamable HTTP, in either era, with a tool for each thing an upstream may do."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from flowcore.config import Address
from flowcore.http import (
    Request,
    Response,
    Send,
    Server,
    Stream,
    encode_event,
    open_http_server,
)

META = "io.modelcontextprotocol/"
JSON = ((b"content-type", b"application/json"),)
EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"),)

Answer = Response | Stream
Emit = Callable[[dict[str, Any]], Awaitable[None]]


def encoded(message: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False).encode()


def result(number: Any, value: dict[str, Any]) -> Response:
    return Response(200, JSON, encoded({"id": number, "result": value}))


def error(number: Any, code: int, message: str, status: int = 200, data: Any = None) -> Response:
    problem = {"code": code, "message": message, **({} if data is None else {"data": data})}
    return Response(status, JSON, encoded({"id": number, "error": problem}))


def said(value: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}]}


class HttpUpstream:
    """The server's state, open to tests: what it was asked, and how it shall behave."""

    def __init__(self, *, modern: bool, sessions: bool = True, streams: bool = True) -> None:
        self.modern = modern
        self.with_sessions = sessions and not modern
        self.with_streams = streams and not modern
        self.seen: list[Request] = []
        self.messages: list[dict[str, Any]] = []
        self.sessions: set[str] = set()
        self.made = 0
        self.extra_tools: list[dict[str, Any]] = []
        self.cancelled: list[Any] = []
        self.disconnected: list[str] = []
        self.answers: dict[Any, dict[str, Any]] = {}
        self.subscribed: list[str] = []
        self.outlets: list[trio.MemorySendChannel[bytes]] = []
        self.listens: list[dict[str, Any]] = []
        self.replays: dict[str, list[bytes]] = {}
        self.deleted: list[str] = []
        self.unknown_session = Response(404)
        self.discover: Response | None = None
        self.demand: dict[str, str] = {}
        """Headers that a call must carry, else it is a mismatch."""
        self.news = trio.Event()
        self.url = ""

    def happened(self) -> None:
        self.news.set()
        self.news = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.news.wait()

    # ---- HTTP

    async def handle(self, request: Request) -> Answer:
        self.seen.append(request)
        self.happened()
        if request.path == "/moved":
            return Response(307, ((b"location", b"/mcp"),))
        session = request.headers.get(b"mcp-session-id", b"").decode()
        if request.method == "POST":
            message = json.loads(request.body)
            self.messages.append(message)
            first = message.get("method") in ("initialize", "server/discover")
            if self.with_sessions and not first and session not in self.sessions:
                return self.unknown_session
            return await self.message(request, message)
        if request.method == "DELETE":
            self.deleted.append(session)
            self.sessions.discard(session)
            self.happened()
            return Response(204)
        if self.with_sessions and session not in self.sessions:
            return self.unknown_session
        if not self.with_streams and b"last-event-id" not in request.headers:
            return Response(405)
        return self.get(request)

    def get(self, request: Request) -> Answer:
        last = request.headers.get(b"last-event-id", b"").decode()
        if last in self.replays:
            replay = self.replays.pop(last)

            async def run(send: Send) -> None:
                for event in replay:
                    await send(event)

            return Stream(200, EVENTS, run)
        return self.stream([])

    def stream(self, first: list[bytes]) -> Stream:
        """A stream that stays open, and gets what `broadcast` says."""
        send_channel, receive_channel = trio.open_memory_channel[bytes](math.inf)

        async def run(send: Send) -> None:
            self.outlets.append(send_channel)
            self.happened()
            try:
                await send(b": hello\n\n")
                for event in first:
                    await send(event)
                async for event in receive_channel:
                    if not event:
                        return
                    await send(event)
            finally:
                self.outlets.remove(send_channel)
                self.happened()

        return Stream(200, EVENTS, run)

    def broadcast(self, message: dict[str, Any] | bytes) -> None:
        """Say something on every open stream; b"" ends them."""
        event = message if isinstance(message, bytes) else encode_event(encoded(message))
        for outlet in self.outlets:
            outlet.send_nowait(event)

    # ---- MCP

    async def message(self, request: Request, message: dict[str, Any]) -> Answer:
        if "method" not in message:
            self.answers[message["id"]] = message
            self.happened()
            return Response(202)
        if "id" not in message:
            if message["method"] == "notifications/cancelled":
                self.cancelled.append(message["params"]["requestId"])
                self.happened()
            return Response(202)
        number, method = message["id"], message["method"]
        params = message.get("params", {})
        meta = params.get("_meta", {})
        if self.modern:
            if META + "protocolVersion" not in meta:
                return error(number, -32602, "no _meta", 400)
        elif META + "protocolVersion" in meta:
            return error(number, -32000, "Bad Request: Server not initialized", 400)
        answer = await self.answer(request, number, method, params)
        whole = isinstance(answer, Response) and answer.status == 200
        if self.modern and whole and params.get("name") != "raw":
            assert isinstance(answer, Response)
            body = json.loads(answer.body)
            if "result" in body:
                body["result"].setdefault("resultType", "complete")
                return Response(200, JSON, json.dumps(body).encode())
        return answer

    async def answer(
        self, request: Request, number: Any, method: str, params: dict[str, Any]
    ) -> Answer:
        capabilities = {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "logging": {},
        }
        match method:
            case "server/discover":
                return self.discover or result(
                    number, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities}
                )
            case "initialize":
                headers: list[tuple[bytes, bytes]] = list(JSON)
                if self.with_sessions:
                    self.made += 1
                    self.sessions.add(f"session-{self.made}")
                    headers.append((b"mcp-session-id", f"session-{self.made}".encode()))
                value = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": capabilities,
                    "serverInfo": {"name": "h", "version": "1"},
                }
                return Response(200, headers, encoded({"id": number, "result": value}))
            case "ping":
                return result(number, {})
            case "tools/list":
                echo = {"name": "echo", "inputSchema": {"type": "object"}}
                return result(number, {"tools": [echo, *self.extra_tools]})
            case "resources/list":
                return result(number, {"resources": [{"uri": "file:///a", "name": "a"}]})
            case "resources/templates/list":
                return error(number, -32601, "not here", 404 if self.modern else 200)
            case "resources/read":
                return result(number, {"contents": []})
            case "resources/subscribe":
                self.subscribed.append(params["uri"])
                return result(number, {})
            case "resources/unsubscribe":
                self.subscribed.remove(params["uri"])
                return result(number, {})
            case "logging/setLevel":
                return error(number, -32603, "not now")
            case "subscriptions/listen":
                wanted = params["notifications"]
                self.listens.append(wanted)
                acknowledged = {
                    "method": "notifications/subscriptions/acknowledged",
                    "params": {"_meta": {META + "subscriptionId": number}, "notifications": wanted},
                }
                return self.stream([encode_event(encoded(acknowledged))])
            case "tools/call":
                return await self.call(request, number, params)
        return error(number, -32601, "no method", 404 if self.modern else 200)

    async def call(self, request: Request, number: Any, params: dict[str, Any]) -> Answer:
        arguments = params.get("arguments", {})
        for name, expected in self.demand.items():
            if request.headers.get(name.encode(), b"").decode() != expected:
                return error(number, -32020, f"header {name}", 400)
        match params["name"]:
            case "echo":
                return result(number, said(arguments.get("text", "")))
            case "headers":
                headers = {k.decode(): v.decode() for k, v in request.headers.items()}
                return result(number, said(json.dumps(headers)))
            case "raw":  # an answer as a test wants it
                answer: Answer = arguments_of_raw[arguments["key"]](number)
                return answer
            case "hang":
                return self.hanging("hang")
            case "events":
                return self.events(number)
            case "ask":
                return self.asking(number, arguments)
            case "broken":
                return self.broken(number, arguments)
            case "expire":
                self.sessions.clear()
                return result(number, said("expired"))
        return error(number, -32602, "no such tool", 400 if self.modern else 200)

    def hanging(self, name: str) -> Stream:
        async def run(send: Send) -> None:
            try:
                await send(b": hanging\n\n")
                await trio.sleep_forever()
            finally:
                self.disconnected.append(name)
                self.happened()

        return Stream(200, EVENTS, run)

    def events(self, number: Any) -> Stream:
        async def run(send: Send) -> None:
            for step in (1, 2):
                params = {"progressToken": number, "progress": step}
                note = {"method": "notifications/progress", "params": params}
                await send(encode_event(encoded(note)))
            log = {"level": "info", "data": "hello"}
            await send(encode_event(encoded({"method": "notifications/message", "params": log})))
            await send(encode_event(encoded({"id": "stray", "result": {}})))
            await send(encode_event(b"not of ours", event="other"))
            await send(encode_event(encoded({"id": number, "result": said("done")})))
            await trio.sleep_forever()  # the answer ends it, whether we do or not

        return Stream(200, EVENTS, run)

    def asking(self, number: Any, arguments: dict[str, Any]) -> Stream:
        async def run(send: Send) -> None:
            question = {"id": "q1", "method": arguments["method"], "params": {"message": "?"}}
            await send(encode_event(encoded(question)))
            if self.modern:
                await send(encode_event(encoded({"id": number, "result": said("not asked")})))
                return
            await self.until(lambda: "q1" in self.answers)
            answer = self.answers.pop("q1")
            answer.pop("id")
            answer.pop("jsonrpc")
            await send(encode_event(encoded({"id": number, "result": said(json.dumps(answer))})))

        return Stream(200, EVENTS, run)

    def broken(self, number: Any, arguments: dict[str, Any]) -> Stream:
        """A stream that ends before its answer; the answer is to be had after the last event."""
        final = encode_event(encoded({"id": number, "result": said("resumed")}), id_="e9")
        self.replays["e1"] = [encode_event(b"", id_="e2", retry=1)]
        self.replays["e2"] = [final]
        if arguments.get("lost"):
            self.replays.clear()

        async def run(send: Send) -> None:
            if not arguments.get("nameless"):
                await send(encode_event(b"", id_="e1", retry=1))

        return Stream(200, EVENTS, run)


arguments_of_raw: dict[str, Callable[[Any], Answer]] = {}


@asynccontextmanager
async def serving(upstream: HttpUpstream, port: int = 0) -> AsyncGenerator[Server]:
    """Serve on loopback; `upstream.url` is set. `upstream.handle` may be replaced meanwhile."""

    async def handle(request: Request) -> Answer:
        return await upstream.handle(request)

    async with open_http_server(handle, Address("127.0.0.1", port)) as server:
        upstream.url = f"http://{server.addresses[0]}/mcp"
        yield server
