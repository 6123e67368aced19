"""Who may come in over HTTP, and what those are told that may not: over real sockets."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import mcp
from flowcore import Flow, open_flow
from flowcore.http import open_client
from support import doorkeeper, tokens
from support.mcp_client import Answer, Raw

WELL_KNOWN = "/.well-known/oauth-protected-resource"
pytestmark = [
    # the official client's own HTTP library leaves async generators to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]


@asynccontextmanager
async def open_guarded(
    guard: dict[str, Any] | None = None, **edge: Any
) -> AsyncGenerator[tuple[Flow, Raw]]:
    shelf = {"type": "shelf", "closed": ["add", "status", "test://static"]}
    config = {
        "plugins": {"files": [doorkeeper.__file__]},
        "auth": {"badges": {"type": "badge"}},
        "guard": {"shelf": guard or shelf},
        "agent": {
            "talk": {
                "type": "python",
                "target": "support.talkative:Talkative",
                "pool": {"min": 1, "max": 1, "concurrency": 100},
                "names": "bare",
            }
        },
        "edge": {
            "mcp": {
                "type": "mcp",
                "bind": "127.0.0.1:0",
                "auth": ["badges"],
                "guards": ["shelf"],
                **edge,
            }
        },
    }
    async with open_flow(config) as flow, open_client() as client:
        await flow.wait_settled()
        with trio.fail_after(60):
            yield flow, Raw(flow.endpoints["mcp"][0], client)


def badge(client: Raw, who: str = "ann:", audience: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {who}@{audience or client.url}"}


async def ask(client: Raw, badge: dict[str, str], method: str, **params: Any) -> Answer:
    body, headers = client.modern(method, params)
    return await client.post(body, {**headers, **badge})


def challenge(answer: Answer) -> str:
    return answer.headers[b"www-authenticate"].decode()


async def test_who_brings_nothing_is_told_where_to_get_a_token() -> None:
    async with open_guarded() as (_, client):
        origin = client.url.removesuffix("/mcp")
        metadata = f'resource_metadata="{origin}{WELL_KNOWN}/mcp"'
        for method in ("POST", "GET", "DELETE", "PUT"):
            answer = await client.post(b"{}", {"Mcp-Session-Id": "x"}, method)
            assert (answer.status, answer.error["code"]) == (401, -31057)
            assert challenge(answer) == f'Bearer scope="tools:use", {metadata}'
        for body in (client.old("ping"), client.modern("tools/list")[0], [client.old("ping")]):
            assert (await client.post(body)).status == 401


async def test_who_brings_a_wrong_token_is_told_that_it_is_wrong() -> None:
    async with open_guarded() as (_, client):
        wrong = badge(client, audience="http://127.0.0.1:1/mcp")
        answer = await client.post(client.old("ping"), wrong)
        assert answer.status == 401
        told = f'error="invalid_token", error_description="this badge is not for {client.url}"'
        assert told in challenge(answer)


async def test_a_client_cannot_choose_its_audience_by_the_host_it_names() -> None:
    async with open_guarded() as (_, client):
        port = client.url.rpartition(":")[2].partition("/")[0]
        for host, resource, status in (
            (f"localhost:{port}", f"http://localhost:{port}/mcp", 200),
            ("localhost:1", "http://localhost:1/mcp", 401),
            ("127.0.0.2:1", "http://127.0.0.2:1/mcp", 401),
        ):
            headers = {"Host": host, **badge(client, audience=resource)}
            assert (await client.post(client.old("ping"), headers)).status == status
    async with open_guarded(public_url="https://flow.example/tools") as (_, client):
        right = badge(client, audience="https://flow.example/tools")
        assert (await client.post(client.old("ping"), right)).status == 200
        refused = await client.post(client.old("ping"), badge(client))
        assert f"https://flow.example{WELL_KNOWN}/tools" in challenge(refused)


@pytest.mark.parametrize("suffix", ["", "/mcp"])
async def test_the_page_about_the_resource_says_who_gives_out_tokens(suffix: str) -> None:
    async with open_guarded(title="my flow") as (_, client):
        page = Raw(client.url.removesuffix("/mcp") + WELL_KNOWN + suffix, client.client)
        answer = await page.post(b"", {}, "GET")
        assert answer.status == 200
        assert answer.last == {
            "resource": client.url,
            "authorization_servers": ["https://issuer.example"],
            "scopes_supported": ["tools:use"],
            "bearer_methods_supported": ["header"],
            "resource_name": "my flow",
        }
        assert (await page.post(b"{}")).status == 405
        other = Raw(page.url + "/other", client.client)
        assert (await other.post(b"", {}, "GET")).status == 404


async def test_what_lacks_a_scope_is_refused_with_the_scope_it_needs() -> None:
    async with open_guarded() as (_, client):
        call = {"name": "add", "arguments": {"a": 1, "b": 2}}
        refused = await ask(client, badge(client), "tools/call", **call)
        assert (refused.status, refused.error["code"]) == (403, -31058)
        assert 'error="insufficient_scope", scope="closed:use"' in challenge(refused)
        assert "resource_metadata=" in challenge(refused)
        old = client.old("tools/call", {**call, "_meta": {"progressToken": 1}})
        assert (await client.post(old, badge(client))).status == 403
        granted = badge(client, "ann:closed:use")
        done = await ask(client, granted, "tools/call", **call)
        assert done.result["structuredContent"] == {"sum": 3}


async def test_lists_and_notifications_have_what_the_principal_may_use() -> None:
    async with open_guarded() as (_, client):
        for who, has in (("ann:", False), ("bob:closed:use", True), ("eve:", False)):
            mine = badge(client, who)
            tools = [one["name"] for one in (await ask(client, mine, "tools/list")).result["tools"]]
            assert "echo" in tools
            assert ("add" in tools) is has
            assert ("flow.status" in tools) is has
            unknown = await ask(client, mine, "tools/call", name="ad", arguments={})
            assert unknown.error["message"] == "unknown tool 'ad'"
            listed = (await ask(client, mine, "resources/list")).result["resources"]
            assert bool(listed) is has
            body, headers = client.modern(
                "subscriptions/listen",
                {"notifications": {"resourceSubscriptions": ["test://static"]}},
            )
            async with client.stream(body, {**headers, **mine}) as stream:
                honoured = (await stream.next())["params"]["notifications"]
                assert honoured == ({"resourceSubscriptions": ["test://static"]} if has else {})


async def test_a_resource_is_subscribed_to_in_the_name_of_who_wants_it() -> None:
    async with open_guarded() as (_, client):
        mine = badge(client, "bob:closed:use")
        params = {"protocolVersion": "2025-11-25", "capabilities": {}}
        begun = await client.post(client.old("initialize", params), mine)
        session = {"Mcp-Session-Id": begun.headers[b"mcp-session-id"].decode()}
        subscribe = client.old("resources/subscribe", {"uri": "test://static"})
        assert (await client.post(subscribe, {**mine, **session})).result == {}
        less = {**badge(client, "bob:"), **session}
        leave = client.old("resources/unsubscribe", subscribe["params"])
        assert (await client.post(leave, less)).result == {}
        refused = await client.post(client.old("resources/subscribe", subscribe["params"]), less)
        assert refused.error["code"] == -32002


async def test_a_session_is_of_the_principal_that_began_it() -> None:
    async with open_guarded() as (_, client):
        ann, bob = badge(client), badge(client, "bob:")
        params = {"protocolVersion": "2025-11-25", "capabilities": {}}
        begun = await client.post(client.old("initialize", params), ann)
        session = {"Mcp-Session-Id": begun.headers[b"mcp-session-id"].decode()}
        assert (await client.post(client.old("ping"), {**ann, **session})).result == {}
        for method in ("POST", "GET", "DELETE"):
            body = client.old("ping") if method == "POST" else b""
            assert (await client.post(body, {**bob, **session}, method)).status == 404
        assert (await client.post(client.old("ping"), session)).status == 401
        more = badge(client, "ann:closed:use")
        call = client.old("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
        assert (await client.post(call, {**ann, **session})).status == 403
        assert (await client.post(call, {**more, **session})).status == 200


async def test_tasks_and_parked_calls_are_of_the_principal_that_began_them() -> None:
    async with open_guarded() as (_, client):
        ann, bob = badge(client), badge(client, "bob:")
        can: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}

        async def asked(who: dict[str, str], method: str, params: dict[str, Any]) -> Answer:
            body, headers = client.modern(method, params, capabilities=can)
            return await client.post(body, {**headers, **who})

        made = await asked(ann, "tools/call", {"name": "job", "arguments": {"steps": 1}})
        task = {"taskId": made.result["taskId"]}
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            assert (await asked(bob, method, task)).error["code"] == -32602
        assert (await asked(ann, "tasks/get", task)).result["status"] == "completed"
        can = {"elicitation": {}}
        call = {"name": "greet_elicited", "arguments": {}}
        parked = (await asked(ann, "tools/call", call)).result
        answers = {key: {"action": "decline"} for key in parked["inputRequests"]}
        retry = {**call, "requestState": parked["requestState"], "inputResponses": answers}
        assert (await asked(bob, "tools/call", retry)).error["code"] == -32602
        assert (await asked(ann, "tools/call", retry)).text == "hello, whoever you are (decline)"


async def test_whoever_guesses_is_made_to_wait() -> None:
    async with open_guarded(failed_logins={"burst": 2, "rate": 0.001}) as (_, client):
        wrong = badge(client, audience="nowhere")
        statuses = [(await client.post(client.old("ping"), wrong)).status for _ in range(4)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        refused = await client.post(client.old("ping"), badge(client))
        assert (refused.status, int(refused.headers[b"retry-after"]) >= 1) == (429, True)


async def test_what_no_scope_would_allow_asks_for_none() -> None:
    rules = [{"allow": ["talk.echo"]}, {"allow": ["talk.add"], "scopes": ["adder"]}]
    permissions = {"type": "permissions", "rules": rules}
    async with open_guarded(guard=permissions) as (_, client):
        mine = badge(client)
        echoed = await ask(client, mine, "tools/call", name="echo", arguments={"text": "x"})
        assert echoed.text == "x"
        refused = await ask(client, mine, "tools/call", name="fail", arguments={})
        assert (refused.status, b"www-authenticate" in refused.headers) == (403, False)
        refused = await ask(client, mine, "tools/call", name="add", arguments={"a": 1, "b": 1})
        assert 'error="insufficient_scope", scope="adder"' in challenge(refused)
        tools = (await ask(client, mine, "tools/list")).result["tools"]
        assert [one["name"] for one in tools] == ["echo"]


async def test_tokens_of_an_issuer_open_the_door_they_are_meant_for(tmp_path: pathlib.Path) -> None:
    key = tokens.SigningKey("EdDSA")
    (tmp_path / "jwks.json").write_bytes(tokens.jwks(key))
    jwt = {
        "type": "jwt",
        "issuer": tokens.ISSUER,
        "keys": str(tmp_path / "jwks.json"),
        "scopes": ["tools:use", "lists:read"],
    }
    config = {
        "auth": {"jwt": jwt},
        "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0", "auth": ["jwt"]}},
    }
    async with open_flow(config) as flow, open_client() as http:
        client = Raw(flow.endpoints["mcp"][0], http)
        page = Raw(client.url.removesuffix("/mcp") + WELL_KNOWN, http)
        document = (await page.post(b"", {}, "GET")).last
        assert document["authorization_servers"] == [tokens.ISSUER]
        assert document["scopes_supported"] == jwt["scopes"]

        async def status(**claims: Any) -> tuple[int, str]:
            payload = tokens.claims(
                **{"aud": client.url, "scope": "lists:read tools:use", **claims}
            )
            bearer = {"Authorization": f"Bearer {tokens.token(key, payload).decode()}"}
            answer = await client.post(client.old("tools/list"), bearer)
            return answer.status, "" if answer.status == 200 else challenge(answer)

        assert await status() == (200, "")
        assert (await status(aud="https://elsewhere.example/mcp"))[0] == 401
        refused, told = await status(scope="lists:read")
        assert refused == 403
        assert 'error="insufficient_scope", scope="tools:use lists:read"' in told
        assert (await client.post(client.old("ping"))).status == 401


async def test_the_official_client_comes_in_with_a_token() -> None:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    async with open_guarded() as (_, raw):
        for mode in ("auto", "legacy"):
            async with httpx2.AsyncClient(headers=badge(raw)) as http:
                transport = streamable_http_client(raw.url, http_client=http)
                async with mcp.Client(transport, mode=mode) as client:
                    names = [tool.name for tool in (await client.list_tools()).tools]
                    assert "echo" in names
                    assert "add" not in names
                    with pytest.raises(mcp.MCPError) as caught:
                        await client.call_tool("add", {"a": 1, "b": 2})
                    assert caught.value.code == -31058
