"""What the official client does with the agent `Talkative`, wherever it is."""

from __future__ import annotations

from typing import Any

import pytest

import mcp
from mcp import types


async def answer_name(context: object, params: object) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": "Ann"})


async def answer_sample(context: object, params: object) -> types.CreateMessageResult:
    content = types.TextContent(type="text", text="model says")
    return types.CreateMessageResult(role="assistant", content=content, model="m")


async def use(client: mcp.Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert {"echo", "flow.status"} <= tools.keys()
    assert await text_of(client, "echo", text="x") == "x"
    assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"sum": 3}
    assert (await client.call_tool("fail", {})).is_error
    assert await text_of(client, "greet_elicited") == "hello, Ann"
    assert await text_of(client, "greet_by_rounds") == "hello, Ann after 1"
    assert await text_of(client, "sample") == "model says"
    seen: list[float] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    result = await client.call_tool("steps", {"count": 3}, progress_callback=progress)
    assert result.is_error is False
    assert seen == [1, 2, 3]
    read = await client.read_resource("test://items/7")
    content = read.contents[0]
    assert isinstance(content, types.TextResourceContents)
    assert content.text == "item 7"
    assert len((await client.list_resource_templates()).resource_templates) == 1
    prompt = await client.get_prompt("review", {"code": "x"})
    assert isinstance(prompt.messages[0].content, types.TextContent)
    reference = types.PromptReference(type="ref/prompt", name="review")
    completed = await client.complete(reference, {"name": "code", "value": "ru"})
    assert completed.completion.values == ["ruby"]
    with pytest.raises(mcp.MCPError) as caught:
        await client.call_tool("no_such_tool", {})
    assert caught.value.code == -32602


async def text_of(client: mcp.Client, tool: str, **arguments: Any) -> str:
    content = (await client.call_tool(tool, arguments)).content[0]
    assert isinstance(content, types.TextContent)
    return content.text
