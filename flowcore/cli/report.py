"""What flowserve says when it has started: what runs, where, and how to connect."""

from __future__ import annotations

import json
from typing import Any

from flowcore.cli.tables import colour, table


def endpoints_report(status: dict[str, Any], seconds: float) -> str:
    """Where the node can be reached, and what to paste into a client."""
    lines = [
        colour(f"flowcore {status['version']}", "bold")
        + f"  node {status['node']}, ready in {seconds:.2f} s",
        "",
    ]
    for name, urls in status["endpoints"].items():
        lines.extend(f"  {name:10} {url}" for url in urls)
    swarm = status["swarm"]
    if swarm is not None:
        lines.append(f"  {'swarm':10} {swarm['address']} ({swarm['cluster']}, {swarm['topology']})")
    url = _mcp_url(status)
    if url is not None:
        snippet = json.dumps({"mcpServers": {status["node"]: {"type": "http", "url": url}}})
        lines += ["", "  connect an MCP client with:", "", f"    {snippet}"]
    return "\n".join(lines)


def _mcp_url(status: dict[str, Any]) -> str | None:
    for urls in status["endpoints"].values():
        for url in urls:
            if url.startswith("http") and url.endswith("/mcp"):
                return str(url)
    return None


def agents_report(status: dict[str, Any]) -> str:
    """The agents, one a line, with why one is not well."""
    rows = [
        [
            one["name"],
            one["type"],
            one["state"],
            str(one["offers"]["tools"]),
            str(one["offers"]["resources"] + one["offers"]["templates"]),
            str(one["offers"]["prompts"]),
            one["reason"],
        ]
        for one in status["agents"]
    ]
    return table(["agent", "type", "state", "tools", "resources", "prompts", ""], rows, state=2)
