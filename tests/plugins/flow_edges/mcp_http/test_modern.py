"""Clients of 2026-07-28 over real sockets."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from flowcore.requests import Envelope, Reply
from support.mcp_client import CAPABILITIES, MODERN, VERSION, open_talkative

SERVER = "io.modelcontextprotocol/serverInfo"
ELICITS: dict[str, Any] = {"elicitation": {}}


async def test_discovery_tells_versions_capabilities_and_who_we_are() -> None:
    async with open_talkative({"instructions": "use me"}) as (_, client):
        result = (await client.ask("server/discover")).result
        assert result["resultType"] == "complete"
        assert result["supportedVersions"] == [MODERN]
        assert result["capabilities"]["tools"] == {"listChanged": True}
        assert result["capabilities"]["extensions"] == {"io.modelcontextprotocol/tasks": {}}
        assert result["_meta"][SERVER]["name"] == "flowcore"
        assert result["instructions"] == "use me"
        assert (result["cacheScope"], result["ttlMs"]) == ("public", 5000)


async def test_a_call_is_answered_with_json_and_a_whole_result() -> None:
    async with open_talkative() as (_, client):
        answer = await client.call("echo", {"text": "hi"})
        assert (answer.status, answer.streamed, answer.text) == (200, False, "hi")
        assert answer.result["resultType"] == "complete"
        assert answer.result["_meta"][SERVER]["name"] == "flowcore"
        failed = await client.call("fail")
        assert failed.status == 200
        assert failed.result["isError"] is True


async def test_qualified_names_are_the_default_and_reach_the_same_tool() -> None:
    async with open_talkative(names="qualified") as (_, client):
        names = [tool["name"] for tool in (await client.ask("tools/list")).result["tools"]]
        assert "talk.echo" in names
        assert "echo" not in names
        assert (await client.call("talk.echo", {"text": "x"})).text == "x"


async def test_resources_prompts_templates_and_completion_are_served() -> None:
    async with open_talkative() as (_, client):
        read = (await client.ask("resources/read", {"uri": "test://static"})).result
        assert read["contents"][0]["text"] == "static text"
        assert (read["ttlMs"], read["cacheScope"]) == (0, "private")
        item = (await client.ask("resources/read", {"uri": "test://items/7"})).result
        assert item["contents"][0]["text"] == "item 7"
        prompt = await client.ask("prompts/get", {"name": "review", "arguments": {"code": "x"}})
        assert prompt.result["messages"][0]["content"]["text"] == "please review x"
        for ref in (
            {"type": "ref/prompt", "name": "review"},
            {"type": "ref/resource", "uri": "test://items/{item}"},
        ):
            asked = {"ref": ref, "argument": {"name": "code", "value": "py"}}
            values = (await client.ask("completion/complete", asked)).result["completion"]["values"]
            assert values == ["python", "pytest"]


async def test_progress_and_log_are_streamed_before_the_result_where_they_were_asked_for() -> None:
    async with open_talkative() as (_, client):
        quiet = await client.call("steps", {"count": 2})
        assert not quiet.streamed
        told = await client.call("steps", {"count": 2}, meta={"progressToken": "t"})
        assert told.streamed
        assert [m["params"]["progress"] for m in told.messages[:-1]] == [1, 2]
        assert {m["params"]["progressToken"] for m in told.messages[:-1]} == {"t"}
        assert told.text == "done"
        level = {"io.modelcontextprotocol/logLevel": "info"}
        logged = await client.call("steps", {"count": 2}, meta=level)
        assert [m["params"]["data"] for m in logged.messages[:-1]] == ["at 2"]


async def test_a_call_that_asks_while_it_runs_is_parked_and_goes_on_with_the_answer() -> None:
    async with open_talkative() as (_, client):
        first = await client.call("greet_elicited", capabilities=ELICITS)
        assert first.result["resultType"] == "input_required"
        [key] = first.result["inputRequests"]
        assert first.result["inputRequests"][key]["method"] == "elicitation/create"
        retry = {
            "name": "greet_elicited",
            "arguments": {},
            "requestState": first.result["requestState"],
            "inputResponses": {key: {"action": "accept", "content": {"name": "Ann"}}},
        }
        assert (await client.ask("tools/call", retry, capabilities=ELICITS)).text == "hello, Ann"
        again = await client.ask("tools/call", retry, capabilities=ELICITS)
        assert (again.status, again.error["code"]) == (400, -32602)


async def test_what_is_missing_of_the_input_is_asked_again() -> None:
    async with open_talkative() as (_, client):
        asked = await client.call("ask_twice", capabilities=ELICITS)
        answered: dict[str, str] = {}
        for name in ("Ann", "Bob"):
            state, questions = asked.result["requestState"], asked.result["inputRequests"]
            key = min(questions)
            answered[questions[key]["params"]["message"]] = name
            retry = {
                "name": "ask_twice",
                "arguments": {},
                "requestState": state,
                "inputResponses": {
                    key: {"action": "accept", "content": {"name": name}},
                    "unknown": {"action": "cancel"},
                },
            }
            asked = await client.ask("tools/call", retry, capabilities=ELICITS)
        assert asked.text == f"{answered['first']} {answered['second']}"


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"other": 1}},
        {"name": "ask_twice"},
        {"requestState": None},
        {"inputResponses": 5},
        {"inputResponses": {"elicitation-1": "text"}},
    ],
)
async def test_a_state_is_good_for_its_own_request_only(change: dict[str, Any]) -> None:
    async with open_talkative() as (_, client):
        first = await client.call("greet_elicited", capabilities=ELICITS)
        state = first.result["requestState"]
        retry = {
            "name": "greet_elicited",
            "arguments": {},
            "inputResponses": {"elicitation-1": {"action": "decline"}},
            "requestState": state,
        }
        if change.get("requestState", "") is None:
            change = {"requestState": state[:-4] + "AAAA"}
        refused = await client.ask("tools/call", {**retry, **change}, capabilities=ELICITS)
        assert (refused.status, refused.error["code"]) == (400, -32602)


async def test_a_client_that_cannot_be_asked_is_told_what_it_lacks() -> None:
    async with open_talkative() as (_, client):
        answer = await client.call("sample")
        assert (answer.status, answer.error["code"]) == (400, -32021)
        assert answer.error["data"] == {"requiredCapabilities": {"sampling": {}}}
        other = await client.call("sample", capabilities=ELICITS)
        assert (other.status, other.error["code"]) == (400, -32021)


async def test_an_agents_own_rounds_pass_through_with_its_own_state() -> None:
    async with open_talkative() as (_, client):
        first = await client.call("greet_by_rounds", capabilities=ELICITS)
        assert first.result["resultType"] == "input_required"
        retry = {
            "name": "greet_by_rounds",
            "arguments": {},
            "requestState": first.result["requestState"],
            "inputResponses": {"who": {"action": "accept", "content": {"name": "Ann"}}},
        }
        answer = await client.ask("tools/call", retry, capabilities=ELICITS)
        assert answer.text == "hello, Ann after 1"


async def test_a_client_that_goes_away_cancels_its_call() -> None:
    async with open_talkative() as (_, client):
        for meta in ({}, {"progressToken": 1}):
            body, headers = client.modern(
                "tools/call", {"name": "hang", "arguments": {}}, meta=meta
            )
            before = (await client.call("cancellations")).result["structuredContent"]["cancelled"]
            with trio.move_on_after(0.05):
                await client.post(body, headers)
            while True:
                now = (await client.call("cancellations")).result["structuredContent"]["cancelled"]
                if now == before + 1:
                    break


async def test_an_idempotency_key_gives_the_same_outcome_and_refuses_another_payload() -> None:
    key = {"io.flowcore/idempotency-key": "k1"}
    async with open_talkative() as (flow, client):
        first = await client.call("echo", {"text": "a"}, meta=key)
        again = await client.call("echo", {"text": "a"}, meta=key)
        assert first.text == again.text == "a"
        assert flow.requests.statistics().replayed == 1
        other = await client.call("echo", {"text": "b"}, meta=key)
        assert other.error["code"] == -31055
        body, headers = client.modern("tools/call", {"name": "echo", "arguments": {"text": "c"}})
        conflict = await client.post(body, {**headers, "Idempotency-Key": "k1"})
        assert conflict.error["code"] == -31055


async def test_a_deadline_in_meta_ends_the_call() -> None:
    async with open_talkative() as (_, client):
        answer = await client.call("hang", meta={"io.flowcore/deadline": 0.05})
        assert answer.error["code"] == -31051
        for bad in ({"io.flowcore/deadline": "x"}, {"io.flowcore/priority": "urgent"}):
            refused = await client.call("echo", {"text": ""}, meta=bad)
            assert (refused.status, refused.error["code"]) == (400, -32602)


async def test_arguments_that_a_header_mirrors_must_agree_with_it() -> None:
    async with open_talkative() as (_, client):
        params = {"name": "regional", "arguments": {"region": "us-west1"}}
        body, headers = client.modern("tools/call", params)
        right = await client.post(body, {**headers, "Mcp-Param-Region": "us-west1"})
        assert right.text == "us-west1"
        for wrong in ({}, {"Mcp-Param-Region": "eu"}, {"Mcp-Param-Region": "=?base64?x?="}):
            refused = await client.post(body, {**headers, **wrong})
            assert (refused.status, refused.error["code"]) == (400, -32020)


async def test_notifications_are_taken_and_responses_are_not() -> None:
    async with open_talkative() as (_, client):
        headers = {"MCP-Protocol-Version": MODERN}
        note = {"jsonrpc": "2.0", "method": "notifications/whatever"}
        assert (await client.post(note, headers)).status == 202
        response = {"jsonrpc": "2.0", "id": 1, "result": {}}
        assert (await client.post(response, headers)).status == 400
        assert (await client.post(note, {"MCP-Protocol-Version": "1900-01-01"})).status == 400


async def test_the_eras_do_not_mix() -> None:
    async with open_talkative() as (_, client):
        for method in ("initialize", "ping", "logging/setLevel", "resources/subscribe"):
            answer = await client.ask(method)
            assert (answer.status, answer.error["code"]) == (404, -32601)
        body, headers = client.modern("tools/list")
        old = await client.post(body, {**headers, "MCP-Protocol-Version": "2025-11-25"})
        assert (old.status, old.error["code"]) == (400, -32020)
        unknown = await client.post(
            {**body, "params": {"_meta": {VERSION: "1900-01-01", CAPABILITIES: {}}}},
            {**headers, "MCP-Protocol-Version": "1900-01-01"},
        )
        assert (unknown.status, unknown.error["code"]) == (400, -32022)
        assert MODERN in unknown.error["data"]["supported"]
        assert unknown.error["data"]["requested"] == "1900-01-01"
        bare = await client.post(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
            {"MCP-Protocol-Version": "2099-01-01"},
        )
        assert (bare.status, bare.error["code"]) == (400, -32022)


async def test_an_error_that_wants_a_page_visited_becomes_a_question() -> None:
    visits: dict[str, Any] = {"elicitation": {"url": {}}}
    async with open_talkative() as (_, client):
        first = await client.call("visit", capabilities=visits)
        assert first.result["resultType"] == "input_required"
        [(key, question)] = first.result["inputRequests"].items()
        assert question["params"] == {"mode": "url", "url": "https://a.example", "message": "go"}
        retry = {"name": "visit", "arguments": {}, "inputResponses": {key: {"action": "accept"}}}
        assert (await client.ask("tools/call", retry, capabilities=visits)).text == "visited"
        lacking = await client.call("visit", capabilities=ELICITS)
        assert (lacking.status, lacking.error["code"]) == (400, -32021)
        await client.initialize(capabilities=visits)
        assert (await client.call_old("visit")).error["code"] == -32042


async def test_a_call_that_works_on_in_silence_shows_that_it_is_alive() -> None:
    async with open_talkative({"keep_alive": "10ms"}) as (_, client):
        body, headers = client.modern(
            "tools/call", {"name": "begin", "arguments": {}}, meta={"progressToken": 1}
        )
        async with client.stream(body, headers) as stream:
            data = b""
            while b": alive" not in data:
                data += await stream.receive()
            assert b"notifications/progress" in data


async def test_a_page_of_an_allowed_origin_can_read_the_answers() -> None:
    page = {"Origin": "https://app.example"}
    async with open_talkative({"allowed_origins": ["https://app.example"]}) as (_, client):
        asked = {**page, "Access-Control-Request-Headers": "mcp-method, mcp-name"}
        preflight = await client.post(b"", asked, "OPTIONS")
        assert preflight.status == 204
        assert preflight.headers[b"access-control-allow-headers"] == b"mcp-method, mcp-name"
        body, headers = client.modern("tools/call", {"name": "steps", "arguments": {"count": 1}})
        for meta in ({}, {"progressToken": 1}):
            body["params"]["_meta"].update(meta)
            answer = await client.post(body, {**headers, **page})
            assert answer.status == 200
            assert answer.headers[b"access-control-allow-origin"] == b"https://app.example"
        evil = {"Origin": "https://evil.example"}
        assert (await client.post(b"", evil, "OPTIONS")).status == 403
        assert (await client.post(b"", {}, "OPTIONS")).status == 405


async def test_requests_of_one_affinity_carry_it() -> None:
    async with open_talkative() as (flow, client):
        seen: list[bytes | None] = []
        submit = flow.submit

        async def noting(envelope: Envelope) -> Reply:
            seen.append(envelope.affinity)
            return await submit(envelope)

        flow.submit = noting  # type: ignore[method-assign]
        await client.call("echo", {"text": ""}, meta={"io.flowcore/affinity": "cart 7"})
        await client.call("echo", {"text": ""})
        assert seen == [b"cart 7", None]
        for _ in range(2):
            await client.initialize()
            for _ in range(2):
                await client.call_old("echo", {"text": ""})
        assert seen[2] is not None
        assert seen[2] == seen[3] != seen[4] == seen[5]
