"""An engine hears of ticks when they matter to it, and before what came after them."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from flow_consensus.raft import Engine, EngineSettings, Restored
from flow_consensus.raft.driver.ticking import Ticking
from flow_consensus.raft.messages import Heartbeat

TICK = 0.25
SETTINGS = EngineSettings(election_ticks=20, heartbeat_ticks=5)


def follower() -> Engine:
    engine = Engine("a", Restored(b"", (0, 0), voters="abc"), SETTINGS)
    engine.step("b", Heartbeat(1, 0, 1))
    return engine


async def test_ticks_are_told_some_at_once_and_each_before_the_engine_stands(
    autojump_clock: MockClock,
) -> None:
    engine = follower()
    ticking, began, wakes = Ticking(engine, TICK), trio.current_time(), 0
    stands = engine.calm
    while engine.leader:
        await ticking.wait()
        ticking.tell_some()
        wakes += 1
        assert trio.current_time() == began + engine.ticks * TICK
    assert engine.ticks == stands
    assert wakes <= engine.ticks / 5 + 1


async def test_what_is_heard_is_later_than_ticks_that_were_slept_through(
    autojump_clock: MockClock,
) -> None:
    engine = follower()
    ticking = Ticking(engine, TICK)
    await trio.sleep(3.5 * TICK)
    ticking.catch_up()
    engine.step("b", Heartbeat(1, 0, 2))
    await trio.sleep(TICK)
    ticking.tell_some()
    assert (engine.ticks, engine.elapsed) == (4, 1)


async def test_after_a_pause_what_has_come_is_heard_between_ticks(
    autojump_clock: MockClock,
) -> None:
    engine = follower()
    ticking = Ticking(engine, TICK)
    await trio.sleep(1000 * TICK)
    ticking.catch_up()
    assert engine.ticks == 0
    await ticking.wait()
    ticking.tell_some()
    assert engine.ticks == 5
    ticking.tell_all()
    assert engine.ticks == 80
