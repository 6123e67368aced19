"""Sessions, outboxes and questions: what waits, and what expires."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing
from msgspec import Raw

from flow_edges.mcp import settings
from flow_edges.mcp.conversation import Conversation
from flow_edges.mcp.outbox import Outbox
from flow_edges.mcp.sessions import OWN_STREAM, Sessions
from flow_edges.mcp.shared import open_shared
from flowcore import Flow, open_flow
from flowcore.errors import InvalidArguments, Overloaded
from flowcore.requests import ANONYMOUS, Principal


async def test_an_outbox_drops_what_exceeds_its_bound_and_ends_when_closed() -> None:
    outbox = Outbox(2)
    outbox.put(b"a")
    outbox.put_once(b"a")
    outbox.put_once(b"b")
    outbox.put(b"c")
    assert outbox.dropped == 1
    assert await outbox.take() == [b"a", b"b"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.take)
        await trio.testing.wait_all_tasks_blocked()
        outbox.close()
    outbox.put(b"d")
    assert await outbox.take() == []


def conversation(flow: Flow, shared: Any, principal: Principal = ANONYMOUS) -> Conversation:
    params = {"protocolVersion": Raw(b'"2025-11-25"'), "capabilities": Raw(b'{"roots":{}}')}
    made: Conversation = shared.converse(params, principal)
    return made


async def test_who_opens_many_sessions_takes_none_from_who_has_few() -> None:
    sessions = Sessions(settings.SessionSettings(max=5), backlog=10)
    ann, bob = Principal(name="ann"), Principal(name="bob")
    async with open_flow({}) as flow, open_shared(flow, settings.ServiceSettings()) as shared:
        few = sessions.open(conversation(flow, shared, ann))
        many = [sessions.open(conversation(flow, shared, bob)) for _ in range(20)]
        assert sessions.find(few.id.encode(), ann) is few
        left = [one for one in many if sessions.find(one.id.encode(), bob)]
        assert left == many[-4:]
        for one in left:
            one.conversation.calls[1] = trio.CancelScope()
        sessions.open(conversation(flow, shared, bob))  # all of bob's own are busy
        assert sessions.find(few.id.encode(), ann) is None


async def test_sessions_end_when_they_are_idle_and_not_while_they_are_busy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chosen = settings.SessionSettings(max=3, idle_timeout=100)
    sessions = Sessions(chosen, backlog=10)
    async with open_flow({}) as flow, open_shared(flow, settings.ServiceSettings()) as shared:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sessions.expire)
            idle, used, busy = (sessions.open(conversation(flow, shared)) for _ in range(3))
            stream = sessions.open_channel(busy, OWN_STREAM)
            stream.attach(trio.CancelScope())
            await trio.sleep(60)
            assert sessions.find(used.id.encode(), ANONYMOUS) is used
            assert sessions.find(used.id.encode(), Principal(name="x")) is None
            await trio.sleep(60)
            assert sessions.find(idle.id.encode(), ANONYMOUS) is None
            assert len(sessions) == 2
            await trio.sleep(1000)
            assert len(sessions) == 1
            sessions.open(conversation(flow, shared)).conversation.calls[1] = trio.CancelScope()
            sessions.open(conversation(flow, shared)).conversation.calls[1] = trio.CancelScope()
            with pytest.raises(Overloaded):
                sessions.open(conversation(flow, shared))
            sessions.close_all()
            assert stream.ended
            nursery.cancel_scope.cancel()


async def test_a_session_whose_stream_ended_late_keeps_no_other_from_ending(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sessions = Sessions(settings.SessionSettings(idle_timeout=100), backlog=10)
    async with open_flow({}) as flow, open_shared(flow, settings.ServiceSettings()) as shared:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sessions.expire)
            streaming, idle = (sessions.open(conversation(flow, shared)) for _ in range(2))
            stream, scope = sessions.open_channel(streaming, OWN_STREAM), trio.CancelScope()
            stream.attach(scope)
            await trio.sleep(99)
            stream.detach(scope, 0)
            sessions.touch(streaming)
            await trio.sleep(5)
            assert sessions.find(idle.id.encode(), ANONYMOUS) is None
            assert sessions.find(streaming.id.encode(), ANONYMOUS) is streaming
            nursery.cancel_scope.cancel()


async def test_a_question_that_is_not_answered_in_time_is_withdrawn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_flow({}) as flow:
        async with open_shared(flow, settings.ServiceSettings(input_timeout=5)) as shared:
            talk = conversation(flow, shared)
            sent: list[Any] = []
            with pytest.raises(InvalidArguments, match="in time"):
                await talk.ask(
                    lambda frame: sent.append(json.loads(frame)), "roots/list", Raw(b"{}")
                )
            assert [one["method"] for one in sent] == ["roots/list", "notifications/cancelled"]
            assert sent[1]["params"]["requestId"] == sent[0]["id"]
            talk.close()
