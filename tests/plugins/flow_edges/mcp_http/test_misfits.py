"""Arguments and parameters that do not fit, and versions not spoken: what each version says of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.mcp_client import MODERN, open_talkative

MISFIT = {"name": "echo", "arguments": {"text": 5}}
WORDS = "arguments.text of 'echo'"
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}


async def test_a_model_reads_what_is_wrong_with_its_arguments() -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"capabilities": {"roots": {}}},
        {"meta": {"progressToken": 1}},
    ]
    async with open_talkative() as (_, client):
        for more in asked:
            answer = await client.call("echo", {"text": 5}, **more)
            assert (answer.status, answer.result["isError"]) == (200, True)
            assert answer.result["resultType"] == "complete"
            assert WORDS in answer.text
        await client.initialize("2025-11-25")
        old = (await client.ask_old("tools/call", MISFIT)).result
        assert set(old) == {"content", "isError"}


@pytest.mark.parametrize("version", ["2025-06-18", "2025-03-26"])
async def test_earlier_versions_have_it_as_an_error(version: str) -> None:
    async with open_talkative() as (_, client):
        await client.initialize(version)
        answer = await client.ask_old("tools/call", MISFIT)
        assert (answer.status, answer.error["code"]) == (200, -32602)
        assert WORDS in answer.error["message"]


async def test_a_task_of_misfitting_arguments_is_completed_with_what_is_wrong() -> None:
    async with open_talkative() as (_, client):
        made = await client.call("job", {"steps": "many"}, capabilities=TASKS)
        task = {"taskId": made.result["taskId"]}
        done = (await client.ask("tasks/get", task, capabilities=TASKS)).result
        assert (done["status"], done["result"]["isError"]) == ("completed", True)


@pytest.mark.parametrize("argument", [{}, {"name": "code"}, {"name": "code", "value": 7}, 7, None])
async def test_a_completion_needs_a_name_and_a_text(argument: Any) -> None:
    params = {"ref": {"type": "ref/prompt", "name": "review"}, "argument": argument}
    async with open_talkative() as (_, client):
        assert (await client.ask_old("completion/complete", params)).error["code"] == -32602
        assert (await client.ask("completion/complete", params)).status == 400


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_version_that_is_not_spoken_is_refused_on_every_method(method: str) -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        unknown = {**client.headers(), "MCP-Protocol-Version": "1999-01-01"}
        assert (await client.post(b"", unknown, method)).status == 400
        later = {**client.headers(), "MCP-Protocol-Version": MODERN}
        assert (await client.post(b"", later, method)).status == 405
        assert (await client.ask_old("ping")).result == {}


HUGE = '{"region":"eu","huge":1e999,"big":123456789012345678901234567890}'


async def test_numbers_that_no_value_holds_disturb_no_check_of_ours() -> None:
    async with open_talkative() as (_, client):
        body, headers = client.modern("tools/call", {"name": "regional", "arguments": {}})
        body["params"]["arguments"] = "@"
        data = json.dumps(body).replace('"@"', HUGE).encode()
        refused = await client.post(data, {**headers, "Mcp-Param-Region": "eu"})
        assert (refused.status, refused.error["code"]) == (400, -32602)
        body, headers = client.modern(
            "tools/call",
            {"name": "greet_elicited", "arguments": {}, "x": "@"},
            capabilities={"elicitation": {}},
        )
        data = json.dumps(body).replace('"@"', HUGE).encode()
        asked = (await client.post(data, headers)).result
        assert asked["resultType"] == "input_required"
        body["params"] |= {
            "requestState": asked["requestState"],
            "inputResponses": {"elicitation-1": {"action": "cancel"}},
        }
        data = json.dumps(body).replace('"@"', HUGE).encode()
        assert (await client.post(data, headers)).text == "hello, whoever you are (cancel)"


async def test_what_a_header_may_not_hold_mirrors_nothing() -> None:
    async with open_talkative() as (_, client):
        body, headers = client.modern(
            "tools/call", {"name": "regional", "arguments": {"region": "zürich"}}
        )
        for header in ("zürich", "zürich".encode().decode("latin-1")):
            refused = await client.post(body, {**headers, "Mcp-Param-Region": header})
            assert (refused.status, refused.error["code"]) == (400, -32020)
        named, headers = client.modern("tools/call", {"name": "zürich", "arguments": {}})
        raw = json.dumps(named, ensure_ascii=False).encode()
        headers["Mcp-Name"] = "zürich".encode().decode("latin-1")
        refused = await client.post(raw, headers)
        assert (refused.status, refused.error["code"]) == (400, -32020)
