"""Between a client and a real etcd: it passes on what is said, and lies, cuts or is silent when told to."""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from flowcore.config import Address
from flowcore.http import Client, Request, Response, Send, Stream, open_client, open_http_server

Lie = Callable[["Liar", Request], Awaitable[Response | Stream]]
JSON = ((b"content-type", b"application/json"),)


@attrs.define(eq=False)
class Liar:
    """What it is to do with the next requests of each path."""

    client: Client
    upstream: str
    lies: dict[str, deque[Lie]] = attrs.field(factory=dict)
    asked: dict[str, int] = attrs.field(factory=dict)
    url: str = ""
    tokens: bool = True
    """Whether it passes on who asks."""
    cut: trio.Event = attrs.field(factory=trio.Event)
    """Set to end the streams that are open."""

    def will(self, path: str, *lies: Lie) -> None:
        """Answer the next requests of a path like this, one after the other."""
        self.lies.setdefault(path, deque()).extend(lies)

    def cut_streams(self) -> None:
        self.cut.set()
        self.cut = trio.Event()

    async def handle(self, request: Request) -> Response | Stream:
        path = request.path
        self.asked[path] = self.asked.get(path, 0) + 1
        waiting = self.lies.get(path)
        if waiting and not self._asks_who_is_there(request):
            return await waiting.popleft()(self, request)
        return await self.truth(request)

    @staticmethod
    def _asks_who_is_there(request: Request) -> bool:
        """What a node does every few seconds, whatever a test is about."""
        if request.path != "/v3/kv/range":
            return False
        return base64.b64decode(json.loads(request.body)["key"]).endswith(b"/nodes/")

    async def truth(self, request: Request) -> Response | Stream:
        if request.path == "/v3/watch":
            return Stream(200, JSON, lambda send: self._pass_on(request, send))
        answer = await self.client.request(
            "POST", self.upstream + request.path, headers=self._own(request), body=request.body
        )
        return Response(answer.status, JSON, answer.body)

    def _own(self, request: Request) -> list[tuple[bytes, bytes]]:
        token = request.headers.get(b"authorization")
        return [(b"authorization", token)] if token is not None and self.tokens else []

    async def _pass_on(self, request: Request, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            cut = self.cut

            async def until_cut() -> None:
                await cut.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_cut)
            url = self.upstream + request.path
            async with self.client.stream(
                "POST", url, headers=self._own(request), body=request.body
            ) as stream:
                while piece := await stream.receive():
                    await send(piece)


def instead(status: int, body: bytes) -> Lie:
    """Answer so, and pass nothing on."""

    async def lie(liar: Liar, request: Request) -> Response:
        del liar, request
        await trio.lowlevel.checkpoint()
        return Response(status, JSON, body)

    return lie


def done_but(status: int, body: bytes) -> Lie:
    """Pass it on, and answer so: what came of it is lost."""

    async def lie(liar: Liar, request: Request) -> Response:
        await liar.truth(request)
        return Response(status, JSON, body)

    return lie


def done_but_cut(length: int) -> Lie:
    """Pass it on, and end the connection within the answer, after so many bytes."""

    async def lie(liar: Liar, request: Request) -> Stream:
        answer = await liar.truth(request)
        assert isinstance(answer, Response)

        async def run(send: Send) -> None:
            await send(answer.body[:length])
            raise trio.BrokenResourceError("cut by the test")

        return Stream(200, JSON, run)

    return lie


def changed(change: Callable[[bytes], bytes]) -> Lie:
    """Pass it on, and change the answer."""

    async def lie(liar: Liar, request: Request) -> Response:
        answer = await liar.truth(request)
        assert isinstance(answer, Response)
        return Response(answer.status, JSON, change(answer.body))

    return lie


def truly() -> Lie:
    """Do as one should."""

    async def lie(liar: Liar, request: Request) -> Response | Stream:
        return await liar.truth(request)

    return lie


async def silence(liar: Liar, request: Request) -> Response:
    """Pass nothing on, and say nothing."""
    del liar, request
    await trio.sleep_forever()


@asynccontextmanager
async def open_liar(upstream: str) -> AsyncGenerator[Liar]:
    """One before an etcd."""
    async with open_client() as client:
        liar = Liar(client, upstream)
        async with open_http_server(liar.handle, Address("127.0.0.1", 0)) as server:
            liar.url = f"http://{server.addresses[0]}"
            yield liar
