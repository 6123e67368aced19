"""A little server of `/v1/embeddings`: its vectors are hashed words, and it can be told to misbehave."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flow_embedders.projection import Projection
from flowcore.http import Request, Response
from support.http_peer import serving

DIMENSIONS = 64
project = Projection(DIMENSIONS)
JSON = ((b"content-type", b"application/json"),)
Answer = Callable[[Any], Response | None]


def embeddings(texts: list[str]) -> dict[str, Any]:
    """A right answer, as OpenAI's API has it; vectors are not of length one, and as a model's never zero."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _vector(text)}
            for index, text in enumerate(texts)
        ],
        "model": "words",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }


def _vector(text: str) -> list[float]:
    found = 3 * project(text)
    if not found.any():  # there is no word in it
        found[0] = 1
    values: list[float] = found.tolist()
    return values


def answered(value: Any, status: int = 200, *headers: tuple[bytes, bytes]) -> Response:
    """An answer of JSON, or of bytes as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Response(status, (*JSON, *headers), body)


@attrs.define(eq=False)
class EmbeddingsServer:
    """What is known of an open one."""

    url: str = ""
    asked: list[dict[str, Any]] = attrs.field(factory=list)
    """The bodies of the requests that came."""
    headers: list[dict[bytes, bytes]] = attrs.field(factory=list)
    misbehave: Answer = lambda body: None
    """Given a request's body, another answer than the right one, if any."""
    wait: Callable[[], Any] | None = None
    running: int = 0
    most: int = 0
    """How many requests ran at one time."""

    async def answer(self, request: Request) -> Response:
        body = json.loads(request.body)
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.wait is not None:
                await self.wait()
            await trio.lowlevel.checkpoint()
            return self.misbehave(body) or answered(embeddings(body["input"]))
        finally:
            self.running -= 1


@asynccontextmanager
async def open_embeddings_server() -> AsyncGenerator[EmbeddingsServer]:
    """One on a free port of loopback."""
    server = EmbeddingsServer()
    async with serving(server.answer) as (_, address):
        server.url = f"http://{address}/v1/embeddings"
        yield server
