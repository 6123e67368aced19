"""An edge that shows only the way to find tools: what clients see, and that all of it can still be used."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowcore.assembly import read
from flowcore.config import ConfigError
from support.mcp_client import Raw, open_talkative

ROUTER = {"router": {"gate": "similarity"}, "storage": {"type": "memory"}}
SHOWN = ["find_tools", "call_tool", "memory.put", "memory.search", "memory.get", "memory.delete"]
FORM: dict[str, Any] = {"elicitation": {"form": {}}}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@asynccontextmanager
async def searching(expose: str = "search") -> AsyncGenerator[Raw]:
    async with open_talkative({"expose": expose}, more=ROUTER) as (_, client):
        yield client


@pytest.mark.parametrize("modern", [True, False])
async def test_a_client_sees_six_tools_however_many_there_are(modern: bool) -> None:
    async with searching() as client:
        if modern:
            tools = (await client.ask("tools/list")).result["tools"]
        else:
            await client.initialize()
            tools = (await client.ask_old("tools/list")).result["tools"]
        assert [one["name"] for one in tools] == SHOWN
        listed = await client.ask("resources/list")
        assert [one["uri"] for one in listed.result["resources"]] == ["test://static"]


async def test_by_default_all_are_seen() -> None:
    async with searching("all") as client:
        names = [one["name"] for one in (await client.ask("tools/list")).result["tools"]]
        assert {"flow.find_tools", "flow.call_tool", "echo", *SHOWN[2:]} <= set(names)
        assert "find_tools" not in names


@pytest.mark.parametrize("modern", [True, False])
async def test_what_is_found_is_called(modern: bool) -> None:
    async with searching() as client:
        call = client.call
        if not modern:
            await client.initialize()
            call = client.call_old  # type: ignore[assignment]
        found = (await call("find_tools", {"query": "add two numbers", "k": 3})).result
        (first, *_) = found["structuredContent"]["tools"]
        assert first["name"] == "add"
        assert first["inputSchema"]["required"] == ["a", "b"]
        added = await call("call_tool", {"name": "add", "arguments": {"a": 2, "b": 3}})
        assert added.result["structuredContent"] == {"sum": 5}
        assert (await call("add", {"a": 2, "b": 3})).result["structuredContent"] == {"sum": 5}
        failed = await call("call_tool", {"name": "fail"})
        assert failed.result["isError"]
        assert failed.text == "it did not work"


async def test_wrong_calls_through_it_are_told_as_others_are() -> None:
    async with searching() as client:
        unknown = await client.call("call_tool", {"name": "ad"})
        assert unknown.result["isError"]
        assert unknown.text == (
            "unknown tool 'ad', did you mean 'add'? (find_tools tells which there are)"
        )
        wrong = await client.call("call_tool", {"name": "add", "arguments": {"a": "x"}})
        assert "error" in wrong.last or wrong.result["isError"]
        for arguments in (
            {},
            {"name": 5},
            {"name": "add", "arguments": []},
            {"name": "add", "x": 1},
        ):
            answer = await client.call("call_tool", arguments)
            assert "error" in answer.last or answer.result["isError"]
            assert answer.status < 500


async def test_progress_and_questions_come_through() -> None:
    async with searching() as client:
        steps = await client.call(
            "call_tool", {"name": "steps", "arguments": {"count": 2}}, meta={"progressToken": "t"}
        )
        told = [
            one["params"] for one in steps.messages if one.get("method") == "notifications/progress"
        ]
        assert [(one["progressToken"], one["progress"]) for one in told] == [("t", 1), ("t", 2)]
        arguments = {"name": "greet_by_rounds", "arguments": {}}
        asked = await client.call("call_tool", arguments, capabilities=FORM)
        assert asked.result["resultType"] == "input_required"
        answer = {"action": "accept", "content": {"name": "Ann"}}
        again = {
            "name": "call_tool",
            "arguments": arguments,
            "inputResponses": {"who": answer},
            "requestState": asked.result["requestState"],
        }
        done = await client.ask("tools/call", again, capabilities=FORM)
        assert done.text == "hello, Ann after 1"


async def test_a_question_of_a_running_call_is_answered_through_it() -> None:
    async with searching() as client:
        arguments = {"name": "greet_elicited", "arguments": {}}
        asked = await client.call("call_tool", arguments, capabilities=FORM)
        assert asked.result["resultType"] == "input_required"
        (key,) = asked.result["inputRequests"]
        again = {
            "name": "call_tool",
            "arguments": arguments,
            "inputResponses": {key: {"action": "accept", "content": {"name": "Ben"}}},
            "requestState": asked.result["requestState"],
        }
        assert (await client.ask("tools/call", again, capabilities=FORM)).text == "hello, Ben"


@pytest.mark.parametrize("kind", ["mcp", "mcp_stdio"])
def test_without_a_router_there_is_nothing_to_search_with(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"edge.e: what it is to do needs a \[router\]"):
        read({"edge": {"e": {"type": kind, "expose": "search"}}})
