"""flowserve as a server that a client starts: real processes, real pipes and files."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
import trio

from support.needs import ROOT

CONFIG = """
[node]
name = "stdio"
[agent.talk]
type = "python"
target = "support.talkative:Talkative"
names = "bare"
pool = { min = 1, max = 1, concurrency = 100 }
[edge.client]
type = "mcp_stdio"
"""
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}},
}
CALL = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "echo", "arguments": {"text": "hello"}},
}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}


@pytest.fixture
def command(tmp_path: pathlib.Path) -> list[str]:
    config = tmp_path / "flow.toml"
    config.write_text(CONFIG)
    program = "from flowcore.cli.flowserve import main; main()"
    return [sys.executable, "-c", program, "--config", str(config)]


def answers(output: bytes) -> dict[int, dict[str, object]]:
    """Every answer by id; each line of the output must be a message."""
    messages = [json.loads(line) for line in output.splitlines()]
    assert all(message["jsonrpc"] == "2.0" for message in messages)
    return {message["id"]: message["result"] for message in messages if "id" in message}


async def test_messages_through_pipes_are_answered_and_the_end_of_input_stops_flowserve(
    command: list[str],
) -> None:
    data = b"".join(json.dumps(one).encode() + b"\n" for one in (HELLO, CALL))
    with trio.fail_after(60):
        run = await trio.run_process(
            command, stdin=data, capture_stdout=True, capture_stderr=True, env=ENVIRONMENT
        )
    assert run.returncode == 0
    found = answers(run.stdout)
    assert found[1]["protocolVersion"] == "2025-11-25"
    assert found[2] == {"content": [{"type": "text", "text": "hello"}]}
    assert b"ready in" in run.stderr


async def test_messages_in_files_are_answered_into_files(
    command: list[str], tmp_path: pathlib.Path
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in (HELLO, CALL)))
    with source.open("rb") as stdin, target.open("wb") as stdout, trio.fail_after(60):
        await trio.run_process(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
    assert set(answers(target.read_bytes())) == {1, 2}


async def test_a_client_that_stops_reading_does_not_keep_flowserve_alive(
    command: list[str],
) -> None:
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send_all(json.dumps(HELLO).encode() + b"\n")
        assert b"protocolVersion" in await process.stdout.receive_some()
        await process.stdout.aclose()
        await process.stdin.send_all(json.dumps(CALL).encode() + b"\n")
        await process.stdin.aclose()
        assert await process.wait() == 0
