"""FastMCP's proxy: `fastmcp_proxy.py default|shared PORT VERSION URL-or-COMMAND...`.

`default` is what `create_proxy(target)` makes, a client for each request; `shared` hands it a client that is
connected already, which it then uses for all.
"""

from __future__ import annotations

import asyncio
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy


async def main(kind: str, port: int, version: str, upstream: list[str]) -> None:
    """Serve until the process is ended."""
    program, *arguments = upstream
    mode = version if version >= "2026" else "legacy"
    target = (
        program if program.startswith("http") else StdioTransport(command=program, args=arguments)
    )
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "path": "/mcp",
        "show_banner": False,
        "stateless_http": True,
        "json_response": True,
        "log_level": "warning",
        "uvicorn_config": {"access_log": False},
    }
    if kind == "default":
        await create_proxy(target).run_http_async(**settings)
    else:
        async with Client(target, mode=mode) as client:
            await create_proxy(client).run_http_async(**settings)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
