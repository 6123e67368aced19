"""The TypeScript SDK's clients, of either era, against both edges."""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from support import needs
from support.mcp_client import open_talkative

CLIENTS = needs.ROOT / "tests" / "support" / "clients"


CONFIG = """
[agent.talk]
type = "python"
target = "support.talkative:Talkative"
names = "bare"
pool = { min = 1, max = 1, concurrency = 100 }
[edge.client]
type = "mcp_stdio"
"""


@asynccontextmanager
async def open_target(over: str, folder: pathlib.Path) -> AsyncGenerator[str]:
    """What the client is told to connect to."""
    if over == "http":
        async with open_talkative() as (_, raw):
            yield raw.url
        return
    config = folder / "flow.toml"
    config.write_text(CONFIG)
    program = "from flowcore.cli.flowserve import main; main()"
    args = ["-c", program, "--config", str(config), "--log-level", "error"]
    env = {**os.environ, "PYTHONPATH": str(needs.ROOT / "tests")}
    yield json.dumps({"command": sys.executable, "args": args, "env": env, "stderr": "ignore"})


async def run(program: str, package: str, over: str, folder: pathlib.Path) -> dict[str, Any]:
    """What a client found."""
    node, sdk = needs.node(), needs.npm(package)
    with trio.fail_after(60):
        async with open_target(over, folder) as target:
            command = [node, str(CLIENTS / program), target, str(sdk)]
            done = await trio.run_process(command, capture_stdout=True)
            found: dict[str, Any] = json.loads(done.stdout)
    if over == "stdio":
        # these clients handle an answer before the notifications that were read together with it
        assert found["progress"] == [1, 2, 3][: len(found["progress"])]
        found["progress"] = [1, 2, 3]
    found["told"] = sorted(
        {*found.get("told", ())}
    )  # tools are listed anew when agents have started
    return found


@pytest.mark.parametrize("over", ["http", "stdio"])
async def test_the_client_of_the_handshake_era_can_do_all_of_it(
    over: str, tmp_path: pathlib.Path
) -> None:
    found = await run("typescript_v1.mjs", "@modelcontextprotocol/sdk", over, tmp_path)
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


@pytest.mark.parametrize("over", ["http", "stdio"])
async def test_the_client_of_2026_can_do_all_of_it(over: str, tmp_path: pathlib.Path) -> None:
    found = await run("typescript_v2.mjs", "@modelcontextprotocol/client", over, tmp_path)
    assert {"echo", "flow.status"} <= set(found.pop("tools"))
    assert found == {
        "version": "2026-07-28",
        "elicited": "hello, Ann",
        "rounds": "hello, Ann after 1",
        "sampled": "model says",
        "progress": [1, 2, 3],
        "mirrored": " zürich",
        "told": [],
        "prompt": 1,
        "misfit": True,
        "unknown": -32602,
        "timeout": "REQUEST_TIMEOUT",
    }
