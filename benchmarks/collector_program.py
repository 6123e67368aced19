"""A collector that takes OTLP over HTTP, and counts what comes: what it costs is not the sender's.

Usage: python -m benchmarks.collector_program PORT [SECONDS before each answer]
"""

from __future__ import annotations

import sys

import trio

from flowcore.config import Address
from flowcore.http import Request, Response, open_http_server

HEADERS = [(b"content-type", b"application/x-protobuf")]


async def serve(port: int, wait: float = 0.0) -> None:
    """Answer until the process is ended."""
    requests = size = 0

    async def handle(request: Request) -> Response:
        nonlocal requests, size
        if request.method == "GET":
            return Response(200, [], b"%d %d" % (requests, size))
        await trio.sleep(wait)
        requests, size = requests + 1, size + len(request.body)
        return Response(200, HEADERS, b"")

    async with open_http_server(handle, Address("127.0.0.1", port)):
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
