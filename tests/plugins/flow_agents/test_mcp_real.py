"""Real MCP servers from the registries, as they are."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec

import pytest
import trio

from flowcore.errors import UpstreamError
from support import needs
from support.ports import free_port
from support.upstreaming import Opened, RecordingPeer, envelope, opened, text, tool, value

EVERYTHING = "@modelcontextprotocol/server-everything"
FILESYSTEM = "@modelcontextprotocol/server-filesystem"


def python_server(module: str) -> tuple[str, ...]:
    needs.need(f"the Python package of {module}", find_spec(module) is not None)
    return ("python", "-m", module)


async def test_mcp_server_time() -> None:
    async with opened(command=python_server("mcp_server_time")) as up:
        assert {one.name for one in up.port.catalog.tools} == {"get_current_time", "convert_time"}
        reply = await up.call("get_current_time", timezone="Europe/Rome")
        assert reply.modern
        assert json.loads(text(reply))["timezone"] == "Europe/Rome"
        again = await up.call("get_current_time", timezone="Nowhere/Never")
        assert value(again)["isError"] is True
        await up.worker.ping()


async def test_mcp_server_git(tmp_path: pathlib.Path) -> None:
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    env = {**os.environ, **identity, "GIT_COMMITTER_EMAIL": "a@b"}
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first light"]):
        await trio.run_process([needs.program("git"), *arguments], cwd=tmp_path, env=env)
    command = (*python_server("mcp_server_git"), "--repository", str(tmp_path))
    async with opened(command=command, cwd=tmp_path) as up:
        assert len(up.port.catalog.tools) == 12
        log = await up.call("git_log", repo_path=str(tmp_path))
        assert "first light" in text(log)


@asynccontextmanager
async def everything_over_http(port: int) -> AsyncGenerator[str]:
    script = needs.npm(EVERYTHING) / "dist" / "index.js"
    env = {**os.environ, "PORT": str(port)}
    process = await trio.lowlevel.open_process(
        [needs.node(), str(script), "streamableHttp"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        said = b""
        while b"listening" not in said:
            more = await process.stderr.receive_some()
            assert more, said
            said += more
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_server_everything(transport: str) -> None:
    script = str(needs.npm(EVERYTHING) / "dist" / "index.js")
    if transport == "stdio":
        command = (needs.node(), script, "stdio")
        async with opened(command=command) as up:
            await use_everything(up)
    else:
        async with everything_over_http(free_port()) as url, opened(url=url) as up:
            await use_everything(up)


async def use_everything(up: Opened) -> None:
    catalog = up.port.catalog
    assert {"echo", "get-sum", "trigger-long-running-operation"} <= {t.name for t in catalog.tools}
    assert catalog.resources
    assert catalog.templates
    assert catalog.prompts
    assert catalog.instructions
    assert catalog.subscriptions
    assert text(await up.call("echo", message="hello")) == "Echo: hello"
    assert "5" in text(await up.call("get-sum", a=2, b=3))
    uri = catalog.resources[0].uri
    read = await up.worker.call(envelope("resources/read", uri, {"uri": uri}))
    assert value(read)["contents"][0]["uri"] == uri
    with pytest.raises(UpstreamError):
        await up.worker.call(envelope("resources/read", "demo://no", {"uri": "demo://no"}))
    prompt = await up.worker.call(
        envelope("prompts/get", "simple-prompt", {"name": "simple-prompt"})
    )
    assert value(prompt)["messages"]
    # progress
    peer = RecordingPeer()
    operation = tool(
        "trigger-long-running-operation",
        meta={"progressToken": "p"},
        peer=peer,
        duration=0.2,
        steps=2,
    )
    await up.worker.call(operation)
    progressed = [p["progress"] for method, p in peer.told if method == "notifications/progress"]
    assert progressed[:2] == [1, 2]
    # questions
    sampler = RecordingPeer(
        {"sampling": {}, "elicitation": {}},
        {"role": "assistant", "model": "m", "content": {"type": "text", "text": "a haiku"}},
    )
    sampled = await up.worker.call(
        tool("trigger-sampling-request", peer=sampler, prompt="a poem", maxTokens=9)
    )
    assert "a haiku" in text(sampled)
    elicited = RecordingPeer({"elicitation": {}}, {"action": "decline"})
    declined = await up.worker.call(tool("trigger-elicitation-request", peer=elicited))
    assert "declin" in text(declined).lower()
    # subscriptions
    await up.worker.call(envelope("resources/subscribe", uri, {"uri": uri}))
    await up.worker.call(envelope("resources/unsubscribe", uri, {"uri": uri}))
    # cancellation
    with trio.move_on_after(0.05) as scope:
        await up.call("trigger-long-running-operation", duration=60, steps=60)
    assert scope.cancelled_caught
    assert text(await up.call("echo", message="still here")) == "Echo: still here"
    await up.worker.ping()


async def test_server_filesystem(tmp_path: pathlib.Path) -> None:
    script = needs.npm(FILESYSTEM) / "dist" / "index.js"
    (tmp_path / "note.txt").write_text("written here")
    async with opened(command=(needs.node(), str(script), str(tmp_path))) as up:
        read = await up.call("read_text_file", path=str(tmp_path / "note.txt"))
        assert text(read) == "written here"
        outside = await up.call("read_text_file", path="/etc/passwd")
        assert value(outside)["isError"] is True


async def test_an_environment_is_given_and_nothing_else_is_inherited() -> None:
    script = needs.npm(EVERYTHING) / "dist" / "index.js"
    os.environ["FLOW_TEST_CANARY"] = "secret"
    try:
        command = (needs.node(), str(script), "stdio")
        async with opened(command=command, env={"GIVEN": "yes"}) as up:
            seen = text(await up.call("get-env"))
    finally:
        del os.environ["FLOW_TEST_CANARY"]
    assert '"GIVEN": "yes"' in seen
    assert "FLOW_TEST_CANARY" not in seen


async def test_no_server_needs_the_official_library_in_our_process() -> None:
    probe = (
        "import sys, flow_agents.mcp, flow_agents.mcp.source; "
        "sys.exit(any(name == 'mcp' or name.startswith('mcp.') for name in sys.modules))"
    )
    done = await trio.run_process([sys.executable, "-c", probe], check=False)
    assert done.returncode == 0
