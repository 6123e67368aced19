"""A raw MCP client over HTTP for tests: it sends what it is told to, right or wrong."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flowcore import Flow, open_flow
from flowcore.http import Client, ClientStream, SseDecoder, open_client
from flowcore.mcp import METHODS, encode_value
from support import canary

MODERN = "2026-07-28"
ACCEPT = "application/json, text/event-stream"
VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


@attrs.frozen
class Answer:
    """One HTTP answer: its status, headers and messages, one for JSON and any number for a stream."""

    status: int
    headers: Mapping[bytes, bytes]
    messages: list[dict[str, Any]]

    @property
    def last(self) -> dict[str, Any]:
        return self.messages[-1]

    @property
    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = self.last["result"]
        return result

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.last["error"]
        return error

    @property
    def text(self) -> str:
        return str(self.result["content"][0]["text"])

    @property
    def streamed(self) -> bool:
        return self.headers.get(b"content-type", b"").startswith(b"text/event-stream")


class Raw:
    """Sends single messages to one endpoint."""

    def __init__(self, url: str, client: Client) -> None:
        self.url = url
        self.client = client
        self.session: str | None = None
        self._ids = itertools.count(1)

    # ---- anything

    async def post(
        self, body: bytes | object, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer:
        """Send bytes (or an object as JSON) with the usual headers, each overridden by `headers`."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        pairs = {"Content-Type": "application/json", "Accept": ACCEPT, **(headers or {})}
        response = await self.client.request(
            method,
            self.url,
            headers=[(k.encode(), v.encode("latin-1")) for k, v in pairs.items() if v],
            body=data,
        )
        canary.check(response.body, "an answer")
        kind = response.headers.get(b"content-type", b"")
        if kind.startswith(b"text/event-stream"):
            events = SseDecoder().feed(response.body)
            messages = [json.loads(event.data) for event in events if event.data]
        else:
            messages = [json.loads(response.body)] if response.body else []
        return Answer(response.status, response.headers, messages)

    @asynccontextmanager
    async def stream(
        self, body: object, headers: Mapping[str, str], method: str = "POST"
    ) -> AsyncGenerator[Messages]:
        """The answer's messages one by one, as they come."""
        data = json.dumps(body).encode() if method == "POST" else b""
        pairs = {"Content-Type": "application/json", "Accept": ACCEPT, **headers}
        async with self.client.stream(
            method,
            self.url,
            headers=[(k.encode(), v.encode()) for k, v in pairs.items()],
            body=data,
        ) as stream:
            yield Messages(stream)

    # ---- 2026-07-28

    def modern(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        capabilities: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """A right request and its headers."""
        full = {
            **(params or {}),
            "_meta": {VERSION: MODERN, CAPABILITIES: capabilities or {}, **(meta or {})},
        }
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        known = METHODS.get(method)
        if known is not None and known.subject is not None and known.subject in full:
            headers["Mcp-Name"] = encode_value(full[known.subject])
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": full}, headers

    async def ask(
        self, method: str, params: Mapping[str, Any] | None = None, **more: Any
    ) -> Answer:
        """A right request of 2026-07-28."""
        body, headers = self.modern(method, params, **more)
        return await self.post(body, headers)

    async def call(
        self, tool: str, arguments: Mapping[str, Any] | None = None, **more: Any
    ) -> Answer:
        """`tools/call` in 2026-07-28."""
        return await self.ask("tools/call", {"name": tool, "arguments": arguments or {}}, **more)

    # ---- with a handshake

    def old(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A request of the versions before."""
        request: dict[str, Any] = {"jsonrpc": "2.0", "id": next(self._ids), "method": method}
        if params is not None:
            request["params"] = params
        return request

    def headers(self) -> dict[str, str]:
        """The headers of the session."""
        return {} if self.session is None else {"Mcp-Session-Id": self.session}

    async def initialize(
        self, version: str = "2025-11-25", capabilities: Mapping[str, Any] | None = None
    ) -> Answer:
        """Shake hands and keep the session."""
        info = {"name": "test", "version": "1"}
        params = {
            "protocolVersion": version,
            "capabilities": capabilities or {},
            "clientInfo": info,
        }
        answer = await self.post(self.old("initialize", params))
        session = answer.headers.get(b"mcp-session-id")
        self.session = None if session is None else session.decode()
        await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, self.headers())
        return answer

    async def ask_old(self, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """A request within the session, if there is one."""
        return await self.post(self.old(method, params), self.headers())

    async def call_old(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Answer:
        """`tools/call` within the session."""
        return await self.ask_old("tools/call", {"name": tool, "arguments": arguments or {}})


class Messages:
    """The messages of a stream."""

    def __init__(self, stream: ClientStream) -> None:
        self.status = stream.status
        self.last_id = ""
        """The id of the last event, for `Last-Event-ID`."""
        self.retry: int | None = None
        """The time to wait before coming back that was told last, in milliseconds."""
        self._stream = stream
        self._decoder = SseDecoder()
        self._waiting: Iterator[Any] = iter(())

    async def receive(self) -> bytes:
        """Bytes as they come."""
        return await self._stream.receive()

    async def next(self) -> dict[str, Any]:
        """The next message. Raises EOFError at the end."""
        while True:
            for event in self._waiting:
                self.last_id, self.retry = event.id, event.retry
                if not event.data:
                    continue
                message: dict[str, Any] = json.loads(event.data)
                return message
            data = await self._stream.receive()
            if not data:
                raise EOFError
            self._waiting = self._decoder.feed(data)


@asynccontextmanager
async def open_talkative(
    extra: Mapping[str, Any] | None = None,
    *,
    within: float = 60,
    auth: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
    **agent: Any,
) -> AsyncGenerator[tuple[Flow, Raw]]:
    """A flow with the agent `talk` behind an MCP edge, and a client of it; `more` are further tables."""
    config: dict[str, Any] = {
        "node": {"name": "test"},
        "auth": auth or {},
        "agent": {
            "talk": {
                "type": "python",
                "target": "support.talkative:Talkative",
                "pool": {"min": 1, "max": 1, "concurrency": 100},
                "names": "bare",
                **agent,
            }
        },
        "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0", **(extra or {})}},
        **(more or {}),
    }
    async with open_flow(config) as flow, open_client() as client:
        await flow.wait_settled()
        with trio.fail_after(within):
            yield flow, Raw(flow.endpoints["mcp"][0], client)
