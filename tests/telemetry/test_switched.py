"""Tracing is switched off and on by a reload: what is under way is recorded to its end, or never was."""

from __future__ import annotations

import pathlib

import trio

from flowcore import open_flow
from flowcore.http import open_client
from support import relaying
from support.mcp_client import Raw as McpClient

CONFIG = """
[telemetry]
enabled = {enabled}
sampling = 1.0

[agent.it]
type = "python"
target = "support.relaying:relay"

[edge.mcp]
type = "mcp"
bind = "127.0.0.1:0"
"""


async def test_tracing_is_switched_while_calls_are_under_way(tmp_path: pathlib.Path) -> None:
    path = trio.Path(tmp_path / "flow.toml")
    await path.write_text(CONFIG.format(enabled="true"))
    names = ["tools/call relay", "invoke_agent it", "execute_tool relay"]
    async with open_flow(tmp_path / "flow.toml") as flow, open_client() as http:
        await flow.wait_settled()
        client = McpClient(flow.endpoints["mcp"][0], http)

        async def switch(to: str) -> None:
            """What the call does: to be what it is told to be; then it fails, if it is to."""
            enabled, _, fails = to.partition(" ")
            await path.write_text(CONFIG.format(enabled=enabled))
            reloaded = await flow.reload(tmp_path / "flow.toml")
            assert (reloaded.applied, reloaded.restart) == (("telemetry.enabled",), ())
            assert (flow.telemetry.status()["traces"] is not None) == (enabled == "true")
            if fails:
                raise RuntimeError("as it was asked to")

        async def call(to: str) -> list[tuple[list[str], bool]]:
            """The traces that are remembered after a call that switches."""
            wanted = {"name": "it.relay", "arguments": {"text": to}}
            body, headers = client.modern("tools/call", wanted)
            answer = await client.post(body, headers)
            assert ("error" in answer.last or "isError" in answer.result) == ("fails" in to)
            recent = flow.telemetry.recent
            return [([x.name for x in one.records()], one.any_failed) for one in recent]

        relaying.ask[:] = [switch]
        # what began while it was on is recorded whole, and what began while it was off is not
        assert await call("false") == [(names, False)]
        assert await call("true") == [(names, False)]
        assert await call("false fails") == [(names, False), (names, True)]
        assert await call("true fails") == [(names, False), (names, True)]
        assert flow.telemetry.tracer.begun == 2
