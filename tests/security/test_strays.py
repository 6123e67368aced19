"""Whoever tries names that are not there, or not there now, leaves a line for each in the audit log."""

from __future__ import annotations

import hashlib
import json

import pytest

from support import fortress as site
from support.fortress import STAFF, Fortress

NONE = "vault.open_all"


@pytest.mark.parametrize("edge", ["mcp", "plain", "api", "bare"])
def test_a_call_of_what_is_not_there_is_written_down(fortress: Fortress, edge: str) -> None:
    fortress.audited()
    headers = {"Mcp-Name": NONE} if edge in ("mcp", "plain") else {}
    reply = fortress.ask(edge, bearer=STAFF, body=site.call(edge, NONE, name="x"), headers=headers)
    assert "unknown tool" in str(reply.json["error"])
    [line] = fortress.audited()
    told = {key: line[key] for key in ("what", "principal", "edge", "agent", "name", "outcome")}
    assert told == {
        "what": "call",
        "principal": "staff",
        "edge": edge,
        "agent": "",
        "name": NONE,
        "outcome": "refused",
    }
    assert line["error"] == "UnknownTarget"
    given = json.dumps({"name": "x"})  # as it was sent
    assert line["arguments"] == hashlib.sha256(given.encode()).hexdigest()


def test_a_resource_a_prompt_and_a_completion_that_are_not_there_are_too(
    fortress: Fortress,
) -> None:
    fortress.audited()
    asked = {
        "resources/read": {"uri": "file:///etc/passwd"},
        "prompts/get": {"name": "no.such"},
        "completion/complete": {
            "ref": {"type": "ref/prompt", "name": "no.such"},
            "argument": {"name": "a", "value": "b"},
        },
    }
    for method, params in asked.items():
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        old = {"MCP-Protocol-Version": "2025-11-25", "Mcp-Method": "", "Mcp-Name": ""}
        reply = fortress.ask("plain", bearer=STAFF, headers=old, body=body.encode())
        assert "error" in reply.json
    assert [(one["method"], one["name"], one["outcome"]) for one in fortress.audited()] == [
        ("resources/read", "file:///etc/passwd", "refused"),
        ("prompts/get", "no.such", "refused"),
        ("completion/complete", "no.such", "refused"),
    ]


def test_a_call_of_a_paused_agent_is_written_down(fortress: Fortress) -> None:
    def steer(what: str) -> int:
        target = f"/agents/vault/{what}"
        return fortress.ask("bare", "POST", target, bearer=STAFF, body=b"{}").status

    assert steer("pause") == 200
    try:
        fortress.audited()
        fortress.ask("mcp", bearer=STAFF)
        [line] = fortress.audited()
        assert (line["name"], line["outcome"]) == ("vault.open_safe", "refused")
        assert line["error"] == "AgentUnavailable"
    finally:
        assert steer("resume") == 200
