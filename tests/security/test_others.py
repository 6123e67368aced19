"""What belongs to somebody else, what an upstream may do, and what must keep a node from starting."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from support import canary
from support import fortress as site
from support.certificates import Authority
from support.fortress import STAFF, Fortress, Reply
from support.mcp_client import CAPABILITIES, MODERN, VERSION

FORWARDING = {
    "X-Forwarded-For": "127.0.0.1",
    "Forwarded": "for=127.0.0.1;proto=https;by=127.0.0.1",
    "X-Real-IP": "127.0.0.1",
    "X-Client-IP": "127.0.0.1",
    "True-Client-IP": "127.0.0.1",
    "CF-Connecting-IP": "127.0.0.1",
    "Via": "1.1 localhost",
}


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    folder = tmp_path_factory.mktemp("fortress")
    tight = """
[edge.tight]
type = "api"
bind = "127.0.0.1:0"
auth = ["staff"]
failed_logins = { rate = 0.01, burst = 3, wait = "10m", longest = "1h" }
"""
    with site.standing(folder, more=tight) as one:
        yield one


# ---- another principal's


def old(fortress: Fortress, who: str, message: object, session: str = "", **more: str) -> Reply:
    """A message of 2025-11-25."""
    body = json.dumps(message).encode()
    headers = {
        "MCP-Protocol-Version": "2025-11-25",
        "Mcp-Method": "",
        "Mcp-Name": "",
        "Mcp-Session-Id": session,
        **more,
    }
    return fortress.ask("plain", bearer=who, body=body, headers=headers)


def session_of(fortress: Fortress, who: str) -> str:
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    }
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    return old(fortress, who, asked).get("mcp-session-id")


def test_anothers_session_is_not_there_whatever_is_asked_of_it(fortress: Fortress) -> None:
    ann = fortress.token("plain", sub="ann")
    bob = fortress.token("plain", sub="bob")
    session = session_of(fortress, ann)
    assert session
    before = fortress.calls()
    none = old(fortress, bob, {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}, "no" * 16)
    for message in (
        {"jsonrpc": "2.0", "id": 7, "method": "tools/list"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": 1, "progress": 1},
        },
        {
            "jsonrpc": "2.0",
            "id": 7,
            "method": "tools/call",
            "params": {"name": "vault.open_safe", "arguments": {"name": "theirs"}},
        },
        {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept"}},
    ):
        reply = old(fortress, bob, message, session)
        assert reply.status == none.status == 404
        assert reply.json["error"]["message"] == none.json["error"]["message"]
    for method in ("GET", "DELETE"):
        headers = {
            "MCP-Protocol-Version": "2025-11-25",
            "Mcp-Session-Id": session,
            "Last-Event-ID": "1",
            "Accept": "text/event-stream",
        }
        assert fortress.ask("plain", method, bearer=bob, body=b"", headers=headers).status == 404
    assert old(fortress, "", {"jsonrpc": "2.0", "id": 2, "method": "ping"}, session).status == 401
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert old(fortress, ann, ping, session).status == 200
    assert fortress.calls() == before


def test_anothers_task_is_not_there(fortress: Fortress) -> None:
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        capabilities: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
        meta = {VERSION: MODERN, CAPABILITIES: capabilities}
        params = {"taskId": "no" * 16, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        reply = fortress.ask(
            "plain", bearer=STAFF, body=body, headers={"Mcp-Method": method, "Mcp-Name": "no" * 16}
        )
        assert reply.status in (400, 404)


# ---- messages that are not what they seem


def test_a_header_that_differs_from_the_body_is_refused(fortress: Fortress) -> None:
    before = fortress.calls()
    for told in (
        {"Mcp-Method": "tools/list"},
        {"Mcp-Method": "TOOLS/CALL"},
        {"Mcp-Method": ""},
        {"Mcp-Name": "vault.read_letter"},
        {"Mcp-Name": ""},
        {"MCP-Protocol-Version": "2025-11-25"},
    ):
        reply = fortress.ask("plain", bearer=STAFF, headers=told)
        assert reply.status == 400, told
        assert reply.json["error"]["code"] == -32020, told
    assert fortress.calls() == before


def test_batches_and_floods_of_json_are_refused(fortress: Fortress) -> None:
    before = fortress.calls()
    call = json.loads(site.call("plain"))
    call["params"]["arguments"]["name"] = "x"
    deep = b"[" * 100_000 + b"]" * 100_000
    for body, statuses in (
        (json.dumps([call]).encode(), {400}),
        (json.dumps([call] * 1000).encode(), {400}),
        (b"[]", {400}),
        (deep, {400}),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":%b}}' % deep, {400}),
        (b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % (b"9" * 100_000), {400}),
        (b"{" + b'"a":1,' * 10, {400}),
        (b"\xff\xfe", {400}),
        (b"", {400}),
        (b" " * (17 << 20), {413}),
    ):
        reply = fortress.ask("plain", bearer=STAFF, body=body)
        assert reply.status in statuses, body[:80]
        assert "result" not in reply.json if reply.status == 400 else True
    assert fortress.calls() == before


def test_an_instruction_in_a_tools_output_is_data(fortress: Fortress) -> None:
    before = fortress.calls()
    headers = {"Mcp-Name": "vault.read_letter"}
    body = site.call("plain", "vault.read_letter").replace(b'{"name": "mine"}', b"{}")
    reply = fortress.ask("plain", bearer=STAFF, body=body, headers=headers)
    assert "IGNORE ALL PREVIOUS" in reply.json["result"]["content"][0]["text"]
    assert reply.json["id"] == 1
    assert fortress.calls()[len(before) :] == ["read_letter"]


# ---- who is who


@pytest.mark.parametrize("header", FORWARDING)
def test_a_forwarding_header_of_a_stranger_is_not_believed(fortress: Fortress, header: str) -> None:
    """Neither for who is local, nor for whose logins failed, nor in the log."""
    fortress.audited()
    value = FORWARDING[header].replace("127.0.0.1", "192.0.2.7")
    assert fortress.ask("plain", bearer="flow_wrong", headers={header: value}).status == 401
    assert fortress.ask("plain", headers={header: FORWARDING[header]}).status == 401
    [denied] = [one for one in fortress.audited() if one["what"] == "denied"]
    assert denied["address"] == "127.0.0.1"


def test_who_guesses_waits_whatever_address_the_headers_name(fortress: Fortress) -> None:
    statuses = []
    for number in range(8):
        told = {"X-Forwarded-For": f"192.0.2.{number}", "Forwarded": f"for=192.0.2.{number}"}
        reply = fortress.ask(
            "tight", "GET", "/status", bearer=f"flow_guess{number}", headers=told, body=b""
        )
        statuses.append(reply.status)
    assert statuses == [401] * 4 + [429] * 4
    # a right guess tells nothing now
    reply = fortress.ask("tight", "GET", "/status", bearer=STAFF, body=b"")
    assert reply.status == 429
    assert int(reply.get("retry-after")) > 500


# ---- what must not start

AUTHORITY = Authority()


def test_a_key_file_that_others_can_read_keeps_a_node_from_starting(tmp_path: pathlib.Path) -> None:
    AUTHORITY.issue("127.0.0.1").write(tmp_path, "server", mode=0o644)
    tls = '[edge.x]\ntype = "mcp"\nbind = "127.0.0.1:0"\n'
    tls += 'tls = { cert = "server.pem", key = "server.key" }'
    assert "chmod it to 600" in site.refused(tmp_path, {}, tls)


def idp(**more: Any) -> dict[str, Any]:
    return {"idp": {"type": "jwt", "issuer": "https://i.example", **more}}


SAMPLE = "your-256-bit-secret-which-is-in-every-manual"
NO_START: dict[str, dict[str, Any]] = {
    "a secret in clear": idp(secret=canary.CANARY),
    "a sample secret": idp(secret={"env": "FLOW_SAMPLE"}),
    "an empty token": {
        "staff": {
            "type": "token",
            "tokens": [{"name": "x", "sha256": hashlib.sha256(b"flow_").hexdigest()}],
        }
    },
    "HS256 with a public key": idp(keys="jwks.json", algorithms=["HS256"]),
    "keys by plain http": idp(jwks_url="http://issuer.example/jwks"),
}


@pytest.mark.parametrize("case", NO_START)
def test_a_secret_that_is_none_keeps_a_node_from_starting(
    case: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOW_SAMPLE", SAMPLE)
    canary.keeps(tmp_path / "flow.toml")
    said = site.refused(tmp_path, NO_START[case])
    assert "flow.toml:" in said
    assert SAMPLE not in said
