"""An engine hears of ticks when they matter to it, and before what came after them."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import MockClock

from flow_consensus.bft import EngineSettings, Message
from flow_consensus.bft.driver.ticking import Ticking
from support.bft.table import ABCD, Table

TICK = 0.25
SETTINGS = EngineSettings(
    view_ticks=20, vote_ticks=4, here_ticks=4, idle_ticks=10, overdue_ticks=20
)
LONG = 10**6


def ticking(table: Table, calm: int = LONG) -> Ticking:
    table.tick()  # each has said that it is there
    made = Ticking(table["a"], TICK, lambda: calm)
    made.begin()
    return made


async def test_a_node_at_rest_wakes_to_say_that_it_is_there(autojump_clock: MockClock) -> None:
    table = Table(settings=SETTINGS)
    engine, time = table["a"], ticking(table)
    began, wakes = trio.current_time(), 0
    while engine.now <= 100:
        await time.wait()
        time.tell()
        assert trio.current_time() == began + (engine.now - 1) * TICK
        assert engine.ready().messages
        wakes += 1
    assert wakes == 10


async def test_others_that_have_something_to_do_are_waited_for_too(
    autojump_clock: MockClock,
) -> None:
    table = Table(settings=SETTINGS)
    time = ticking(table, calm=3)
    await time.wait()
    time.tell()
    assert table["a"].now == 1 + 3


async def test_what_happens_meanwhile_may_be_due_sooner(autojump_clock: MockClock) -> None:
    table = Table(settings=SETTINGS)
    engine, time = table["a"], ticking(table)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(time.wait)
        await trio.sleep(2.5 * TICK)
        time.catch_up()
        assert engine.now == 1 + 2
        for name in "bcd":
            table.absent.add(name)
        engine.propose([b"x"])
        table.settle()
        assert engine.calm < 10 - 2
        due = engine.now + engine.calm
        time.hurry()
    assert trio.current_time() == began + (due - 1) * TICK


async def test_after_a_pause_what_has_come_is_heard_between_ticks(
    autojump_clock: MockClock,
) -> None:
    table = Table(settings=SETTINGS)
    engine, time = table["a"], ticking(table)
    await trio.sleep(1000 * TICK)
    calm = engine.calm
    time.catch_up()
    assert engine.now == 1 + calm - 1
    time.tell()
    assert engine.now == calm + 5  # one of them matters, and makes up to nine more that do not
    await time.wait()
    ticks = engine.now
    while trio.current_time() >= time._due:
        time.tell()
        assert engine.now - ticks <= 10 + 4
        ticks = engine.now
    assert engine.now <= calm + 200


@pytest.mark.parametrize("seed", range(8))
def test_as_long_as_a_node_is_calm_time_alone_makes_it_do_nothing(seed: int) -> None:
    chance = Random(seed)
    lost = chance.choice([0.0, 0.05, 0.3])
    table = Table(settings=SETTINGS, checkpoint=20)

    def drop(sender: str, to: str, message: Message) -> bool:
        return chance.random() < lost

    table.drop = drop
    quiet = 0
    for number in range(150):
        name = chance.choice(ABCD)
        for other in ABCD:
            seat = table.seats[other]
            seat.holds = chance.random() < 0.3
            if seat.waiting is not None and not seat.holds:
                table.persist(other)
        did = chance.random()
        if did < 0.3:
            table[name].propose([b"%d" % number])
        elif did < 0.4:
            table[name].read(number)
        elif did < 0.45 and table.seats[name].waiting is None:
            table.restart(name)
        elif did < 0.5:
            table.absent = set() if table.absent else {name}
        table.settle()
        for other in ABCD:
            engine = table[other]
            if other in table.absent:
                continue
            for _ in range(min(engine.calm - 1, chance.randrange(12))):
                engine.tick()
                quiet += 1
                assert not engine.ready()
            if engine.calm == 1:
                engine.tick()
        table.settle()
    assert quiet > 100
