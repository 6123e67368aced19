"""The official SDK at an edge that shows only the way to find tools, of which there are a thousand."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from mcp.client.stdio import StdioServerParameters

import mcp
from flowcore import open_flow
from mcp import types

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]
SHOWN = ["find_tools", "call_tool", "memory.put", "memory.search", "memory.get", "memory.delete"]
BOX = '''
from flowcore.native import tool

VERBS = "create delete list search update archive export import share rename".split()
THINGS = "invoice customer ticket event photo playlist recipe flight parcel contract".split()
PLACES = "Oslo Lima Accra Hanoi Quito Turin Malmo Perth Osaka Leeds".split()


class Box:
    pass


def made(verb, thing, place):
    async def one(self, name: str, note: str = "") -> str:
        return f"{verb} {thing} {place}: {name}"

    one.__name__ = f"{verb}_{thing}_{place.lower()}"
    one.__qualname__ = f"Box.{one.__name__}"
    one.__doc__ = f"""{verb.capitalize()} a {thing} in the office of {place}.

    Args:
        name: Which {thing}.
        note: What is to be noted of it.
    """
    return tool(one)


for verb in VERBS:
    for thing in THINGS:
        for place in PLACES:
            one = made(verb, thing, place)
            setattr(Box, one.__name__, one)
'''
Mode = Literal["auto", "legacy"]


def written(folder: pathlib.Path, edge: str) -> pathlib.Path:
    (folder / "box.py").write_text(BOX)
    path = folder / "flow.toml"
    path.write_text(
        f'[node]\ndata_dir = "{folder}/data"\n[router]\n[agent.office]\ntype = "python"\n'
        f'target = "{folder}/box.py:Box"\n{edge}'
    )
    return path


@asynccontextmanager
async def connected(
    folder: pathlib.Path, transport: str, mode: Mode, expose: str = "search"
) -> AsyncGenerator[mcp.Client]:
    if transport == "stdio":
        path = written(folder, f'[edge.client]\ntype = "mcp_stdio"\nexpose = "{expose}"\n')
        program = "from flowcore.cli.flowserve import main; main()"
        command = ["-c", program, "--config", str(path), "--log-level", "error"]
        target = StdioServerParameters(command=sys.executable, args=command, env={**os.environ})
        async with mcp.Client(target, mode=mode) as client:
            yield client
        return
    path = written(
        folder, f'[edge.client]\ntype = "mcp"\nbind = "127.0.0.1:0"\nexpose = "{expose}"\n'
    )
    async with open_flow(path) as flow:
        await flow.wait_settled()
        async with mcp.Client(flow.endpoints["client"][0], mode=mode) as client:
            yield client


def text_of(result: types.CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text


async def listed(client: mcp.Client) -> tuple[list[str], int]:
    """The names of all tools, and the bytes of their definitions."""
    names: list[str] = []
    size, cursor = 0, None
    while True:
        page = await client.list_tools(cursor=cursor)
        names += [one.name for one in page.tools]
        size += sum(
            len(one.model_dump_json(by_alias=True, exclude_none=True)) for one in page.tools
        )
        cursor = page.next_cursor
        if cursor is None:
            return names, size


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_a_client_finds_and_calls_one_of_a_thousand_tools(
    tmp_path: pathlib.Path, transport: str, mode: Mode
) -> None:
    async with connected(tmp_path, transport, mode) as client:
        names, size = await listed(client)
        assert names == SHOWN
        assert size < 6000
        assert client.instructions is not None
        assert "find_tools" in client.instructions
        found = await client.call_tool(
            "find_tools", {"query": "share a photo with our people in Oslo"}
        )
        told: dict[str, Any] = found.structured_content or {}
        assert told["known"]
        first = told["tools"][0]
        assert first["name"] == "office.share_photo_oslo"
        assert first["inputSchema"]["required"] == ["name"]
        call = {"name": first["name"], "arguments": {"name": "sunset"}}
        assert text_of(await client.call_tool("call_tool", call)) == "share photo Oslo: sunset"
        assert text_of(await client.call_tool(first["name"], {"name": "x"})).endswith(": x")
        by_its_bare_name = {"name": "find_tools", "arguments": {"query": "delete a flight", "k": 1}}
        again = await client.call_tool("call_tool", by_its_bare_name)
        assert len((again.structured_content or {})["tools"]) == 1
        for tool, arguments, said in (
            ("call_tool", {"name": first["name"], "arguments": {"nme": "x"}}, "'nme'"),
            ("call_tool", {"name": "office.no_such"}, "find_tools tells which there are"),
            ("call_tool", {"name": "call_tool"}, "call_tool cannot call itself"),
            ("call_tool", {}, '"name" is a required property'),
            ("find_tools", {"query": ""}, "expected a text that says something"),
            ("find_tools", {"query": "anything", "k": 99}, "expected a k of 1 to 16, not 99"),
            ("find_tools", {"query": "x" * 70_000}, "more than the 65536 bytes it may have"),
            ("memory.search", {"query": "x", "after": "soon"}, "expected a time"),
        ):
            wrong = await client.call_tool(tool, arguments)
            assert wrong.is_error, "a model is told what it did wrong"
            assert said in text_of(wrong)
        with pytest.raises(mcp.MCPError, match="unknown tool 'no_such'"):
            await client.call_tool("no_such", {})
        await client.call_tool("memory.put", {"text": "Anna likes tea", "key": "anna"})
        search = await client.call_tool("memory.search", {"query": "what does Anna like"})
        assert (search.structured_content or {})["found"][0]["key"] == "anna"


async def test_a_model_is_spared_nearly_all_of_a_thousand_definitions(
    tmp_path: pathlib.Path,
) -> None:
    """What docs/finding.md states: all definitions against those of six tools and of one search."""
    async with connected(tmp_path, "http", "auto", "all") as client:
        names, whole = await listed(client)
        assert len(names) > 1000
        found = await client.call_tool("flow.find_tools", {"query": "rename a recipe in Lima"})
        once = len(text_of(found))
    async with connected(tmp_path, "http", "auto") as client:
        _, few = await listed(client)
    assert 1 - (few + once) / whole > 0.97, (whole, few, once)
