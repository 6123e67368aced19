"""The Tasks extension over real sockets."""

from __future__ import annotations

from functools import partial
from typing import Any

import trio

from support.mcp_client import Answer, Raw, open_talkative

TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
ALL: dict[str, Any] = {**TASKS, "elicitation": {}}


async def until(client: Raw, task: str, *statuses: str) -> dict[str, Any]:
    """Ask for a task until it has one of these statuses."""
    while True:
        found = (await client.ask("tasks/get", {"taskId": task}, capabilities=TASKS)).result
        if found["status"] in statuses:
            return found


def handle_of(answer: Answer) -> str:
    assert answer.result["resultType"] == "task"
    assert answer.result["status"] in ("working", "input_required")
    assert isinstance(answer.result["ttlMs"], int)
    assert answer.result["createdAt"].endswith("Z")
    return str(answer.result["taskId"])


async def test_a_tool_that_declares_tasks_becomes_one_at_once() -> None:
    async with open_talkative() as (_, client):
        task = handle_of(await client.call("job", {"steps": 3}, capabilities=TASKS))
        done = await until(client, task, "completed")
        assert done["resultType"] == "complete"
        assert done["result"]["content"][0]["text"] == "3 steps"
        plain = await client.call("job", {"steps": 3})
        assert plain.text == "3 steps"


async def test_a_tool_that_is_only_for_tasks_refuses_other_clients() -> None:
    async with open_talkative() as (_, client):
        refused = await client.call("job_only")
        assert (refused.status, refused.error["code"]) == (400, -32021)
        assert refused.error["data"]["requiredCapabilities"] == TASKS
        task = handle_of(await client.call("job_only", capabilities=TASKS))
        failed = await until(client, task, "completed", "failed")
        assert (failed["status"], failed["result"]["isError"]) == ("completed", True)


async def test_a_long_call_goes_on_as_a_task_and_a_short_one_does_not() -> None:
    async with open_talkative({"task_after": "50ms"}) as (flow, client):
        short = await client.call("echo", {"text": "x"}, capabilities=TASKS)
        assert short.text == "x"
        assert flow.requests.tasks.list() == ()
        task = handle_of(await client.call("hang", capabilities=TASKS))
        assert (await until(client, task, "working"))["taskId"] == task
        cancelled = await client.ask("tasks/cancel", {"taskId": task}, capabilities=TASKS)
        assert set(cancelled.result) == {"resultType", "_meta"}
        await until(client, task, "cancelled")
        count = (await client.call("cancellations")).result["structuredContent"]
        assert count == {"cancelled": 1}


async def test_a_client_that_leaves_before_it_has_the_handle_cancels_the_work() -> None:
    async with open_talkative() as (flow, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(client.call, "hang", capabilities=TASKS))
            while not flow.requests.tracker.running:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        while flow.requests.tracker.running:
            await trio.lowlevel.checkpoint()
        assert flow.requests.statistics().cancelled == 1


async def test_a_failure_of_the_protocol_is_the_tasks_error() -> None:
    async with open_talkative({"task_after": "0s"}, deadline="100ms") as (_, client):
        task = handle_of(await client.call("hang", capabilities=TASKS))
        failed = await until(client, task, "failed")
        assert failed["error"]["code"] == -31051


async def test_a_task_that_asks_is_answered_by_update() -> None:
    async with open_talkative() as (_, client):
        task = handle_of(await client.call("job_that_asks", capabilities=ALL))
        asking = await until(client, task, "input_required")
        [key] = asking["inputRequests"]
        assert asking["inputRequests"][key]["method"] == "elicitation/create"
        answers = {key: {"action": "accept", "content": {"name": "Ann"}}, "other": {}}
        update = {"taskId": task, "inputResponses": answers}
        done = await client.ask("tasks/update", update, capabilities=TASKS)
        assert set(done.result) == {"resultType", "_meta"}
        finished = await until(client, task, "completed")
        assert finished["result"]["content"][0]["text"] == "hello, Ann"


async def test_who_did_not_declare_tasks_or_names_none_is_refused() -> None:
    async with open_talkative() as (_, client):
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            params = {"taskId": "no", "inputResponses": {}}
            undeclared = await client.ask(method, params)
            assert (undeclared.status, undeclared.error["code"]) == (400, -32021)
            unknown = await client.ask(method, params, capabilities=TASKS)
            assert (unknown.status, unknown.error["code"]) == (400, -32602)
        body, headers = client.modern("tasks/get", {"taskId": "no"}, capabilities=TASKS)
        mismatch = await client.post(body, {**headers, "Mcp-Name": "other"})
        assert mismatch.error["code"] == -32020
        missing = await client.ask("tasks/get", capabilities=TASKS)
        assert missing.error["code"] == -32602


async def test_a_stream_follows_tasks_to_their_end() -> None:
    async with open_talkative() as (_, client):
        task = handle_of(await client.call("job_that_asks", capabilities=ALL))
        await until(client, task, "input_required")
        wanted = {"notifications": {"taskIds": [task, "unknown"]}}
        refused = await client.ask("subscriptions/listen", wanted)
        assert refused.error["code"] == -32021
        body, headers = client.modern("subscriptions/listen", wanted, capabilities=TASKS)
        async with client.stream(body, headers) as stream:
            acknowledged = await stream.next()
            assert acknowledged["params"]["notifications"] == {"taskIds": [task]}
            assert (await stream.next())["params"]["status"] == "input_required"
            update = {"taskId": task, "inputResponses": {"ask-1": {"action": "decline"}}}
            await client.ask("tasks/update", update, capabilities=TASKS)
            seen: list[dict[str, Any]] = []
            while not seen or seen[-1]["status"] != "completed":
                message = await stream.next()
                assert message["method"] == "notifications/tasks"
                seen.append(message["params"])
            assert seen[-1]["result"]["content"][0]["text"] == "hello, None"
            assert seen[-1]["_meta"] == {"io.modelcontextprotocol/subscriptionId": body["id"]}
