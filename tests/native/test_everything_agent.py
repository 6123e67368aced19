"""The example that uses everything, called as an embedding program would."""

from __future__ import annotations

from pathlib import Path

import flowcore

EVERYTHING = Path(__file__).parents[2] / "examples" / "everything_agent.py"
CONFIG = {
    "agent": {"everything": {"type": "python", "target": str(EVERYTHING), "names": "bare"}},
}


async def test_its_whole_surface_is_on_offer() -> None:
    async with flowcore.open_flow(CONFIG) as flow:
        await flow.wait_settled()
        tools = {one.name for one in flow.directory.listing("tools").entries}
        assert {"test_simple_text", "test_tool_with_progress", "slow_compute"} <= tools
        resources = {one.name for one in flow.directory.listing("resources").entries}
        assert resources == {
            "test://static-text",
            "test://static-binary",
            "test://watched-resource",
        }
        assert len(flow.directory.listing("prompts").entries) == 5


async def test_tools_resources_and_prompts_answer() -> None:
    async with flowcore.open_flow(CONFIG) as flow:
        await flow.wait_settled()
        assert (await flow.call("test_simple_text")).text.startswith("This is a simple")
        assert (await flow.call("test_error_handling")).is_error
        mixed = await flow.call("test_multiple_content_types")
        assert [block["type"] for block in mixed.content] == ["text", "image", "resource"]
        read = await flow.read_resource("test://template/42/data")
        assert '"id":"42"' in read.raw["contents"][0]["text"]
        prompt = await flow.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        assert "arg1='a'" in prompt.raw["messages"][0]["content"]["text"]
