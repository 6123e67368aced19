"""Clients up to 2025-11-25 over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from support.mcp_client import Raw, open_talkative


async def test_initialize_negotiates_a_version_and_opens_a_session() -> None:
    async with open_talkative({"instructions": "use me"}) as (_, client):
        for asked, got in (("2025-06-18", "2025-06-18"), ("2026-07-28", "2025-11-25")):
            answer = await client.initialize(asked)
            assert answer.result["protocolVersion"] == got
            assert answer.result["serverInfo"]["name"] == "flowcore"
            assert answer.result["instructions"] == "use me"
            assert "extensions" not in answer.result["capabilities"]
            assert client.session
        assert (await client.ask_old("ping")).result == {}


async def test_results_have_no_members_of_the_later_version() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        listed = (await client.ask_old("tools/list")).result
        assert set(listed) == {"tools"}
        assert (await client.call_old("echo", {"text": "x"})).result == {
            "content": [{"type": "text", "text": "x"}]
        }
        read = (await client.ask_old("resources/read", {"uri": "test://static"})).result
        assert set(read) == {"contents"}


async def test_a_client_without_a_session_is_served_too() -> None:
    async with open_talkative() as (_, client):
        assert (await client.call_old("echo", {"text": "x"})).text == "x"
        assert (await client.ask_old("logging/setLevel", {"level": "info"})).result == {}
        refused = await client.ask_old("resources/subscribe", {"uri": "test://static"})
        assert (refused.status, refused.error["code"]) == (200, -32600)


async def test_a_session_ends_by_delete_and_is_then_not_found() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        assert (await client.post(b"", client.headers(), "DELETE")).status == 204
        gone = await client.ask_old("ping")
        assert gone.status == 404
        assert (await client.post(b"", client.headers(), "DELETE")).status == 404
        assert (await client.post(b"", {}, "DELETE")).status == 405
        assert (await client.post(b"", {}, "GET")).status == 405


async def test_sessions_are_bounded_and_the_one_idle_for_longest_gives_way() -> None:
    async with open_talkative({"sessions": {"max": 2}}) as (_, client):
        sessions = []
        for _ in range(3):
            await client.initialize()
            sessions.append(client.session)
        for session, status in zip(sessions, (404, 200, 200), strict=True):
            client.session = session
            assert (await client.ask_old("ping")).status == status


async def test_without_sessions_initialize_gives_none() -> None:
    async with open_talkative({"sessions": {"max": 0}}) as (_, client):
        answer = await client.initialize()
        assert b"mcp-session-id" not in answer.headers
        assert (await client.call_old("echo", {"text": "x"})).text == "x"


async def converse(
    client: Raw, call: dict[str, Any], respond: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Send a call and answer each request of the server that comes on its stream."""
    seen = []
    async with client.stream(call, client.headers()) as messages:
        while True:
            message = await messages.next()
            seen.append(message)
            if "method" in message and "id" in message:
                answer = {"jsonrpc": "2.0", "id": message["id"], **respond(message)}
                assert (await client.post(answer, client.headers())).status == 202
            elif "id" in message:
                return seen


async def test_a_client_is_asked_on_the_stream_of_its_call() -> None:
    async with open_talkative() as (_, client):
        await client.initialize(capabilities={"elicitation": {}, "sampling": {}})
        call = client.old("tools/call", {"name": "greet_elicited", "arguments": {}})
        answer = {"result": {"action": "accept", "content": {"name": "Ann"}}}
        seen = await converse(client, call, lambda _: answer)
        assert seen[0]["method"] == "elicitation/create"
        assert seen[-1]["result"]["content"][0]["text"] == "hello, Ann"
        call = client.old("tools/call", {"name": "sample", "arguments": {}})
        content = {"content": {"type": "text", "text": "model says"}, "role": "assistant"}
        seen = await converse(client, call, lambda _: {"result": content})
        assert seen[-1]["result"]["content"][0]["text"] == "model says"


async def test_an_answer_is_taken_in_the_session_of_its_question_only() -> None:
    async with open_talkative() as (_, client):
        await client.initialize(capabilities={"elicitation": {}})
        other = client.headers()
        await client.initialize(capabilities={"elicitation": {}})
        call = client.old("tools/call", {"name": "greet_elicited", "arguments": {}})
        async with client.stream(call, client.headers()) as stream:
            number = (await stream.next())["id"]
            for name, headers, status in (
                ("Eve", other, 202),
                ("Mallory", {}, 400),
                ("Ann", client.headers(), 202),
                ("Late", client.headers(), 202),
            ):
                content = {"action": "accept", "content": {"name": name}}
                answer = {"jsonrpc": "2.0", "id": number, "result": content}
                assert (await client.post(answer, headers)).status == status
            assert (await stream.next())["result"]["content"][0]["text"] == "hello, Ann"


async def test_a_clients_own_error_reaches_the_work_as_it_was() -> None:
    async with open_talkative() as (_, client):
        await client.initialize(capabilities={"elicitation": {}})
        call = client.old("tools/call", {"name": "greet_elicited", "arguments": {}})
        error = {"code": -32077, "message": "no person here", "data": [1]}
        seen = await converse(client, call, lambda _: {"error": error})
        assert seen[-1]["error"] == error


