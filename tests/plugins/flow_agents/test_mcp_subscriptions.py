"""Who hears of resources for an agent, when connections come and go."""

from __future__ import annotations

import pytest
import trio

from flow_agents.mcp.subscriptions import Subscriptions
from flowcore.errors import AgentUnavailable, CallError, UpstreamError


class Ear:
    """A connection that can listen."""

    def __init__(self) -> None:
        self.heard: set[str] = set()
        self.error: CallError | None = None

    async def subscribe(self, uri: str) -> None:
        if self.error is not None:
            raise self.error
        self.heard.add(uri)

    async def unsubscribe(self, uri: str) -> None:
        self.heard.discard(uri)


async def serve(
    subscriptions: Subscriptions, ear: Ear, *, task_status: trio.TaskStatus[trio.CancelScope]
) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(subscriptions.serve, ear)
            task_status.started(scope)


async def test_the_next_connection_takes_over_what_the_last_one_heard() -> None:
    subscriptions = Subscriptions()
    first, second = Ear(), Ear()
    async with trio.open_nursery() as nursery:
        one = await nursery.start(serve, subscriptions, first)
        two = await nursery.start(serve, subscriptions, second)
        await subscriptions.add("a")
        await subscriptions.add("b")
        assert first.heard == {"a", "b"}
        assert second.heard == set()
        await subscriptions.renew(second)
        assert second.heard == set()
        one.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert second.heard == {"a", "b"}
        await subscriptions.remove("a")
        assert second.heard == {"b"}
        two.cancel()
        await trio.testing.wait_all_tasks_blocked()
        # while there is none, what is wanted stays wanted
        with pytest.raises(AgentUnavailable):
            await subscriptions.add("c")
        third = Ear()
        three = await nursery.start(serve, subscriptions, third)
        await trio.testing.wait_all_tasks_blocked()
        assert third.heard == {"b"}
        three.cancel()


async def test_what_is_wanted_twice_is_heard_until_nobody_wants_it() -> None:
    subscriptions = Subscriptions()
    ear = Ear()
    async with trio.open_nursery() as nursery:
        scope = await nursery.start(serve, subscriptions, ear)
        await subscriptions.add("a")
        await subscriptions.add("a")
        assert subscriptions.wanted == {"a": 2}
        await subscriptions.remove("a")
        assert ear.heard == {"a"}
        await subscriptions.remove("a")
        assert ear.heard == set()
        await subscriptions.remove("a")
        scope.cancel()


async def test_what_the_upstream_refuses_the_second_time_takes_nothing_else_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subscriptions = Subscriptions()
    first, second = Ear(), Ear()
    async with trio.open_nursery() as nursery:
        one = await nursery.start(serve, subscriptions, first)
        await subscriptions.add("a")
        second.error = UpstreamError("gone", code=-32002)
        two = await nursery.start(serve, subscriptions, second)
        one.cancel()
        await trio.testing.wait_all_tasks_blocked()
        two.cancel()
    assert "changes of a are not heard any more: gone" in caplog.text
