"""The TypeScript SDK's clients, of either era, against the HTTP edge."""

from __future__ import annotations

import json
from typing import Any

import trio

from support import needs
from support.mcp_client import open_talkative

CLIENTS = needs.ROOT / "tests" / "support" / "clients"


async def run(program: str, package: str) -> dict[str, Any]:
    """What a client found."""
    node, sdk = needs.node(), needs.npm(package)
    async with open_talkative() as (_, raw):
        command = [node, str(CLIENTS / program), raw.url, str(sdk)]
        done = await trio.run_process(command, capture_stdout=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


async def test_the_client_of_the_handshake_era_can_do_all_of_it() -> None:
    found = await run("typescript_v1.mjs", "@modelcontextprotocol/sdk")
    assert {"echo", "flow.status"} <= set(found.pop("tools"))
    assert found == {
        "version": "2025-11-25",
        "elicited": "hello, Ann",
        "sampled": "model says",
        "progress": [1, 2, 3],
        "prompt": 1,
        "misfit": True,
        "timeout": -32001,
        "told": ["notifications/resources/updated", "notifications/tools/list_changed"],
    }


async def test_the_client_of_2026_can_do_all_of_it() -> None:
    found = await run("typescript_v2.mjs", "@modelcontextprotocol/client")
    assert {"echo", "flow.status"} <= set(found.pop("tools"))
    assert found == {
        "version": "2026-07-28",
        "elicited": "hello, Ann",
        "rounds": "hello, Ann after 1",
        "sampled": "model says",
        "progress": [1, 2, 3],
        "mirrored": " zürich",
        "prompt": 1,
        "misfit": True,
        "unknown": -32602,
        "timeout": "REQUEST_TIMEOUT",
    }
