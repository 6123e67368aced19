"""Two principals at one edge: what is one's is, for the other, not there, and stays as it was."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from flowcore import Flow
from flowcore.secrets import STATIC_PREFIX
from support.mcp_client import Answer, Raw, open_talkative

TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
KEY = "io.flowcore/idempotency-key"


class Somebody(Raw):
    """A client with a token."""

    def __init__(self, other: Raw, name: str) -> None:
        super().__init__(other.url, other.client)
        self._token = {"Authorization": f"Bearer {STATIC_PREFIX}token-of-{name}"}

    async def post(
        self, body: bytes | object, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer:
        return await super().post(body, {**self._token, **(headers or {})}, method)


@asynccontextmanager
async def two() -> AsyncGenerator[tuple[Flow, Somebody, Somebody]]:
    """The flow, Ann and Bob."""
    tokens = [
        {
            "name": name,
            "sha256": hashlib.sha256(f"{STATIC_PREFIX}token-of-{name}".encode()).hexdigest(),
        }
        for name in ("ann", "bob")
    ]
    auth = {"people": {"type": "token", "tokens": tokens}}
    async with open_talkative({"auth": ["people"]}, auth=auth) as (flow, client):
        yield flow, Somebody(client, "ann"), Somebody(client, "bob")


async def test_anothers_task_is_not_there() -> None:
    async with two() as (flow, ann, bob):
        answer = await ann.call("job_that_asks", capabilities={**TASKS, "elicitation": {}})
        task = answer.result["taskId"]
        while flow.requests.tasks.list()[0].state.value != "input_required":
            await trio.lowlevel.checkpoint()
        before = (await ann.ask("tasks/get", {"taskId": task}, capabilities=TASKS)).result
        none = await bob.ask("tasks/get", {"taskId": "no" * 16}, capabilities=TASKS)
        answers = {key: {"action": "cancel"} for key in before["inputRequests"]}
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            params = {"taskId": task, "inputResponses": answers}
            refused = await bob.ask(method, params, capabilities=TASKS)
            assert refused.status == none.status == 400
            assert refused.error["code"] == none.error["code"]
            assert refused.error["message"] == none.error["message"]
        after = (await ann.ask("tasks/get", {"taskId": task}, capabilities=TASKS)).result
        assert after == before


async def test_anothers_session_is_not_there() -> None:
    async with two() as (_, ann, bob):
        await ann.initialize()
        bob.session = ann.session
        assert (await bob.ask_old("tools/list")).status == 404
        assert (await bob.post(b"", bob.headers(), method="DELETE")).status == 404
        assert (await ann.call_old("echo", {"text": "mine"})).text == "mine"


async def test_anothers_call_cannot_be_cancelled() -> None:
    """The ids of two clients may be alike: a cancel is for one's own, in one's own session."""
    async with two() as (flow, ann, bob):
        await ann.initialize()
        await bob.initialize()
        request = ann.old("tools/call", {"name": "hang", "arguments": {}})
        cancel = {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": request["id"]},
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.post, request, ann.headers())
            while not flow.requests.tracker.running:
                await trio.lowlevel.checkpoint()
            await bob.post(cancel, bob.headers())
            assert (await bob.post(cancel, ann.headers())).status == 404
            assert (await bob.call_old("echo", {"text": "x"})).text == "x"
            assert flow.requests.tracker.running == 1
            await ann.post(cancel, ann.headers())
            while flow.requests.tracker.running:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def test_anothers_idempotency_key_is_another_key() -> None:
    async with two() as (flow, ann, bob):
        for who, text in ((ann, "of ann"), (bob, "of bob"), (ann, "of ann")):
            assert (await who.call("echo", {"text": text}, meta={KEY: "one"})).text == text
        assert flow.requests.statistics().replayed == 1
        conflict = await bob.call("echo", {"text": "of ann"}, meta={KEY: "one"})
        assert conflict.error["code"] == -31055
        assert "of bob" not in str(conflict.messages)
