"""One hop between two processes over mutual TLS 1.3: by a link, by HTTP, by TLS alone.

`python -m benchmarks.hop serve KIND FOLDER PORT` is the far side, `... call|small|large KIND FOLDER PORT
COUNT` the near one, which says what it measured as JSON. KIND is `link`, `http` or `tls`.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import time
from typing import Any

import trio

from flowcore.config import Address
from flowcore.http import (
    Certificates,
    ClientCertificates,
    ClientTlsSettings,
    Request,
    Response,
    TlsSettings,
    open_client,
    open_http_server,
)
from flowcore.swarm import MOST_CHUNK, Lane, Link, NodeTlsSettings, Stream
from flowcore.swarm.identity import Identity
from flowcore.swarm.links import Node, connect_tcp, open_links, open_ports

SIZE, SMALL = 256, 64
"""Bytes of a call and of its answer; of a small message."""
WARM = 500
CHUNK = bytes(MOST_CHUNK)


def identity(folder: pathlib.Path, name: str) -> Identity:
    """Of one side: `here` or `there`."""
    return Identity(NodeTlsSettings(cert=f"{name}.pem", key=f"{name}.key", ca="ca.pem"), folder)


class User:
    """What a side does with what comes: streams are sent back or swallowed, messages counted."""

    def __init__(self) -> None:
        self.count = 0
        self.told = trio.Event()

    def link_up(self, link: Link) -> None:
        """The links are asked."""

    def link_down(self, link: Link, reason: str) -> None:
        """The other side tells."""

    def message(self, link: Link, lane: Lane, message: bytes) -> None:
        self.count += 1
        if message[:4] == b"last":
            link.post(Lane.CONTROL, b"%d" % self.count)
            self.count = 0
        elif len(message) < SMALL:
            self.count = int(message)
            self.told.set()

    async def stream(self, link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        while (chunk := await stream.receive()) is not None:
            if lane is Lane.REQUESTS:
                await stream.send(chunk)
        await stream.finish()


# ---- the far side


async def serve(kind: str, folder: pathlib.Path, port: int) -> None:
    """Serve until killed."""
    if kind == "link":
        async with open_ports(f"127.0.0.1:{port}") as (listener, _, address):
            node = Node(cluster="benchmark", address=str(address))
            who, user = identity(folder, "there"), User()
            async with open_links(who, node, user, listeners=[listener], connect=connect_tcp):
                await trio.sleep_forever()
    elif kind == "http":
        async with open_http_server(
            _echo, Address("127.0.0.1", port), context=Certificates(_server_tls(), folder)
        ):
            await trio.sleep_forever()
    else:
        context = identity(folder, "there").context(server=True)
        await trio.serve_ssl_over_tcp(_swallow, port, context, host="127.0.0.1")


async def _echo(request: Request) -> Response:
    return Response(200, ((b"content-type", b"application/octet-stream"),), request.body)


async def _swallow(stream: trio.SSLStream[trio.SocketStream]) -> None:
    """Take all that comes, and say so at its end, which is a byte that is not 0."""
    with contextlib.suppress(trio.BrokenResourceError):  # whoever only looked if it listens
        while data := await stream.receive_some(65536):
            if data[-1]:
                await stream.send_all(b"!")


def _server_tls() -> TlsSettings:
    return TlsSettings(
        cert="there.pem", key="there.key", client_auth="required", client_ca="ca.pem"
    )


# ---- the near side


async def measure(what: str, kind: str, folder: pathlib.Path, port: int, count: int) -> Any:
    """What is to be measured: seconds of each call, or of all, with CPU seconds of this side."""
    if kind == "http":
        return await _calls_by_http(folder, port, count)
    if kind == "tls":
        return await _large_by_tls(folder, port, count)
    async with open_ports("127.0.0.1:0") as (listener, _, address):
        node, user = Node(cluster="benchmark", address=str(address)), User()
        who = identity(folder, "here")
        async with open_links(who, node, user, listeners=[listener], connect=connect_tcp) as links:
            link = await links.dial(f"127.0.0.1:{port}")
            links.want({"there": link.address})
            ways = {"call": _calls, "small": _small, "large": _large}
            return await ways[what](link, user, count)


async def _calls(link: Link, user: User, count: int) -> list[float]:
    took, body = [], bytes(SIZE)
    for _ in range(WARM + count):
        began = time.perf_counter()
        async with await link.open(Lane.REQUESTS, b"call") as stream:
            await stream.send(body)
            await stream.finish()
            while await stream.receive() is not None:
                pass
        took.append(time.perf_counter() - began)
    return took[WARM:]


async def _calls_by_http(folder: pathlib.Path, port: int, count: int) -> list[float]:
    tls = ClientTlsSettings(ca="ca.pem", cert="here.pem", key="here.key")
    took, body, url = [], bytes(SIZE), f"https://127.0.0.1:{port}/"
    async with open_client(context=ClientCertificates(tls, folder)) as client:
        for _ in range(WARM + count):
            began = time.perf_counter()
            answer = await client.request("POST", url, body=body)
            assert answer.body == body
            took.append(time.perf_counter() - began)
    return took[WARM:]


async def _small(link: Link, user: User, count: int) -> dict[str, float]:
    message, sent = bytes(SMALL), 1
    began, cpu = time.perf_counter(), time.process_time()
    while sent < count:
        for _ in range(256):
            sent += link.post(Lane.CONTROL, message)
        await trio.lowlevel.checkpoint()
    while not link.post(Lane.CONTROL, b"last" + bytes(SMALL)):
        await trio.lowlevel.checkpoint()
    await user.told.wait()
    return _spent(began, cpu, user.count)


async def _large(link: Link, user: User, count: int) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    async with await link.open(Lane.BULK, b"") as stream:
        for _ in range(count):
            await stream.send(CHUNK)
        await stream.finish()
        await stream.receive()
    return _spent(began, cpu, count * len(CHUNK))


async def _large_by_tls(folder: pathlib.Path, port: int, count: int) -> dict[str, float]:
    context = identity(folder, "here").context(server=False)
    stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
    await stream.do_handshake()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(count - 1):
        await stream.send_all(CHUNK)
    await stream.send_all(CHUNK[:-1] + b"\1")
    await stream.receive_some(1)
    spent = _spent(began, cpu, count * len(CHUNK))
    await trio.aclose_forcefully(stream)
    return spent


def _spent(began: float, cpu: float, amount: float) -> dict[str, float]:
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "amount": amount,
    }


if __name__ == "__main__":
    what, kind, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    if what == "serve":
        trio.run(serve, kind, folder, int(sys.argv[4]))
    else:
        found = trio.run(measure, what, kind, folder, int(sys.argv[4]), int(sys.argv[5]))
        print(json.dumps(found))
