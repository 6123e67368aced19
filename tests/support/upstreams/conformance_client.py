"""The client that the official conformance suite tests: one connection of an agent of type `mcp`.

Usage: conformance_client.py URL. The suite names the scenario in MCP_CONFORMANCE_SCENARIO.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import trio
from msgspec import Raw

from flowcore.errors import CallError
from support.upstreaming import Opened, RecordingPeer, envelope, opened, tool, value

CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))


class Accepting(RecordingPeer):
    """A client that accepts whatever it is asked, with the defaults that the form names."""

    async def request(self, method: str, params: Raw) -> Raw:
        form = json.loads(bytes(params)).get("requestedSchema", {}).get("properties", {})
        content = {name: field["default"] for name, field in form.items() if "default" in field}
        return Raw(json.dumps({"action": "accept", "content": content}).encode())


async def call(up: Opened, name: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    peer = Accepting({"elicitation": {"form": {}}, "sampling": {}, "roots": {}})
    reply = await up.worker.call(tool(name, peer=peer, more=more, **arguments))
    result: dict[str, Any] = value(reply)
    return result


async def everything(up: Opened) -> None:
    """Call, read and get all that is offered."""
    planned = CONTEXT.get("toolCalls")
    if planned is None:
        planned = [
            {"name": one.name, "arguments": {"a": 2, "b": 3}} for one in up.port.catalog.tools
        ]
    for one in planned:
        try:
            await call(up, one["name"], one.get("arguments", {}))
        except CallError as error:
            print(one["name"], error, file=sys.stderr)
    for resource in up.port.catalog.resources:
        await up.worker.call(envelope("resources/read", resource.uri, {"uri": resource.uri}))
    for prompt in up.port.catalog.prompts:
        await up.worker.call(envelope("prompts/get", prompt.name, {"name": prompt.name}))


async def round_trips(up: Opened) -> None:
    """Calls that are answered by questions, with another call in between."""
    for name in ("test_mrtr_echo_state", "test_mrtr_no_state"):
        asked = await call(up, name, {})
        assert asked["resultType"] == "input_required"
        await call(up, "test_mrtr_unrelated", {})
        accepted = {"action": "accept", "content": {"confirmed": True}}
        more: dict[str, Any] = {"inputResponses": dict.fromkeys(asked["inputRequests"], accepted)}
        if "requestState" in asked:
            more["requestState"] = asked["requestState"]
        await call(up, name, {}, **more)
    await call(up, "test_mrtr_no_result_type", {})


async def echo_schema(up: Opened) -> None:
    tools = {one.name: one for one in up.port.catalog.tools}
    schema = tools["json_schema_2020_12_tool"].input_schema
    assert schema is not None
    await call(up, "json_schema_echo", {"schema": json.loads(bytes(schema))})


async def main(url: str) -> None:
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    async with opened(url=url) as up:
        if scenario == "sep-2322-client-request-state":
            await round_trips(up)
        elif scenario == "json-schema-2020-12-preservation":
            await echo_schema(up)
        elif scenario not in ("request-metadata", "json-schema-ref-no-deref"):
            await everything(up)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
