"""Subscriptions to resources, shared by all clients of an edge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from msgspec import Raw

from flow_edges.mcp.interests import Interests
from flow_edges.mcp.sight import Sight
from flowcore.agents import Catalog, Directory, Resource
from flowcore.errors import CallError, Overloaded, UnknownTarget
from flowcore.requests import ANONYMOUS, Envelope, Guards, Reply
from support.members import Fixed


class Subscribable:
    """A host whose agent notes who subscribes, and can refuse."""

    def __init__(self) -> None:
        self.directory = Directory()
        resource = Resource(uri="r:1", definition=Raw(b"{}"))
        self.agent = Fixed("a", Catalog(resources=(resource,), subscriptions=True))
        self.directory.join(self.agent)
        self.requests = SimpleNamespace(guards=Guards())
        self.told: list[str] = []
        self.refuses = False

    async def submit(self, envelope: Envelope) -> Reply:
        await trio.lowlevel.checkpoint()
        if self.refuses:
            raise Overloaded("no")
        self.told.append(f"{envelope.method} {envelope.name}")
        return Reply(Raw(b"{}"))


async def test_the_first_holder_subscribes_and_the_last_one_ends_it() -> None:
    host: Any = Subscribable()
    async with trio.open_nursery() as nursery:
        interests = Interests(host, Sight(host, "mcp"), nursery)
        async with trio.open_nursery() as holders:
            for _ in range(3):
                holders.start_soon(interests.hold, "r:1")
        assert host.told == ["resources/subscribe r:1"]
        interests.release("r:1")
        interests.release("r:1")
        await trio.testing.wait_all_tasks_blocked()
        assert len(host.told) == 1
        interests.release("r:1")
        await trio.testing.wait_all_tasks_blocked()
        assert host.told[1:] == ["resources/unsubscribe r:1"]
        await interests.hold("r:1")
        interests.renew("a")
        interests.renew("other")
        await trio.testing.wait_all_tasks_blocked()
        assert host.told[2:] == ["resources/subscribe r:1"] * 2


async def test_a_refused_subscription_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host: Any = Subscribable()
    async with trio.open_nursery() as nursery:
        interests = Interests(host, Sight(host, "mcp"), nursery)
        interests.check("r:1", ANONYMOUS)
        with pytest.raises(UnknownTarget):
            interests.check("r:2", ANONYMOUS)
        host.refuses = True
        with pytest.raises(Overloaded):
            await interests.hold("r:1")
        await trio.testing.wait_all_tasks_blocked()
        host.refuses = False
        await interests.hold("r:1")
        host.refuses = True
        interests.renew("a")
        await trio.testing.wait_all_tasks_blocked()
        assert "r:1" in caplog.text
        host.agent.catalog = Catalog(resources=host.agent.catalog.resources)
        host.directory.changed()
        interests.release("r:1")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(CallError):
            await interests.hold("r:1")


async def test_who_comes_while_the_last_one_leaves_is_subscribed_again() -> None:
    host: Any = Subscribable()
    async with trio.open_nursery() as nursery:
        interests = Interests(host, Sight(host, "mcp"), nursery)
        for _ in range(3):
            await interests.hold("r:1")
            interests.release("r:1")
            await trio.lowlevel.checkpoint()  # the agent is being told now
            await interests.hold("r:1")
            interests.release("r:1")
            await trio.testing.wait_all_tasks_blocked()
        assert host.told[-1] == "resources/unsubscribe r:1"
        assert host.told.count("resources/subscribe r:1") == host.told.count(
            "resources/unsubscribe r:1"
        )
