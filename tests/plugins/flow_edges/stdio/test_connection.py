"""The stdio edge's conversation, over channels in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from flow_edges.mcp.settings import StdioSettings
from flow_edges.mcp.shared import open_shared
from flow_edges.mcp_stdio.connection import StdioConnection
from flowcore import Flow, open_flow
from flowcore.agents import State
from flowcore.native import tool
from support.mcp_client import CAPABILITIES, MODERN, VERSION


class Wire:
    """The client's end."""

    def __init__(self) -> None:
        self._to, self._incoming = trio.open_memory_channel[bytes](1000)
        self._outgoing, self._from = trio.open_memory_channel[bytes](1000)
        self._messages: list[Any] = []
        self._ids = 0
        self._reading = trio.Event()
        self._reading.set()

    def hold(self) -> None:
        """Read no more, as a client does that has stalled: its pipe is full."""
        self._reading = trio.Event()

    def let_go(self) -> None:
        self._reading.set()

    @property
    def unread(self) -> int:
        """Messages that were sent and have not been read by the server."""
        return self._incoming.statistics().current_buffer_used

    async def receive(self) -> bytes:
        try:
            return await self._incoming.receive()
        except trio.EndOfChannel:
            return b""

    async def send(self, data: bytes) -> None:
        await self._reading.wait()
        await self._outgoing.send(data)

    def put(self, *messages: object) -> None:
        for message in messages:
            data = message if isinstance(message, bytes) else json.dumps(message).encode()
            self._to.send_nowait(data + b"\n")

    def end(self) -> None:
        self._to.close()

    def old(self, method: str, params: Any = None) -> int:
        self._ids += 1
        self.put({"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params or {}})
        return self._ids

    def modern(self, method: str, params: Any = None, **meta: Any) -> int:
        capabilities = meta.pop("capabilities", {})
        full = {VERSION: MODERN, CAPABILITIES: capabilities, **meta}
        return self.old(method, {**(params or {}), "_meta": full})

    async def next(self) -> Any:
        while not self._messages:
            for line in (await self._from.receive()).splitlines():
                self._messages.append(json.loads(line))
        return self._messages.pop(0)

    async def answer(self, ident: int | None) -> Any:
        """The answer to a request; what comes before it is thrown away."""
        while True:
            message = await self.next()
            if "method" not in message and message.get("id") == ident:
                return message

    async def initialize(self, version: str = "2025-11-25", **capabilities: Any) -> None:
        params = {"protocolVersion": version, "capabilities": capabilities}
        await self.answer(self.old("initialize", params))


@asynccontextmanager
async def open_wire(
    agents: dict[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[tuple[Flow, Wire, trio.Event]]:
    """An edge before the agent `talk`, and others, which are not waited for."""
    config = {
        "node": {"name": "test"},
        "agent": {
            "talk": {
                "type": "python",
                "target": "support.talkative:Talkative",
                "pool": {"min": 1, "max": 1, "concurrency": 100},
                "names": "bare",
            },
            **(agents or {}),
        },
    }
    chosen = StdioSettings(**settings)
    wire, ended = Wire(), trio.Event()
    with trio.fail_after(60):
        async with open_flow(config) as flow, open_shared(flow, chosen) as shared:
            await flow.agent("talk").wait_until(State.IDLE)
            connection = StdioConnection(shared, chosen, wire.receive, wire.send)

            async def serve() -> None:
                await connection.serve()
                ended.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                yield flow, wire, ended
                await connection.finish()


async def test_both_eras_share_one_channel() -> None:
    async with open_wire() as (_, wire, _):
        await wire.initialize()
        old = wire.old("tools/call", {"name": "echo", "arguments": {"text": "a"}})
        new = wire.modern("tools/call", {"name": "echo", "arguments": {"text": "b"}})
        answers = {one["id"]: one["result"] for one in (await wire.next(), await wire.next())}
        assert answers[old]["content"][0]["text"] == "a"
        assert "resultType" not in answers[old]
        assert answers[new]["content"][0]["text"] == "b"
        assert answers[new]["resultType"] == "complete"
        listed = await wire.answer(wire.old("tools/list"))
        assert len(listed["result"]["tools"]) > 10
        discovered = await wire.answer(wire.modern("server/discover"))
        assert discovered["result"]["supportedVersions"] == [MODERN]
        twice = await wire.answer(wire.old("initialize", {"protocolVersion": "2025-11-25"}))
        assert twice["error"]["code"] == -32600


async def test_a_request_before_any_introduction_is_told_what_it_lacks() -> None:
    async with open_wire() as (_, wire, _):
        assert (await wire.answer(wire.old("ping")))["result"] == {}
        refused = await wire.answer(wire.old("tools/list"))
        assert refused["error"]["code"] == -32602
        assert VERSION in refused["error"]["message"]
        wire.put({"jsonrpc": "2.0", "id": 77, "method": "x", "params": {"_meta": 3}})
        assert (await wire.answer(77))["error"]["code"] == -32602
        unknown = {VERSION: "1900-01-01", CAPABILITIES: {}}
        params = {"_meta": unknown}
        refused = await wire.answer(wire.old("tools/list", params))
        assert refused["error"]["code"] == -32022
        assert (await wire.answer(wire.modern("no/such")))["error"]["code"] == -32601


async def test_what_is_no_message_is_answered_with_its_error_and_the_next_one_is_served() -> None:
    async with open_wire(line=2048) as (_, wire, _):
        for line, code in (
            (b"nonsense", -32700),
            (b"[1,2]", -32600),
            (b'{"jsonrpc":"2.0","id":1}', -32600),
            (b'"' + b"x" * 5000 + b'"', -32700),
            (b"[" * 2000, -32600),
        ):
            wire.put(line)
            assert (await wire.next())["error"]["code"] == code
        wire.put(b"", b"   ")
        assert (await wire.answer(wire.old("ping")))["result"] == {}


async def test_requests_run_at_the_same_time_and_are_cancelled_by_notification() -> None:
    async with open_wire() as (flow, wire, _):
        await wire.initialize()
        old = wire.old("tools/call", {"name": "hang", "arguments": {}})
        new = wire.modern("tools/call", {"name": "hang", "arguments": {}})
        while flow.requests.tracker.running < 2:
            await trio.lowlevel.checkpoint()
        for ident in (old, new):
            params = {"requestId": ident}
            wire.put({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        while flow.requests.tracker.running:
            await trio.lowlevel.checkpoint()
        ident = wire.old("tools/call", {"name": "cancellations", "arguments": {}})
        message = await wire.next()
        assert message["id"] == ident  # the cancelled ones are not answered
        assert message["result"]["structuredContent"] == {"cancelled": 2}


def call_of(ident: int, tool_name: str, *, modern: bool) -> bytes:
    meta = {"_meta": {VERSION: MODERN, CAPABILITIES: {}}} if modern else {}
    params = {"name": tool_name, "arguments": {}, **meta}
    request = {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params}
    return json.dumps(request).encode()


def cancel_of(ident: int) -> bytes:
    params = {"requestId": ident}
    notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
    return json.dumps(notice).encode()


@pytest.mark.parametrize("modern", [False, True])
async def test_a_cancellation_that_comes_with_its_request_cancels_it(modern: bool) -> None:
    async with open_wire() as (flow, wire, _):
        if not modern:
            await wire.initialize()
        wire.put(call_of(71, "hang", modern=modern) + b"\n" + cancel_of(71))
        wire.put(call_of(72, "cancellations", modern=modern))
        message = await wire.next()
        while "method" in message:
            message = await wire.next()
        assert message["id"] == 72
        assert not flow.requests.tracker.running
        wire.put(call_of(71, "cancellations", modern=modern))  # its id is free again
        assert "result" in await wire.answer(71)


class Slow:
    """Takes its time to start."""

    gate = threading.Event()

    def __init__(self) -> None:
        self.gate.wait(60)

    @tool
    async def slow(self) -> str:
        """Be there at last."""
        return "here"


@pytest.mark.parametrize("modern", [False, True])
async def test_a_request_that_waits_for_starting_agents_can_be_cancelled(modern: bool) -> None:
    Slow.gate.clear()
    agents = {"late": {"type": "python", "target": Slow, "pool": {"min": 1, "max": 1}}}
    try:
        async with open_wire(agents, settle=60.0) as (flow, wire, _):
            if not modern:
                await wire.initialize()
            wire.put(call_of(81, "late.slow", modern=modern))
            wire.put(call_of(82, "late.slow", modern=modern))
            await trio.testing.wait_all_tasks_blocked()
            wire.put(cancel_of(81))
            await trio.testing.wait_all_tasks_blocked()
            Slow.gate.set()
            message = await wire.next()
            while "method" in message:
                message = await wire.next()
            assert (message["id"], message["result"]["content"][0]["text"]) == (82, "here")
            assert flow.requests.statistics().accepted == 1
    finally:
        Slow.gate.set()


async def test_an_id_in_use_is_refused_in_both_eras() -> None:
    async with open_wire() as (_, wire, _):
        await wire.initialize()
        for send in (wire.old, wire.modern):
            ident = send("tools/call", {"name": "hang", "arguments": {}})
            wire._ids -= 1
            assert send("tools/call", {"name": "echo", "arguments": {"text": ""}}) == ident
            assert (await wire.answer(ident))["error"]["code"] == -32600


async def test_a_client_that_shook_hands_is_asked_by_request() -> None:
    async with open_wire() as (_, wire, _):
        await wire.initialize(elicitation={})
        for tool in ("greet_elicited", "greet_by_rounds"):
            ident = wire.old("tools/call", {"name": tool, "arguments": {}})
            asked = await wire.next()
            assert asked["method"] == "elicitation/create"
            answer = {"action": "accept", "content": {"name": "Ann"}}
            wire.put({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
            done = await wire.answer(ident)
            assert done["result"]["content"][0]["text"].startswith("hello, Ann")


async def test_a_modern_client_is_asked_by_result() -> None:
    async with open_wire() as (_, wire, _):
        call = {"name": "greet_elicited", "arguments": {}}
        first = await wire.answer(wire.modern("tools/call", call, capabilities={"elicitation": {}}))
        assert first["result"]["resultType"] == "input_required"
        answers = {
            key: {"action": "accept", "content": {"name": "Ann"}}
            for key in first["result"]["inputRequests"]
        }
        state = first["result"]["requestState"]
        retry = {**call, "requestState": state, "inputResponses": answers}
        done = await wire.answer(wire.modern("tools/call", retry, capabilities={"elicitation": {}}))
        assert done["result"]["content"][0]["text"] == "hello, Ann"


async def test_progress_comes_before_the_answer() -> None:
    async with open_wire() as (_, wire, _):
        ident = wire.modern(
            "tools/call", {"name": "steps", "arguments": {"count": 2}}, progressToken=7
        )
        seen = [await wire.next() for _ in range(3)]
        assert [one.get("params", {}).get("progress") for one in seen] == [1, 2, None]
        assert seen[-1]["id"] == ident


async def test_changes_are_told_to_a_conversation_and_to_a_stream_that_listens() -> None:
    async with open_wire() as (_, wire, _):
        await wire.initialize()
        ident = wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        assert (await wire.next())["method"] == "notifications/subscriptions/acknowledged"
        await wire.answer(wire.old("resources/subscribe", {"uri": "test://static"}))
        wire.old("tools/call", {"name": "grow", "arguments": {}})
        wire.old("tools/call", {"name": "change", "arguments": {"uri": "test://static"}})
        seen = [await wire.next() for _ in range(5)]
        notes = [
            (one["method"], "_meta" in one.get("params", {})) for one in seen if "method" in one
        ]
        assert sorted(notes) == [
            ("notifications/resources/updated", False),
            ("notifications/tools/list_changed", False),
            ("notifications/tools/list_changed", True),
        ]
        params = {"requestId": ident}
        wire.put({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        assert (await wire.answer(wire.old("ping")))["result"] == {}


async def test_a_batch_is_answered_with_one_array_where_the_version_knows_batches() -> None:
    async with open_wire() as (_, wire, _):
        await wire.initialize("2025-03-26")
        ping = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
        wire.put([ping, 5, {"jsonrpc": "2.0", "method": "notifications/x"}])
        answers = await wire.next()
        assert {one.get("id") for one in answers} == {"p", None}
        wire.put([])
        assert (await wire.next())["error"]["code"] == -32600


async def test_the_end_of_the_input_ends_the_edge_after_what_is_under_way() -> None:
    async with open_wire(drain=0.2) as (_, wire, ended):
        await wire.initialize()
        wire.modern("subscriptions/listen", {"notifications": {}})
        assert (await wire.next())["method"] == "notifications/subscriptions/acknowledged"
        ident = wire.old("tools/call", {"name": "echo", "arguments": {"text": "last"}})
        wire.old("tools/call", {"name": "hang", "arguments": {}})
        wire.end()
        seen = [await wire.next() for _ in range(3)]
        assert {one["id"] for one in seen if "id" in one} == {2, ident}
        await ended.wait()


async def test_more_requests_than_allowed_are_refused_with_a_hint() -> None:
    async with open_wire(calls=1) as (_, wire, _):
        wire.modern("tools/call", {"name": "hang", "arguments": {}})
        refused = await wire.answer(wire.modern("tools/list"))
        assert refused["error"]["code"] == -31050
        assert refused["error"]["data"]["retryAfter"] == 1.0


@pytest.mark.parametrize("params", [{}, {"requestId": None}, {"requestId": [1]}, {"requestId": 99}])
async def test_a_cancellation_that_names_nothing_is_ignored(params: dict[str, Any]) -> None:
    async with open_wire() as (_, wire, _):
        await wire.initialize()
        wire.put({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        wire.put({"jsonrpc": "2.0", "id": 5, "result": {}})
        assert (await wire.answer(wire.old("ping")))["result"] == {}


async def test_a_subscription_that_the_server_ends_is_answered_and_withdrawn() -> None:
    async with open_wire() as (_, wire, ended):
        request = wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        assert (await wire.next())["method"] == "notifications/subscriptions/acknowledged"
        wire.end()
        answer = await wire.answer(request)
        assert answer["result"]["resultType"] == "complete"
        withdrawn = await wire.next()
        assert withdrawn["method"] == "notifications/cancelled"
        assert withdrawn["params"]["requestId"] == request
        await ended.wait()


async def test_a_client_that_does_not_read_is_not_read_from() -> None:
    async with open_wire(line=1024) as (_, wire, _):
        await wire.initialize()
        wire.hold()
        for _ in range(200):
            wire.old("tools/list")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert wire.unread > 100
        wire.let_go()
        for _ in range(200):
            assert "tools" in (await wire.next())["result"]
