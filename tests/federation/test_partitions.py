"""What other nodes are doing when they are cut off: nothing of it is run twice, and nobody waits for it."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.errors import CallError, OutcomeUnknown
from support.flows import config
from support.gated import Gate, gates

KEYS = {"bare": None, "keyed": "key-{}"}
"""The kinds of calls: without an idempotency key, and with one."""
EACH = 3


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@attrs.define(eq=False)
class Swarm:
    """Alpha, who asks, and beta and gamma, who have the same agent."""

    alpha: Flow
    beta: Flow
    gamma: Flow
    gate: Gate
    ended: dict[str, str | CallError] = attrs.field(factory=dict)
    """What came of each request: the node that did it, or an error."""
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def ask(self, tool: str, request: str, key: str | None = None) -> None:
        """Ask alpha for something, and keep what comes of it."""
        try:
            result = await self.alpha.call(
                f"work.{tool}", {"request": request}, deadline=3600, idempotency_key=key
            )
            self.ended[request] = result.text
        except CallError as error:
            self.ended[request] = error
        self._news.set()
        self._news = trio.Event()

    async def until_ended(self, requests: list[str]) -> None:
        """Wait until something has come of each of these."""
        with trio.fail_after(120):
            while not set(requests) <= self.ended.keys():
                await self._news.wait()

    async def places(self, *names: str) -> None:
        """Wait until alpha sees the agent at these nodes, and at no other."""
        directory = self.alpha.directory
        await _until(lambda: _able(self.alpha) == set(names), directory)

    def cut_off(self) -> None:
        """Beta hears nobody, and nobody hears beta."""
        chaos = self.beta.guard("chaos")
        chaos.act("start", {"name": "cut", "fault": "partition", "duration": "1h"})

    async def heal(self) -> None:
        """Beta is one of them again."""
        self.beta.guard("chaos").act("stop", {})
        await self.places("beta", "gamma")


def _able(flow: Flow) -> set[str]:
    placed: Any = flow.roster.doers.get("work")
    return (
        set()
        if placed is None
        else {place.node for place in placed.places.values() if place.available}
    )


async def _until(done: Any, directory: Any) -> None:
    with trio.fail_after(120):
        while True:
            revision = directory.revision
            if done():
                return
            await directory.wait_changed(revision)


@asynccontextmanager
async def swarm(folder: pathlib.Path) -> AsyncGenerator[Swarm]:
    gates.append(Gate())
    flows: dict[str, Flow] = {}
    async with AsyncExitStack() as stack:
        stack.callback(gates.pop)
        for name in ("alpha", "beta", "gamma"):
            made = config(name, folder, [one.swarm.address for one in flows.values()])
            agent = {"type": "python", "target": "support.gated:Gated", "options": {"node": name}}
            agent["pool"] = {"min": 1, "max": 1, "concurrency": 100}
            made["agent"] = {} if name == "alpha" else {"work": agent}
            made["guard"] = {"chaos": {"type": "faults", "stop": {"errors": 1.0}}}
            made["requests"] = {"guards": ["chaos"]}
            flows[name] = await stack.enter_async_context(open_flow(made))
            await flows[name].wait_settled()
        one = Swarm(flows["alpha"], flows["beta"], flows["gamma"], gates[-1])
        await one.places("beta", "gamma")
        yield one


async def test_what_a_node_was_doing_when_it_was_cut_off_is_not_run_twice(
    tmp_path: pathlib.Path,
) -> None:
    """Not before it is back, nor after; also if it is asked for again by its key."""
    async with swarm(tmp_path) as one, trio.open_nursery() as nursery:
        one.gamma.agents["work"].pause()  # so all of it is at beta
        await one.places("beta")
        asked = [
            (tool, f"{tool}-{kind}-{number}", None if key is None else key.format(number) + tool)
            for tool in ("once", "again")
            for kind, key in KEYS.items()
            for number in range(EACH)
        ]
        for call in asked:
            nursery.start_soon(one.ask, *call)
        await one.gate.until_run({request: 1 for _, request, _ in asked})
        one.gamma.agents["work"].resume()
        await one.places("beta", "gamma")
        one.cut_off()

        # what may be repeated is, at the other node; the rest is unknown, while nothing has been let through
        await one.gate.until_run({request: 2 for tool, request, _ in asked if tool == "again"})
        assert one.gate.inside["gamma"] == 2 * EACH
        await one.until_ended([request for tool, request, _ in asked if tool == "once"])
        for tool, request, _ in asked:
            if tool == "once":
                assert isinstance(one.ended[request], OutcomeUnknown)
            else:
                assert request not in one.ended
        await one.gate.until_left("beta")  # what nobody waits for is not gone on with

        await one.heal()
        for tool, request, key in asked:
            if tool == "once" and key is not None:
                await one.ask(tool, request, key)
                assert isinstance(one.ended[request], OutcomeUnknown)
        one.gate.open()
        await one.until_ended([request for _, request, _ in asked])
    for tool, request, _ in asked:
        assert one.gate.runs[request] == (1 if tool == "once" else 2), request
        if tool == "again":
            assert one.ended[request] == "gamma"


async def test_what_is_asked_for_while_a_cut_is_not_noticed_is_run_once_at_most(
    tmp_path: pathlib.Path,
) -> None:
    """It had not begun, so it is done by the other node; what comes of it is true in each case."""
    async with swarm(tmp_path) as one:
        one.gate.open()
        requests = [f"request-{number}" for number in range(20)]
        async with trio.open_nursery() as nursery:
            one.cut_off()
            for number, request in enumerate(requests):
                nursery.start_soon(one.ask, "once", request, f"key-{number}")
        await one.heal()
        for number, request in enumerate(requests):
            first = one.ended[request]
            await one.ask("once", request, f"key-{number}")
            if isinstance(first, OutcomeUnknown):  # nobody knows, so it is not tried again
                assert isinstance(one.ended[request], OutcomeUnknown)
                assert one.gate.runs[request] <= 1
            else:
                assert first == one.ended[request] == "gamma"
                assert one.gate.runs[request] == 1
