"""An agent's life: states, failing and trying again, pausing, draining, ending. Virtual time throughout."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext

import msgspec
import pytest
import trio
import trio.testing

from flowcore.agents import (
    Agent,
    AgentSettings,
    CatalogChanged,
    Directory,
    Listing,
    Notification,
    State,
    StateChanged,
    open_agent,
)
from flowcore.agents.state import FOLLOWS
from flowcore.errors import AgentUnavailable, OutcomeUnknown
from flowcore.interfaces import PoolDefaults
from support.balancing import FirstFree
from support.members import catalog
from support.sources import Crash, TestSource, Watch, agent, envelope, outcome, settings

MockClock = trio.testing.MockClock
ONE = PoolDefaults(min=1, max=1)
S = State


def states(watch: Watch) -> list[State]:
    """The states an agent has gone through; each must be allowed to follow the one before."""
    changes = [event for event in watch.events if isinstance(event, StateChanged)]
    for one, other in itertools.pairwise(changes):
        assert one.new is other.old
        assert one.at <= other.at
    for change in changes:
        assert change.new in FOLLOWS[change.old]
    return [State.STARTING, *(change.new for change in changes)]


# ---- starting, working, ending


async def test_opening_an_agent_waits_for_nothing(autojump_clock: MockClock) -> None:
    source = TestSource(open_time=20.0, start_time=20.0)
    async with agent(source) as it:
        assert trio.current_time() == 0
        assert it.state is S.STARTING
        with pytest.raises(AgentUnavailable, match="agent 'a' is starting"):
            await it.call(envelope())
        await it.wait_until(S.IDLE)
        assert trio.current_time() == pytest.approx(40.0)


async def test_every_change_of_state_is_an_event(autojump_clock: MockClock) -> None:
    source, watch = TestSource(pool_defaults=ONE), Watch()
    async with agent(source, watch=watch) as it:
        await it.wait_until(S.IDLE)
        await outcome(it, envelope("sleep 1"))
        it.pause()
        it.resume()
    assert states(watch) == [
        *(S.STARTING, S.IDLE, S.BUSY, S.IDLE, S.PAUSED, S.IDLE, S.DRAINING, S.STOPPED)
    ]
    assert it.state is S.STOPPED


async def test_an_illegal_change_of_state_is_a_fault_of_ours(autojump_clock: MockClock) -> None:
    async with agent(TestSource()) as it:
        await it.wait_until(S.IDLE)
        with pytest.raises(RuntimeError, match="cannot go from idle to stopped"):
            it._become(S.STOPPED)


async def test_its_status_is_plain_data_and_measured(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=ONE)
    described = settings(description="it does things", roles=("r",), capabilities=("y", "x"))
    async with agent(source, described) as it:
        await it.wait_until(S.IDLE)
        await outcome(it, envelope("sleep 1"))
        status = msgspec.json.decode(msgspec.json.encode(it.status()))
        assert status["state"] == "idle"
        assert status["capabilities"] == ["x", "y"]
        assert status["offers"] == {"tools": 1, "resources": 0, "templates": 0, "prompts": 0}
        assert status["durations"]["count"] == 1
        assert status["durations"]["mean"] == pytest.approx(1.0)
        assert status["stderr"] == ["a/1: worker 1 starts"]
        assert (status["calls"], status["succeeded"], status["pool"]["workers"]) == (1, 1, 1)


async def test_all_workers_are_stopped_at_once_not_one_after_another(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=20, max=20), close_time=2.0)
    async with agent(source) as it:
        await it.wait_until(S.IDLE)
        await trio.testing.wait_all_tasks_blocked()
        assert len(source.alive) == 20
    assert trio.current_time() == pytest.approx(2.0)
    assert source.alive == set()
    assert source.closed == 1


async def test_leaving_while_workers_start_does_not_wait_for_them(
    autojump_clock: MockClock,
) -> None:
    async with agent(TestSource(start_time=20.0)) as it:
        await trio.sleep(1)
    async with agent(TestSource(open_time=20.0)):
        await trio.sleep(1)
    assert trio.current_time() == pytest.approx(2.0)
    assert it.state is S.STOPPED


async def test_accepted_calls_end_within_shutdown_when_the_agent_is_closed(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=ONE)
    came = []

    async def ask(what: str) -> None:
        came.append(await outcome(it, envelope(what)))

    async with trio.open_nursery() as nursery:
        async with agent(source, settings(shutdown=5.0)) as it:
            await it.wait_until(S.IDLE)
            for what in ("sleep 2", "sleep 2", "sleep 2"):
                nursery.start_soon(ask, what)
                await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == pytest.approx(5.0)
    assert came[:2] == ["a/1", "a/1"]
    assert isinstance(came[2], OutcomeUnknown), "it had begun and was cut off"


async def test_a_cancelled_agent_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    source, watch = TestSource(pool_defaults=PoolDefaults(min=3, max=3)), Watch()
    with trio.move_on_after(1):
        async with agent(source, watch=watch) as it:
            await outcome_soon(it)
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(1.0)
    assert source.alive == set()
    assert it.state is S.STOPPED
    assert states(watch)[-2:] == [S.DRAINING, S.STOPPED]


async def outcome_soon(it: Agent) -> None:
    await it.wait_until(S.IDLE)
    assert await outcome(it, envelope())


# ---- failing


async def test_a_source_that_cannot_be_opened_fails_the_agent_which_tries_again_ever_later(
    autojump_clock: MockClock,
) -> None:
    source, watch = TestSource(failing_opens=6), Watch()
    waits = {"base": 1.0, "factor": 2.0, "cap": 10.0}
    async with agent(source, settings(restart=waits), watch=watch) as it:
        await it.wait_until(S.FAILED)
        assert it.reason == "Crash: the source cannot be opened"
        retry_after = it.status()["retry_after"]
        assert 0.5 <= retry_after <= 1.0
        await it.wait_until(S.IDLE)
        assert it.status()["retry_after"] is None
        await outcome_soon(it)
    failed = [
        event.at
        for event in watch.events
        if isinstance(event, StateChanged) and event.new is S.FAILED
    ]
    gaps = [later - sooner for sooner, later in itertools.pairwise(failed)]
    for gap, longest in zip(gaps, [1.0, 2.0, 4.0, 8.0, 10.0], strict=True):
        assert longest / 2 <= gap <= longest
    assert len(set(gaps)) == len(gaps), "with jitter"


async def test_a_failed_agent_shows_the_last_lines_its_workers_wrote(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(failing_starts=1)
    async with agent(source) as it:
        await it.wait_until(S.FAILED)
        assert it.reason == "Crash: the worker cannot start"
        assert it.stderr_tail == ("a/1: worker 1 starts", "a/1: it does not work")
        await trio.testing.wait_all_tasks_blocked()  # its life is closed, the next try is known
        with pytest.raises(
            AgentUnavailable, match="is failed: Crash: the worker cannot start"
        ) as caught:
            await it.call(envelope())
        assert caught.value.retry_after is not None
        assert 0.5 <= caught.value.retry_after <= 1.0
        await it.wait_until(S.IDLE)


async def test_stderr_is_bounded_in_lines_and_length(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(S.IDLE)
        for number in range(100):
            source.last.port.stderr(f"{number}" + "x" * 100_000)
        assert len(it.stderr_tail) == 50
        assert max(map(len, it.stderr_tail)) < 1100
        assert it.stderr_tail[-1].startswith("a/1: 99x")


async def test_what_a_failed_agent_offers_leaves_the_directory_and_returns(
    autojump_clock: MockClock,
) -> None:
    source, watch, directory = TestSource(pool_defaults=ONE), Watch(), Directory()
    settings_ = settings(restart={"limit": 0})
    async with open_agent(
        "a",
        settings_,
        source.open,
        lambda: nullcontext(FirstFree()),
        chance=random.Random(1),
        watchers=watch.watchers,
        changed=lambda _: directory.changed(),
    ) as it:
        directory.join(it)
        assert directory.listing("tools").missing == ("a",)
        await it.wait_until(S.IDLE)
        assert [one.name for one in directory.listing("tools").entries] == ["a.echo"]
        source.last.crash()
        await it.wait_until(S.FAILED)
        assert directory.listing("tools").entries == ()
        with pytest.raises(AgentUnavailable, match="more than 0 workers crashed within 60 s"):
            directory.resolve("tools", "a.echo")
        await it.wait_until(S.IDLE)
        assert directory.resolve("tools", "a.echo").agent == "a"
    changes = [event for event in watch.events if isinstance(event, CatalogChanged)]
    assert changes == [CatalogChanged("a", tools=True, resources=False, prompts=False)] * 4


async def test_a_worker_that_crashes_now_and_then_is_replaced_and_the_agent_goes_on(
    autojump_clock: MockClock,
) -> None:
    source, watch = TestSource(pool_defaults=ONE), Watch()
    async with agent(source, watch=watch) as it:
        await it.wait_until(S.IDLE)
        for _ in range(30):
            source.last.crash()
            await trio.sleep(12.1)
        assert it.statistics().crashes == 30
        assert it.statistics().lives == 1
        assert await outcome(it, envelope()) == "a/31"
    assert states(watch) == [S.STARTING, S.IDLE, S.BUSY, S.IDLE, S.DRAINING, S.STOPPED]


async def test_more_than_5_crashes_in_60_seconds_fail_the_agent(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(S.IDLE)
        for _ in range(5):
            source.last.crash()
            await trio.sleep(1)
        assert it.state is S.IDLE
        source.last.crash()
        await it.wait_until(S.FAILED)
        assert it.reason.startswith("more than 5 workers crashed within 60 s, the last: Crash")
        await it.wait_until(S.IDLE)
        assert it.statistics().lives == 2
        await outcome_soon(it)


async def test_a_crash_is_logged_once_whether_the_agent_fails_of_it_or_not(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(S.IDLE)
        for _ in range(5):
            source.last.crash()
            await trio.sleep(1)
        source.last.crash()
        await it.wait_until(S.FAILED)
        warnings = [one for one in caplog.records if one.levelno >= logging.WARNING]
        assert [one.getMessage() for one in warnings] == [
            *(f"agent a: worker a/{n} crashed" for n in range(1, 6)),
            f"agent a is failed: {it.reason}",
        ]
        assert all(one.exc_info is not None for one in warnings[:5])


async def test_the_wait_is_short_again_after_a_life_that_lasted(autojump_clock: MockClock) -> None:
    source, watch = TestSource(pool_defaults=ONE, failing_starts=4), Watch()
    async with agent(source, settings(restart={"limit": 0, "base": 1.0}), watch=watch) as it:
        await it.wait_until(S.IDLE)
        await trio.sleep(61)
        source.last.crash()
        await trio.testing.wait_all_tasks_blocked()
        assert it.state is S.FAILED
        retry_after = it.status()["retry_after"]
        assert 0.5 <= retry_after <= 1.0


async def test_one_that_always_fails_disturbs_no_other(autojump_clock: MockClock) -> None:
    bad, good = TestSource(failing_opens=10**6), TestSource(pool_defaults=ONE)
    async with agent(bad) as failing, agent(good) as working:
        await working.wait_until(S.IDLE)
        for _ in range(100):
            assert await outcome(working, envelope("sleep 1")) == "a/1"
        assert failing.state is S.FAILED
        assert failing.statistics().lives > 3
        assert (failing.statistics().pool, working.statistics().lives) == (None, 1)


async def test_what_starts_too_slowly_has_failed(autojump_clock: MockClock) -> None:
    slow = settings(pool={"start_timeout": 5.0})
    async with agent(TestSource(start_time=60.0), slow) as it:
        await it.wait_until(S.FAILED)
        assert trio.current_time() == pytest.approx(5.0)
        assert it.reason == "worker a/1 was not ready within 5 s"
    async with agent(TestSource(open_time=60.0), slow) as it:
        await it.wait_until(S.FAILED)
        assert it.reason == "agent a was not open within 5 s"


async def test_what_closes_too_slowly_is_cut_off(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = TestSource(pool_defaults=ONE, close_time=1000.0)
    async with agent(source, settings(shutdown=3.0)) as it:
        await it.wait_until(S.IDLE)
        source.last.crash()
        await trio.testing.wait_all_tasks_blocked()
        assert await outcome(it, envelope()) == "a/2", "its place is taken while it closes"
    assert "worker a/2 took too long to close and was cut off" in caplog.text
    assert trio.current_time() < 10


async def test_a_source_that_closes_too_slowly_is_cut_off(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = TestSource(pool_defaults=ONE)

    @asynccontextmanager
    async def sticky() -> AsyncGenerator[TestSource]:
        try:
            yield source
        finally:
            await trio.sleep(1000)

    async with agent(source, settings(shutdown=3.0), open_source=sticky) as it:
        await it.wait_until(S.IDLE)
    assert trio.current_time() == pytest.approx(3.0)
    assert "agent a took too long to close and was cut off" in caplog.text


async def test_a_worker_that_returns_before_it_is_ready_has_failed(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=ONE)

    class Odd(TestSource):
        @asynccontextmanager
        async def open_worker(self, port):  # type: ignore[no-untyped-def]
            if self.started:
                async with TestSource.open_worker(self, port) as worker:
                    yield worker
            self.started += 1

    source = Odd(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(S.FAILED)
        assert "generator didn't yield" in it.reason
        await it.wait_until(S.IDLE)


async def test_an_error_while_leaving_is_noted_and_harms_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    class Spiteful(TestSource):
        @asynccontextmanager
        async def open_worker(self, port):  # type: ignore[no-untyped-def]
            async with TestSource.open_worker(self, port) as worker:
                yield worker
            raise Crash("on the way out")

    source = Spiteful(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(S.IDLE)
    assert it.state is S.STOPPED
    assert it.statistics().crashes == 0
    assert "worker a/1 ended badly when told to leave: Crash: on the way out" in caplog.text


# ---- pausing


async def test_a_paused_agent_takes_no_calls_and_ends_those_it_has(
    autojump_clock: MockClock,
) -> None:
    source, watch = TestSource(pool_defaults=ONE), Watch()
    came = []

    async def ask() -> None:
        came.append(await outcome(it, envelope("sleep 2")))

    async with agent(source, watch=watch) as it:
        await it.wait_until(S.IDLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            it.pause()
            with pytest.raises(AgentUnavailable, match="is paused: paused by an operator"):
                await it.call(envelope())
            with pytest.raises(AgentUnavailable):
                it.pause()
            await trio.sleep(1)
            it.resume()
            assert it.state is S.BUSY
        assert came == ["a/1", "a/1"]
        with pytest.raises(AgentUnavailable, match="agent 'a' is idle, not paused"):
            it.resume()
    assert states(watch) == [
        *(S.STARTING, S.IDLE, S.BUSY, S.PAUSED, S.BUSY, S.IDLE, S.DRAINING, S.STOPPED)
    ]


async def test_a_paused_agent_comes_back_paused_until_it_is_resumed(
    autojump_clock: MockClock,
) -> None:
    source, watch = TestSource(pool_defaults=ONE), Watch()
    async with agent(source, settings(restart={"limit": 0}), watch=watch) as it:
        await it.wait_until(S.IDLE)
        it.pause()
        source.last.crash()
        await it.wait_until(S.FAILED)
        await it.wait_until(S.PAUSED)
        assert it.reason == "paused by an operator"
        source.last.crash()
        await it.wait_until(S.FAILED)
        it.resume()
        assert it.state is S.FAILED
        assert await it.wait_until(S.IDLE, S.PAUSED) is S.IDLE


# ---- restarting


async def test_a_restart_lets_calls_end_and_refuses_those_that_wait(
    autojump_clock: MockClock,
) -> None:
    source, watch = TestSource(pool_defaults=ONE), Watch()
    came = []

    async def ask() -> None:
        came.append(await outcome(it, envelope("sleep 2")))

    async with agent(source, watch=watch) as it:
        await it.wait_until(S.IDLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            it.restart()
            await it.wait_until(S.IDLE)
        assert trio.current_time() == pytest.approx(2.0)
        refusal, answer = came
        assert isinstance(refusal, AgentUnavailable)
        assert answer == "a/1"
        assert source.opened == 2
        assert await outcome(it, envelope()) == "a/2", "no number is given twice"
    assert states(watch)[2:5] == [S.BUSY, S.STARTING, S.IDLE]


async def test_a_failed_agent_told_to_restart_does_not_wait(autojump_clock: MockClock) -> None:
    source = TestSource(failing_opens=1)
    async with agent(source, settings(restart={"base": 1000.0, "cap": 1000.0})) as it:
        await it.wait_until(S.FAILED)
        it.restart()
        await it.wait_until(S.IDLE)
        assert trio.current_time() == 0


async def test_a_restart_while_it_starts_starts_anew(autojump_clock: MockClock) -> None:
    source = TestSource(open_time=10.0)
    async with agent(source) as it:
        await trio.sleep(4)
        it.restart()
        await it.wait_until(S.IDLE)
        assert trio.current_time() == pytest.approx(14.0)
    source = TestSource(start_time=10.0)
    async with agent(source) as it:
        await trio.sleep(4)
        it.restart()
        await it.wait_until(S.IDLE)
        assert trio.current_time() == pytest.approx(28.0)


# ---- draining


async def test_a_drained_agent_ends_what_it_accepted_and_stops(autojump_clock: MockClock) -> None:
    source, watch = TestSource(pool_defaults=ONE), Watch()
    came = []

    async def ask() -> None:
        came.append(await outcome(it, envelope("sleep 2")))

    async with agent(source, watch=watch) as it:
        await it.wait_until(S.IDLE)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert await it.drain(10.0) is True
            assert trio.current_time() == pytest.approx(6.0)
        assert came == ["a/1", "a/1", "a/1"]
        assert (it.state, source.alive) == (S.STOPPED, set())
        with pytest.raises(AgentUnavailable, match="is stopped"):
            await it.call(envelope())
        assert await it.stop() is True
        await trio.sleep(1000)
        assert it.state is S.STOPPED
        it.restart()
        await it.wait_until(S.IDLE)
        await outcome_soon(it)
    assert states(watch)[3:7] == [S.DRAINING, S.STOPPED, S.STARTING, S.IDLE]


async def test_what_does_not_end_within_the_drain_is_cut_off(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=ONE)
    came = []

    async def ask() -> None:
        came.append(await outcome(it, envelope("forever")))

    async with agent(source) as it:
        await it.wait_until(S.IDLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert await it.drain(3.0) is False
            assert trio.current_time() == pytest.approx(3.0)
    assert {type(one) for one in came} == {OutcomeUnknown, AgentUnavailable}


async def test_a_worker_that_dies_while_the_agent_drains_is_replaced_for_those_who_wait(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=ONE)
    came = []

    async def ask(what: str) -> None:
        came.append(await outcome(it, envelope(what)))

    async with agent(source) as it:
        await it.wait_until(S.IDLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "crash 1")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, "echo")
            await trio.testing.wait_all_tasks_blocked()
            assert await it.drain(10.0) is False
    assert came[1] == "a/2"


async def test_a_restart_ends_a_drain(autojump_clock: MockClock) -> None:
    source, watch = TestSource(pool_defaults=ONE), Watch()
    drained = []

    async def drain() -> None:
        drained.append(await it.drain(100.0))

    async with agent(source, settings(shutdown=1.0), watch=watch) as it:
        await it.wait_until(S.IDLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, it, envelope("sleep 50"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(drain)
            await trio.sleep(2)
            it.restart()
            await it.wait_until(S.IDLE)
        assert drained == [False]
    assert S.DRAINING in states(watch)


async def test_a_failed_agent_can_be_drained(autojump_clock: MockClock) -> None:
    source, watch = TestSource(failing_opens=100), Watch()
    async with agent(source, watch=watch) as it:
        await it.wait_until(S.FAILED)
        assert await it.drain(1.0) is True
        lives = it.statistics().lives
        await trio.sleep(1000)
        assert it.statistics().lives == lives
    assert states(watch) == [S.STARTING, S.FAILED, S.DRAINING, S.STOPPED]


async def test_a_life_that_fails_while_it_drains_ends_the_drain(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source, settings(restart={"limit": 0})) as it:
        await it.wait_until(S.IDLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, it, envelope("crash 1"))
            await trio.testing.wait_all_tasks_blocked()
            assert await it.drain(100.0) is False
            assert trio.current_time() < 2
            assert it.state is S.STOPPED


# ---- what workers say


async def test_the_last_announcement_of_any_worker_holds(autojump_clock: MockClock) -> None:
    source, watch = TestSource(pool_defaults=PoolDefaults(min=2, max=2)), Watch()
    async with agent(source, watch=watch) as it:
        await it.wait_until(S.IDLE)
        await trio.testing.wait_all_tasks_blocked()
        before = watch.changes
        first, second = source.workers
        first.port.announce(catalog("echo"))
        second.port.announce(catalog("echo"))
        assert watch.changes == before, "nothing new"
        second.port.announce(catalog("echo other", prompts="p"))
        assert [one.name for one in it.catalog.tools] == ["echo", "other"]
        assert watch.changes == before + 1
        assert watch.events[-1] == CatalogChanged("a", tools=True, resources=False, prompts=True)
        first.port.notify("notifications/message", msgspec.Raw(b"{}"))
        said = Notification("a", "notifications/message", msgspec.Raw(b"{}"))
        assert watch.events[-1:] == [said]


async def test_nobody_listens_to_a_worker_that_is_gone(autojump_clock: MockClock) -> None:
    source, watch = TestSource(pool_defaults=ONE), Watch()
    async with agent(source, watch=watch) as it:
        await it.wait_until(S.IDLE)
        gone = source.last
        gone.crash()
        await trio.testing.wait_all_tasks_blocked()
        events = len(watch.events)
        gone.port.announce(catalog("late"))
        gone.port.notify("late", msgspec.Raw(b"{}"))
        gone.port.stderr("late")
        assert [one.name for one in it.catalog.tools] == ["echo"]
        assert len(watch.events) == events
        assert "late" not in str(it.stderr_tail)
        assert (gone.port.agent, gone.port.worker) == ("a", "a/1")


async def test_an_agent_that_offers_nothing_is_known_to_offer_nothing(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(catalog=catalog())
    async with agent(source, AgentSettings()) as it:
        await it.wait_until(S.IDLE)
        directory = Directory()
        directory.join(it)
        assert directory.listing("tools") == Listing((), ())


# ---- heartbeats


async def test_a_worker_that_stops_answering_is_lost_after_3_heartbeats_and_replaced(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=ONE, heartbeat=True)
    async with agent(source) as it:
        await it.wait_until(S.IDLE)
        await trio.sleep(31)
        assert source.last.pings == 6
        assert it.statistics().crashes == 0
        source.last.hung = True
        await trio.sleep(18.9)
        assert it.statistics().crashes == 0
        await trio.sleep(0.2)
        assert it.statistics().crashes == 1, "asked at 35, 40 and 45 s, given up at 50 s"
        await trio.testing.wait_all_tasks_blocked()
        assert await outcome(it, envelope()) == "a/2"


async def test_one_answer_makes_good_for_two_misses(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=ONE, heartbeat=True)
    async with agent(source) as it:
        await trio.sleep(1)
        for _ in range(5):
            source.refuse_pings = True
            await trio.sleep(10)
            source.refuse_pings = False
            await trio.sleep(5)
        assert it.statistics().crashes == 0
        source.refuse_pings = True
        await trio.sleep(16)
        assert it.statistics().crashes == 1
        source.refuse_pings = False
    assert it.state is S.STOPPED


async def test_a_busy_worker_may_be_too_busy_to_answer(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=ONE, heartbeat=True)
    async with agent(source) as it:
        await it.wait_until(S.IDLE)
        source.last.hung = True
        assert await outcome(it, envelope("sleep 100", deadline=200)) == "a/1"
        assert it.statistics().crashes == 0


async def test_a_worker_that_let_a_call_expire_and_does_not_answer_is_lost_though_busy(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=1, max=1, concurrency=2), heartbeat=True)
    async with agent(source) as it:
        await it.wait_until(S.IDLE)
        source.last.hung = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, it, envelope("forever", deadline=1000))
            await outcome(it, envelope("forever", deadline=1))
            await trio.sleep(21)
            assert it.statistics().crashes == 1
            assert it.statistics().lost == 1
