"""A proxy on the official SDK, on trio with hypercorn: `sdk_proxy.py PORT VERSION URL-or-COMMAND...`.

The SDK's client holds one session with the upstream, in the era of VERSION, and its low-level server
answers from it: the least that an author of a proxy would write.
"""

from __future__ import annotations

import sys

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.server.lowlevel import Server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams


def proxy(client: Client) -> Server[object]:
    """A server that answers from a client."""

    async def list_tools(context: object, params: PaginatedRequestParams | None) -> ListToolsResult:
        return await client.list_tools()

    async def call_tool(context: object, params: CallToolRequestParams) -> CallToolResult:
        return await client.call_tool(params.name, params.arguments)

    return Server("proxy", on_list_tools=list_tools, on_call_tool=call_tool)


async def main(port: int, version: str, upstream: list[str]) -> None:
    """Serve until the process is ended."""
    program, *arguments = upstream
    mode = version if version >= "2026" else "legacy"
    target = (
        program
        if program.startswith("http")
        else StdioServerParameters(command=program, args=arguments)
    )
    async with Client(target, mode=mode) as client:
        app = proxy(client).streamable_http_app(json_response=True, stateless_http=True)
        config = Config()
        config.bind = [f"127.0.0.1:{port}"]
        config.loglevel = "WARNING"
        await serve(app, config)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2], sys.argv[3:])