async def test_rounds_of_a_modern_agent_are_asked_at_once_and_the_call_repeated() -> None:
    async with open_talkative() as (_, client):
        await client.initialize(capabilities={"elicitation": {}})
        call = client.old("tools/call", {"name": "greet_by_rounds", "arguments": {}})
        answer = {"result": {"action": "accept", "content": {"name": "Ann"}}}
        seen = await converse(client, call, lambda _: answer)
        assert seen[-1]["result"] == {"content": [{"type": "text", "text": "hello, Ann after 1"}]}


async def test_a_client_that_cannot_be_asked_is_not() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        answer = await client.call_old("greet_elicited")
        assert answer.error["code"] == -32021
        assert (await client.call_old("greet_by_rounds")).error["code"] == -32021


async def test_a_call_is_cancelled_by_notification_and_gets_no_answer() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        call = client.old("tools/call", {"name": "hang", "arguments": {}})
        answers = []

        async def send() -> None:
            answers.append(await client.post(call, client.headers()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            cancelled = {
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": call["id"]},
            }
            while not answers:
                assert (await client.post(cancelled, client.headers())).status == 202
        assert (answers[0].status, answers[0].streamed, answers[0].messages) == (200, True, [])
        counted = (await client.call_old("cancellations")).result["structuredContent"]
        assert counted == {"cancelled": 1}


async def test_one_cannot_cancel_what_another_session_runs() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        first = client.headers()
        call = client.old("tools/call", {"name": "hang", "arguments": {}})
        with trio.move_on_after(0.1):
            async with client.stream(call, first):
                await client.initialize()
                cancelled = {
                    "jsonrpc": "2.0",
                    "method": "notifications/cancelled",
                    "params": {"requestId": call["id"]},
                }
                assert (await client.post(cancelled, client.headers())).status == 202
                counted = (await client.call_old("cancellations")).result["structuredContent"]
                assert counted == {"cancelled": 0}


async def test_an_id_that_is_in_use_is_refused() -> None:
    async with open_talkative() as (flow, client):
        await client.initialize()
        call = client.old("tools/call", {"name": "hang", "arguments": {}})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.post, call, client.headers())
            while not flow.requests.tracker.running:
                await trio.lowlevel.checkpoint()
            echo = {**call, "params": {"name": "echo", "arguments": {"text": "x"}}}
            answer = await client.post(echo, client.headers())
            assert answer.error["code"] == -32600
            nursery.cancel_scope.cancel()


async def test_log_messages_follow_the_level_that_was_set() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        all_of_it = await client.call_old("steps", {"count": 2})
        assert [m["params"]["level"] for m in all_of_it.messages[:-1]] == ["debug", "warning"]
        assert (await client.ask_old("logging/setLevel", {"level": "info"})).result == {}
        fewer = await client.call_old("steps", {"count": 2})
        assert [m["params"]["level"] for m in fewer.messages[:-1]] == ["warning"]
        refused = await client.ask_old("logging/setLevel", {"level": "loud"})
        assert refused.error["code"] == -32602


async def test_the_sessions_stream_tells_of_lists_and_resources() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        headers = {**client.headers(), "Accept": "text/event-stream"}
        async with client.stream(None, headers, "GET") as stream:
            assert (await client.post(b"", headers, "GET")).status == 409
            subscribed = await client.ask_old("resources/subscribe", {"uri": "test://static"})
            assert subscribed.result == {}
            await client.call_old("change", {"uri": "test://other"})
            await client.call_old("change", {"uri": "test://static"})
            note = await stream.next()
            assert note["method"] == "notifications/resources/updated"
            assert note["params"]["uri"] == "test://static"
            await client.ask_old("logging/setLevel", {"level": "error"})
            await client.call_old("say", {"text": "unheard", "level": "info"})
            await client.call_old("say", {"text": "heard", "level": "error"})
            assert (await stream.next())["params"]["data"] == "heard"
            await client.call_old("grow")
            assert (await stream.next())["method"] == "notifications/tools/list_changed"
            assert "late" in [
                tool["name"] for tool in (await client.ask_old("tools/list")).result["tools"]
            ]
            done = await client.ask_old("resources/unsubscribe", {"uri": "test://static"})
            assert done.result == {}
            await client.post(b"", client.headers(), "DELETE")
            with pytest.raises(EOFError):
                await stream.next()


async def test_a_batch_is_answered_where_the_version_knows_batches() -> None:
    async with open_talkative() as (_, client):
        await client.initialize("2025-03-26")
        batch: list[Any] = [
            client.old("tools/call", {"name": "echo", "arguments": {"text": "a"}}),
            client.old("ping"),
            {"jsonrpc": "2.0", "method": "notifications/whatever"},
            client.old("no/such"),
            7,
        ]
        answer = await client.post(batch, client.headers())
        assert answer.status == 200
        answers: Any = answer.messages[0]
        by_id: dict[Any, Any] = {one.get("id"): one for one in answers}
        assert by_id[batch[0]["id"]]["result"]["content"][0]["text"] == "a"
        assert by_id[batch[1]["id"]]["result"] == {}
        assert by_id[batch[3]["id"]]["error"]["code"] == -32601
        assert by_id[None]["error"]["code"] == -32600
        assert len(answers) == 4
        await client.initialize("2025-11-25")
        refused = await client.post(batch, client.headers())
        assert (refused.status, refused.error["code"]) == (400, -32600)
