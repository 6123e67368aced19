"""An MCP server over HTTP, written with the official SDK: a stand-in for servers that run elsewhere.

python http_server.py 7310
"""

from __future__ import annotations

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("units")


@server.tool()
def convert_length(value: float, unit: str) -> dict[str, float]:
    """A length in metres, feet and miles; `unit` is "m", "ft" or "mi"."""
    metres = value * {"m": 1.0, "ft": 0.3048, "mi": 1609.344}[unit]
    return {"m": metres, "ft": metres / 0.3048, "mi": metres / 1609.344}


if __name__ == "__main__":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
