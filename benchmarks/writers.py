"""Clients that write, one request after the other each, over connections that stay.

    python -m benchmarks.writers KIND PORT CLIENTS SECONDS   as fast as they can; what it came to, as JSON
    python -m benchmarks.writers serve                       a server that answers and does nothing; its port

`KIND` says how a write looks: `etcd` by its JSON gateway, `ours` and `pysyncobj` as `raft_node` takes it.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from benchmarks.raft_node import SIZE
from flowcore.config import Address
from flowcore.http import Limits, Request, Response, open_http_server

_VALUE = "v" * SIZE


class Refused(Exception):
    """A write was answered, and is none."""


class Connection:
    """One connection; one request at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer. Raises Refused, ConnectionError, trio.BrokenResourceError."""
        await self._stream.send_all(request)
        data = await self._more()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += await self._more()
        length = 0
        for line in data[:end].lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(data) < end + 4 + length:
            data += await self._more()
        if data[9:12] != b"200":
            raise Refused(data[end + 4 :].decode())
        return data[end + 4 :]

    async def _more(self) -> bytes:
        data = await self._stream.receive_some()
        if not data:
            raise ConnectionError("the node has closed the connection")
        return bytes(data)


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[Connection]:
    """A connection to a port of this machine. Raises OSError."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        yield Connection(stream)


def request(method: str, path: str, body: Any = None) -> bytes:
    """A request as bytes."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(data) + data


def write(kind: str, key: str) -> bytes:
    """A write of one key, as a kind of node takes it."""
    if kind == "etcd":
        body = {
            "key": base64.b64encode(key.encode()).decode(),
            "value": base64.b64encode(_VALUE.encode()).decode(),
        }
        return request("POST", "/v3/kv/put", body)
    return request("POST", "/put", {"key": key, "value": _VALUE})


async def load(kind: str, port: int, clients: int, seconds: float) -> dict[str, Any]:
    """Seconds that each write took that was acknowledged, and how many were not."""
    took: list[float] = []
    refused = 0
    ends = trio.current_time() + seconds

    async def client(number: int) -> None:
        nonlocal refused
        count = 0
        async with connected(port) as connection:
            while (began := trio.current_time()) < ends or not took:
                count += 1
                # of 100 keys each, so that what is kept does not grow with who is fastest
                try:
                    await connection.ask(write(kind, f"{number}/{count % 100}"))
                except Refused:
                    refused += 1
                else:
                    took.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(client, number)
    return {"took": took, "refused": refused}


async def serve() -> None:
    """Answer everybody, for ever."""

    async def answer(request: Request) -> Response:
        del request
        return Response(200, body=b"{}")

    async with open_http_server(answer, Address("127.0.0.1", 0), limits=Limits()) as server:
        print(server.addresses[0].port, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        trio.run(serve)
    made = trio.run(load, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    print(json.dumps(made))
