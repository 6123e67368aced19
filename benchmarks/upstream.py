"""A fast upstream of both eras with one tool: `python -m benchmarks.upstream stdio`, or `... http PORT`.

It does as little as can be, so that what is measured is who stands in front of it.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

HANDSHAKE, MODERN = "2025-11-25", "2026-07-28"
CAPABILITIES: dict[str, object] = {"tools": {}}
SELF = {"name": "echo", "version": "1"}
TOOL = {
    "name": "echo",
    "description": "Say it again.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}
_VERSION = "io.modelcontextprotocol/protocolVersion"
_SERVER = "io.modelcontextprotocol/serverInfo"


def answer(message: dict[str, Any]) -> bytes | None:
    """The response to one message, in the era it is written in; None to a notification."""
    if "id" not in message:
        return None
    params = message.get("params", {})
    modern = params.get("_meta", {}).get(_VERSION) == MODERN
    found = (_modern if modern else _handshake)(message.get("method"), params)
    if found is None:
        error = {"code": -32601, "message": "unknown method"}
        return msgspec.json.encode({"jsonrpc": "2.0", "id": message["id"], "error": error})
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message["id"], "result": found})


def _handshake(method: str | None, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "tools/call":
        return _echo(params)
    if method == "initialize":
        return {
            "protocolVersion": HANDSHAKE,
            "capabilities": CAPABILITIES,
            "serverInfo": SELF,
        }
    return {"tools/list": {"tools": [TOOL]}, "ping": {}}.get(method or "")


def _modern(method: str | None, params: dict[str, Any]) -> dict[str, Any] | None:
    complete = {"resultType": "complete"}
    if method == "tools/call":
        return complete | _echo(params)
    kept = complete | {"ttlMs": 60_000, "cacheScope": "public"}
    if method == "server/discover":
        versions = {"supportedVersions": [MODERN, HANDSHAKE], "capabilities": CAPABILITIES}
        return kept | versions | {"_meta": {_SERVER: SELF}}
    return kept | {"tools": [TOOL]} if method == "tools/list" else None


def _echo(params: dict[str, Any]) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": params["arguments"]["text"]}]}


def serve_stdio() -> None:
    """One line in, one line out."""
    for line in sys.stdin.buffer:
        response = answer(msgspec.json.decode(line))
        if response is not None:
            sys.stdout.buffer.write(response + b"\n")
            sys.stdout.buffer.flush()


def serve_http(port: int) -> None:
    """JSON answers, no sessions."""
    import trio

    from flowcore.config import Address
    from flowcore.http import Request, Response, open_http_server

    async def handle(request: Request) -> Response:
        if request.method != "POST":
            return Response(405)
        response = answer(msgspec.json.decode(request.body))
        if response is None:
            return Response(202)
        return Response(200, [(b"content-type", b"application/json")], response)

    async def main() -> None:
        async with open_http_server(handle, Address("127.0.0.1", port)):
            await trio.sleep_forever()

    trio.run(main)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        serve_stdio()
    else:
        serve_http(int(sys.argv[2]))
