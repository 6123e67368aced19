"""A fast upstream with one tool, `echo`: `python -m benchmarks.upstream stdio`, or `... http PORT`."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

TOOL = {
    "name": "echo",
    "description": "Say it again.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}


def answer(message: dict[str, Any]) -> bytes | None:
    """The response to one message of a handshake-era client; None to a notification."""
    method, params = message.get("method"), message.get("params", {})
    if "id" not in message:
        return None
    result: dict[str, Any] = {}
    if method == "initialize":
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echo", "version": "1"},
        }
    elif method == "tools/list":
        result = {"tools": [TOOL]}
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": params["arguments"]["text"]}]}
    elif method != "ping":
        error = {"code": -32601, "message": "unknown method"}
        return msgspec.json.encode({"jsonrpc": "2.0", "id": message["id"], "error": error})
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message["id"], "result": result})


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


def serve_sdk(port: int) -> None:
    """The same tool on the official SDK's own server, stateless, with JSON answers: a peer."""
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("echo")

    @server.tool()
    async def echo(text: str) -> str:
        """Say it again."""
        return text

    server.run(
        "streamable-http", host="127.0.0.1", port=port, stateless_http=True, json_response=True
    )


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        serve_stdio()
    elif sys.argv[1] == "sdk":
        serve_sdk(int(sys.argv[2]))
    else:
        serve_http(int(sys.argv[2]))
