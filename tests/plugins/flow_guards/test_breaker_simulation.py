"""Many callers at once on a virtual clock, an agent that breaks and recovers: what the breaker promises.

The real way of requests, retries included; only the agent is written by the test. Each seed is another
history of failures, hanging calls, cancelled callers and recoveries.
"""

from __future__ import annotations

import itertools
import logging
import random

import attrs
import pytest
import trio
import trio.testing

from flow_guards.breaker import BreakerConfig, Breakers
from flowcore.agents import BreakerChanged, Event
from flowcore.envelope import Envelope, Reply
from flowcore.errors import CallError, DeadlineExceeded, UpstreamFailure
from support.doers import OK, ScriptedAgent, call, requests_of

CALLERS, SECONDS, PROBES = 40, 600.0, 3


@attrs.define(eq=False)
class Weather:
    """An agent that is well, broken or hanging for a while at a time, and keeps books of its calls."""

    chance: random.Random
    breakers: Breakers | None = None
    mood: str = "well"
    stay: int = 0
    """Counts the changes of the breaker's state."""
    begun_half_open: dict[int, int] = attrs.field(factory=dict)
    """Calls under way that began half open, by the stay in that state."""
    most_at_once: int = 0
    through_while_open: int = 0
    calls: int = 0

    async def change(self) -> None:
        while True:
            await trio.sleep(self.chance.uniform(5.0, 60.0))
            self.mood = self.chance.choice(["well", "well", "broken", "hanging"])

    @property
    def state(self) -> str:
        assert self.breakers is not None
        about = self.breakers.status()["agents"].get("mine")
        return "closed" if about is None else str(about["state"])

    async def work(self, envelope: Envelope) -> Reply:
        self.calls += 1
        state, stay = self.state, self.stay
        self.through_while_open += state == "open"
        half_open = state == "half open"
        if half_open:
            running = self.begun_half_open[stay] = self.begun_half_open.get(stay, 0) + 1
            self.most_at_once = max(self.most_at_once, running)
        try:
            if self.mood == "hanging":
                await trio.sleep_forever()
            await trio.sleep(self.chance.expovariate(10.0))
            if self.mood == "broken":
                raise UpstreamFailure("broken")
            return OK
        finally:
            if half_open:
                self.begun_half_open[stay] -= 1


@pytest.mark.parametrize("seed", range(8))
async def test_what_a_breaker_promises(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    logging.getLogger("flow_guards").setLevel(logging.CRITICAL)
    chance = random.Random(seed)
    weather = Weather(chance)
    changes: list[BreakerChanged] = []

    def emit(event: Event) -> None:
        assert isinstance(event, BreakerChanged)
        weather.stay += 1
        changes.append(event)

    config = BreakerConfig(probes=PROBES, open=20.0)
    breakers = weather.breakers = Breakers(config, emit=emit)
    outcomes = {"result": 0, "refused": 0, "failed": 0, "cancelled": 0}

    async def ask(seed: int) -> None:
        chance = random.Random(seed)
        while True:
            await trio.sleep(chance.expovariate(1.0))
            with trio.move_on_after(chance.choice([0.05, 60.0, 60.0, 60.0])) as patience:
                try:
                    await requests.submit(call(deadline=10.0))
                except CallError as error:
                    refused = isinstance(error.data, dict) and "breaker" in error.data
                    outcomes["refused" if refused else "failed"] += 1
                    if refused:
                        assert not isinstance(error, DeadlineExceeded)
                        assert error.retry_after is not None
                        assert 0 < error.retry_after <= 20.0
                else:
                    outcomes["result"] += 1
            outcomes["cancelled"] += patience.cancelled_caught

    agent = ScriptedAgent([weather.work])
    async with requests_of(agent, guards=[breakers]) as requests:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(weather.change)
            for number in range(CALLERS):
                nursery.start_soon(ask, seed * 1000 + number)
            await trio.sleep(SECONDS)
            nursery.cancel_scope.cancel()
        weather.mood = "well"
        end = trio.current_time() + 120.0
        while breakers.status()["agents"]["mine"]["state"] != "closed":
            assert trio.current_time() < end, "an agent that is well is used again"
            with trio.move_on_after(5.0):
                try:
                    await requests.submit(call(deadline=10.0))
                except CallError:
                    await trio.sleep(1.0)
    assert weather.most_at_once <= PROBES, "never more probes than allowed at once"
    assert weather.through_while_open == 0, "nothing passes while it is open"
    assert all(outcomes.values()), f"the history has everything: {outcomes}"
    pairs = [(one.old, one.new) for one in changes]
    assert ("closed", "open") in pairs
    assert ("half open", "closed") in pairs
    for before, after in itertools.pairwise(changes):
        assert after.old == before.new
        if after.new == "half open":
            assert after.at >= before.at + config.open
    assert not breakers._running, "nothing is left behind"
