"""The worker of an HTTP agent: each call is a request."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flow_agents.http.answers import result_of, unsuccessful
from flow_agents.http.tools import CompiledTool
from flowcore.agents import FENCE, Traced
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    FlowError,
    OutcomeUnknown,
    UnknownMethod,
    UnknownTarget,
    UpstreamFailure,
)
from flowcore.http import Client, ClientStream, ConnectFailed, HttpError
from flowcore.requests import Envelope, Reply
from flowcore.telemetry import SpanKind

Headers = tuple[tuple[bytes, bytes], ...]
ERROR_BODY = 4096
"""Bytes of an unsuccessful answer's body that are read."""


class HttpWorker:
    """Makes requests. All calls of an agent share one, and its client's connections."""

    def __init__(
        self,
        agent: str,
        client: Client,
        url: str,
        tools: Mapping[str, CompiledTool],
        headers: Mapping[str, Headers],
        *,
        max_response: int,
        health: tuple[str, Headers] | None,
    ) -> None:
        self._agent = agent
        self._client = client
        self._url = url
        self._tools = tools
        self._headers = headers
        self._max_response = max_response
        self._health = health
        self.traced = Traced(
            SpanKind.CLIENT,
            attributes={"network.transport": "tcp", "network.protocol.name": "http"},
        )
        """How its calls are recorded."""

    async def call(self, envelope: Envelope) -> Reply:
        """Do one request."""
        if envelope.method != "tools/call":
            raise UnknownMethod(f"agent {self._agent!r} does not answer {envelope.method!r}")
        tool = self._tools.get(envelope.name)
        if tool is None:
            raise UnknownTarget(f"agent {self._agent!r} has no tool {envelope.name!r}")
        arguments = envelope.arguments
        content = tool.content(arguments)
        url = self._url + tool.target(arguments)
        headers = [*self._headers[tool.name], *_trace(envelope)]
        if tool.varying:
            own = tool.headers(arguments)
            headers = [*(pair for pair in headers if pair[0] not in own), *own.items()]
        if content is not None:
            headers.append((b"content-type", content[0]))
        body = b"" if content is None else content[1]
        # what is shown of a request is its template: its query may hold a secret
        what = f"{tool.settings.method} {tool.settings.path or '/'} of agent {self._agent!r}"
        try:
            async with self._client.stream(
                tool.settings.method, url, headers=headers, body=body
            ) as answer:
                return await self._read(answer, what)
        except HttpError as error:
            raise self._failure(error, what) from error

    async def _read(self, answer: ClientStream, what: str) -> Reply:
        status = answer.status
        if not 200 <= status < 300:
            body = await _beginning(answer, ERROR_BODY)
            return Reply(unsuccessful(status, answer.headers, body, what))
        parts: list[bytes] = []
        size = 0
        while piece := await answer.receive():
            size += len(piece)
            if size > self._max_response:
                raise UpstreamFailure(
                    f"{what}: the answer has more than {self._max_response:,} bytes"
                )
            parts.append(piece)
        return Reply(result_of(b"".join(parts), answer.headers, self._url))

    def _failure(self, error: HttpError, what: str) -> CallError:
        data = {"agent": self._agent}
        if isinstance(error, ConnectFailed):
            return AgentUnavailable(f"{what}: {error}", data=data)
        if error.silent:
            return OutcomeUnknown(f"{what}: {error}", data=data)
        return UpstreamFailure(f"{what}: {error}", data=data)

    async def ping(self) -> None:
        """Ask the health URL, where there is one. Raises FlowError for any answer from 400 on."""
        if self._health is None:
            return
        url, headers = self._health
        async with self._client.stream("GET", url, headers=headers) as answer:
            await _beginning(answer, ERROR_BODY)
            if answer.status >= 400:
                raise FlowError(f"{url} answered {answer.status}")


async def _beginning(answer: ClientStream, most: int) -> bytes:
    """The first bytes of a body: all of a short one, so that its connection can be used again."""
    body = b""
    while len(body) <= most and (piece := await answer.receive()):
        body += piece
    return body[: most + 1]


def _trace(envelope: Envelope) -> Headers:
    """The W3C trace context as headers; and, of a singleton, the number it runs under, as `flow-fence`."""
    pairs = []
    fence = envelope.meta.get(FENCE)
    if fence is not None:
        pairs.append((b"flow-fence", bytes(fence)))
    for name in ("traceparent", "tracestate"):
        raw = envelope.meta.get(name)
        value = None if raw is None else msgspec.json.decode(raw)
        if isinstance(value, str) and value.isascii() and value.isprintable():
            pairs.append((name.encode(), value.encode()))
    return tuple(pairs)
