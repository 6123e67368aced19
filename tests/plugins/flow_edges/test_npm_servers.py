"""configs/npm.toml: the reference servers from npm, all that they offer, through both edges."""

from __future__ import annotations

import os
import pathlib
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import pytest
import trio
from mcp.client.stdio import StdioServerParameters

import mcp
from flowcore import open_flow
from mcp import types
from support.needs import ROOT, npm

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]

CONFIG = ROOT / "configs" / "npm.toml"
DATA = "data:text/plain;base64,aGVsbG8="
EVERYTHING: dict[str, tuple[dict[str, Any], str]] = {
    "echo": ({"message": "é"}, "Echo: é"),
    "get-annotated-message": ({"messageType": "error", "includeImage": True}, "Error"),
    "get-env": ({}, "PATH"),
    "get-resource-links": ({"count": 2}, "resource_link"),
    "get-resource-reference": ({"resourceType": "Blob", "resourceId": 2}, "blob"),
    "get-structured-content": ({"location": "Chicago"}, "temperature"),
    "get-sum": ({"a": 2, "b": 40}, "42"),
    "get-tiny-image": ({}, "image/png"),
    "gzip-file-as-resource": ({"name": "a.gz", "data": DATA, "outputType": "resource"}, "gzip"),
    "toggle-simulated-logging": ({}, "simulated"),
    "toggle-subscriber-updates": ({}, "updates"),
    "trigger-long-running-operation": ({"duration": 0.02, "steps": 2}, "completed"),
    "get-roots-list": ({}, "roots"),
    "trigger-elicitation-request": ({}, "declined"),
    "trigger-url-elicitation": ({"url": "https://a.example/x"}, "decline"),
    "trigger-sampling-request": ({"prompt": "hi"}, "model says"),
}


def files(folder: pathlib.Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Calls of every tool of the server of files, in an order that makes sense."""

    def at(name: str) -> str:
        return str(folder / name)

    return {
        "list_allowed_directories": ({}, re.escape(str(folder))),
        "create_directory": ({"path": at("made")}, "Successfully created"),
        "write_file": ({"path": at("made/a.txt"), "content": "one\ntwo"}, "Successfully wrote"),
        "read_file": ({"path": at("made/a.txt"), "head": 1}, "one"),
        "read_text_file": ({"path": at("made/a.txt"), "tail": 1}, "two"),
        "edit_file": (
            {"path": at("made/a.txt"), "edits": [{"oldText": "two", "newText": "три"}]},
            "три",
        ),
        "read_multiple_files": ({"paths": [at("made/a.txt"), at("made/none")]}, "ENOENT"),
        "read_media_file": ({"path": at("dot.png")}, "image/png"),
        "list_directory": ({"path": at("made")}, r"\[FILE\] a.txt"),
        "list_directory_with_sizes": ({"path": at("made"), "sortBy": "size"}, "Total: 1 files"),
        "directory_tree": ({"path": str(folder)}, "dot.png"),
        "search_files": ({"path": str(folder), "pattern": "**/*.txt"}, "a.txt"),
        "get_file_info": ({"path": at("made/a.txt")}, "isFile: true"),
        "move_file": (
            {"source": at("made/a.txt"), "destination": at("b.txt")},
            "Successfully moved",
        ),
    }


@attrs.define(eq=False)
class Asked:
    """Answers what is asked, and counts it."""

    times: int = 0

    async def elicit(self, context: object, params: object) -> types.ElicitResult:
        self.times += 1
        return types.ElicitResult(action="decline")

    async def sample(self, context: object, params: object) -> types.CreateMessageResult:
        self.times += 1
        text = types.TextContent(text="model says hi")
        return types.CreateMessageResult(role="assistant", content=text, model="m")

    async def roots(self, context: object) -> types.ListRootsResult:
        self.times += 1
        root = types.Root.model_validate({"uri": "file:///home/ann", "name": "home"})
        return types.ListRootsResult(roots=[root])


@asynccontextmanager
async def served(over: str, folder: pathlib.Path) -> AsyncGenerator[Any]:
    """The configuration with the server of files let into one folder: a URL, or how to start it."""
    node = ROOT / ".node" / "node_modules"
    server = npm("@modelcontextprotocol/server-filesystem") / "dist" / "index.js"
    command = f'["{node}/node/bin/node", "{server}", "{folder}"]'
    overrides = [f"agent.files.command={command}", "edge.api.bind=127.0.0.1:0"]
    overrides += ["edge.mcp.bind=127.0.0.1:0"]
    if over == "http":
        async with open_flow(CONFIG, overrides=overrides) as flow:
            await flow.wait_settled()
            yield flow.endpoints["mcp"][0]
        return
    overrides.append('edge.stdio={ type = "mcp_stdio", settle = "30s" }')
    words = [word for one in overrides for word in ("--set", one)]
    program = "from flowcore.cli.flowserve import main; main()"
    yield StdioServerParameters(
        command=sys.executable,
        args=["-c", program, "--config", str(CONFIG), "--log-level", "error", *words],
        env=dict(os.environ),
    )


@pytest.mark.parametrize(("over", "mode"), [("http", "auto"), ("stdio", "legacy")])
async def test_each_of_their_tools_resources_and_prompts_can_be_used(
    over: str, mode: Literal["auto", "legacy"], tmp_path: pathlib.Path
) -> None:
    npm("@modelcontextprotocol/server-everything")
    (tmp_path / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    asked = Asked()
    with trio.fail_after(60):
        async with served(over, tmp_path) as target:
            async with mcp.Client(
                target,
                mode=mode,
                elicitation_callback=asked.elicit,
                sampling_callback=asked.sample,
                list_roots_callback=asked.roots,
            ) as client:
                await use(client, tmp_path)
    assert asked.times >= 4


async def use(client: mcp.Client, folder: pathlib.Path) -> None:
    calls = {f"files.{name}": call for name, call in files(folder).items()}
    for agent in ("everything", "remote"):
        calls |= {f"{agent}.{name}": call for name, call in EVERYTHING.items()}
    listed = {tool.name for tool in (await client.list_tools()).tools}
    assert listed - calls.keys() == {
        *("flow.agents", "flow.broadcast", "flow.status"),
        *("everything.simulate-research-query", "remote.simulate-research-query"),
    }
    for name, (arguments, expected) in calls.items():
        result = await client.call_tool(name, arguments)
        assert not result.is_error, (name, result)
        assert re.search(expected, result.model_dump_json(by_alias=True)), (name, result)
    try:  # it works as a task only: of the extension, which this client has not, or of what was before
        refused = await client.call_tool("everything.simulate-research-query", {"topic": "x"})
    except mcp.MCPError as error:
        assert error.code == -32021
    else:
        assert refused.is_error
    resources = (await client.list_resources()).resources
    assert len(resources) > 5
    for uri in (*(str(one.uri) for one in resources), "demo://resource/dynamic/text/3"):
        assert (await client.read_resource(uri)).contents, uri
    templates = (await client.list_resource_templates()).resource_templates
    assert len(templates) == 2
    prompts = (await client.list_prompts()).prompts
    assert len(prompts) == 8
    for prompt in prompts:
        given = {one.name: PROMPTED[one.name] for one in prompt.arguments or ()}
        assert (await client.get_prompt(prompt.name, given)).messages, prompt.name


PROMPTED = {
    "city": "Graz",
    "state": "Styria",
    "department": "Sales",
    "name": "Eve",
    "resourceType": "Text",
    "resourceId": "2",
}
