"""Calls through a live pool: real tasks, virtual time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from flowcore.agents import Agent, State
from flowcore.envelope import Envelope, Priority
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    InvalidArguments,
    OutcomeUnknown,
    Overloaded,
    UpstreamFailure,
)
from flowcore.interfaces import PoolDefaults
from support.sources import Crash, TestSource, agent, envelope, outcome, settings

ONE = PoolDefaults(min=1, max=1)

MockClock = trio.testing.MockClock


async def together(agent: Agent, *requests: Envelope, settle: bool = True) -> list[str | CallError]:
    """What comes of requests that are made one after another without waiting for answers."""
    came: list[str | CallError] = [""] * len(requests)

    async def one(index: int, request: Envelope) -> None:
        came[index] = await outcome(agent, request)

    async with trio.open_nursery() as nursery:
        for index, request in enumerate(requests):
            nursery.start_soon(one, index, request)
            if settle:
                await trio.testing.wait_all_tasks_blocked()
    return came


async def test_a_call_is_answered_by_a_warm_worker_without_a_checkpoint_of_ours(
    autojump_clock: MockClock,
) -> None:
    source = TestSource()
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        with trio.testing.assert_no_checkpoints():
            came = await outcome(it, envelope("echo"))
        assert came == "a/1"
        assert it.state is State.IDLE
        assert it.statistics().succeeded == it.statistics().calls == 1


async def test_the_pool_grows_to_max_and_no_further_and_the_rest_wait_in_order(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=1, max=3), start_time=0.1)
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        came = await together(it, *[envelope("sleep 1") for _ in range(7)])
        assert set(came) == {"a/1", "a/2", "a/3"}
        assert source.most_alive == 3
        statistics = it.statistics()
        assert statistics.succeeded == 7
        assert statistics.pool is not None
        assert statistics.pool.waits == 6


async def test_workers_beyond_min_are_let_go_after_the_idle_timeout(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=2, max=5))
    async with agent(source, settings(pool={"idle_timeout": 10.0})) as it:
        await it.wait_until(State.IDLE)
        await together(it, *[envelope("sleep 1") for _ in range(5)])
        assert len(source.alive) == 5
        await trio.sleep(9.9)
        assert len(source.alive) == 5
        await trio.sleep(0.2)
        assert len(source.alive) == 2
        await trio.sleep(1000)
        assert len(source.alive) == 2


async def test_min_is_kept_warm_from_the_start_the_first_alone(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=4, max=9), start_time=1.0)
    async with agent(source) as it:
        await trio.sleep(0.5)
        assert source.started == 1
        assert await it.wait_until(State.IDLE) is State.IDLE
        assert trio.current_time() == pytest.approx(1.0)
        await trio.sleep(1.5)
        assert len(source.alive) == 4


async def test_with_min_0_a_worker_is_started_to_learn_what_it_offers_and_then_for_calls(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=0, max=2))
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        assert len(it.catalog.tools) == 1
        await trio.sleep(31)
        assert source.alive == set()
        assert it.state is State.IDLE
        assert await outcome(it, envelope()) == "a/2"


async def test_higher_priorities_go_first_and_equals_in_order(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        low, normal, high = Priority.LOW, Priority.NORMAL, Priority.HIGH
        priorities = [normal, low, normal, high, low, high, normal]
        requests = [envelope("sleep 1", priority=priority) for priority in priorities]
        await together(it, *requests)
        done = [requests.index(call) for call in source.last.calls]
        assert done == [0, 3, 5, 2, 6, 1, 4]


async def test_a_full_queue_refuses_at_once_with_a_hint(autojump_clock: MockClock) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source, settings(pool={"queue": 2})) as it:
        await it.wait_until(State.IDLE)
        await outcome(it, envelope("sleep 2"))
        began = trio.current_time()
        refused: list[Overloaded] = []

        async def late() -> None:
            with pytest.raises(Overloaded) as caught:
                await it.call(envelope("sleep 2"))
            assert trio.current_time() == began
            refused.append(caught.value)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(outcome, it, envelope("sleep 2"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(late)
        assert refused[0].retry_after == pytest.approx(3 * 2.0), "three calls of 2 s on one worker"
        assert refused[0].began is False
        assert it.statistics().refused == 1


async def test_without_a_queue_a_call_still_gets_a_worker_that_can_be_started(
    autojump_clock: MockClock,
) -> None:
    """An agent whose workers have all been let go would else never have one again."""
    source = TestSource(pool_defaults=PoolDefaults(min=0, max=2, concurrency=2), start_time=1.0)
    async with agent(source, settings(pool={"queue": 0, "idle_timeout": 5.0})) as it:
        await it.wait_until(State.IDLE)
        await trio.sleep(6)
        assert source.alive == set()
        refused: list[Overloaded] = []

        async def ask() -> None:
            try:
                await it.call(envelope("sleep 3"))
            except Overloaded as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(ask)
        assert len(refused) == 2, "two workers of two calls each, and nobody waits for those"
        assert source.most_alive == 2


async def test_a_worker_does_as_many_calls_at_once_as_its_concurrency(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=1, max=1, concurrency=3))
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        began = trio.current_time()
        await together(it, *[envelope("sleep 1") for _ in range(6)])
        assert trio.current_time() - began == pytest.approx(2.0)


# ---- deadlines and cancellation


async def test_a_call_that_takes_too_long_is_cancelled_and_its_worker_is_free_again(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        error = await outcome(it, envelope("forever", deadline=3.0))
        assert isinstance(error, DeadlineExceeded)
        assert error.began
        assert source.last.cancelled == 1
        assert await outcome(it, envelope()) == "a/1"
        assert (it.statistics().expired, it.statistics().succeeded) == (1, 1)


async def test_a_wait_that_takes_too_long_never_began_and_takes_no_worker_later(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        first, second = await together(it, envelope("sleep 5"), envelope("echo", deadline=2.0))
        assert first == "a/1"
        assert isinstance(second, DeadlineExceeded)
        assert second.began is False
        assert len(source.last.calls) == 1
        assert await outcome(it, envelope()) == "a/1"


async def test_a_caller_that_goes_away_returns_the_worker_and_leaves_the_queue(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.call, envelope("forever"))
            nursery.start_soon(it.call, envelope("forever"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert it.state is State.IDLE
        assert await outcome(it, envelope()) == "a/1"
        assert it.statistics().cancelled == 2
        assert source.last.cancelled == 1


async def test_granted_and_cancelled_in_the_same_moment_gives_the_worker_back(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        async with trio.open_nursery() as nursery:
            holder, waiter = trio.CancelScope(), trio.CancelScope()

            async def within(scope: trio.CancelScope) -> None:
                with scope:
                    await it.call(envelope("forever"))

            nursery.start_soon(within, holder)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(within, waiter)
            await trio.testing.wait_all_tasks_blocked()
            assert it._lives.life is not None
            waiting = it._lives.life.pool._queues[Priority.NORMAL][0]
            granted = waiting.wake

            def wake_and_cancel() -> None:
                granted()
                waiter.cancel()

            waiting.wake = wake_and_cancel
            holder.cancel()
        assert it.statistics().cancelled == 2
        assert await outcome(it, envelope()) == "a/1"


# ---- errors


@pytest.mark.parametrize(
    ("what", "kind", "counted"),
    [
        ("invalid", InvalidArguments, "failed"),
        ("broken", UpstreamFailure, "faulty"),
        ("bug", ZeroDivisionError, "faulty"),
    ],
)
async def test_an_error_of_the_worker_passes_as_it_is_and_the_worker_stays(
    autojump_clock: MockClock, what: str, kind: type[Exception], counted: str
) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        with pytest.raises(kind, match="as the test said"):
            await it.call(envelope(what))
        assert await outcome(it, envelope()) == "a/1"
        assert attrs.asdict(it.statistics())[counted] == 1


async def test_a_worker_that_dies_ends_its_calls_at_once_as_unknown_and_is_replaced(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=1, max=1, concurrency=2))
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        began = trio.current_time()
        lost, other, waiting = await together(
            it, envelope("forever"), envelope("crash 1"), envelope("echo")
        )
        for error in (lost, other):
            assert isinstance(error, OutcomeUnknown)
            assert "a/1 was gone" in str(error)
        assert waiting == "a/2", "the one who waited gets the one that took its place"
        assert trio.current_time() - began == pytest.approx(1.0)
        assert (it.statistics().lost, it.statistics().crashes) == (2, 1)
        assert it.status()["trouble"] is None


async def test_an_exception_a_dying_worker_makes_of_a_call_is_unknown_too(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=ONE)
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        error = await outcome(it, envelope("broken-pipe"))
        assert isinstance(error, OutcomeUnknown)
        assert isinstance(error.__cause__, Crash)
        assert it.statistics().lost == 1


async def test_a_dead_worker_ends_a_call_that_does_not_heed_cancellation_as_what_it_answers(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=1, max=1, concurrency=2))
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        stubborn, crash = await together(it, envelope("stubborn 5"), envelope("crash 1"))
        assert isinstance(stubborn, OutcomeUnknown)
        assert isinstance(crash, OutcomeUnknown)


# ---- when it cannot serve


async def test_who_waits_for_a_worker_that_cannot_start_is_refused_with_the_reason(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=0, max=1))
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        await trio.sleep(31)
        source.failing_starts = 1
        error = await outcome(it, envelope())
        assert isinstance(error, AgentUnavailable)
        assert "agent 'a' is failed: Crash: the worker cannot start" in str(error)
        assert await it.wait_until(State.IDLE) is State.IDLE, "and tried again"


async def test_a_failed_start_beside_healthy_workers_is_tried_again_later_and_harms_nobody(
    autojump_clock: MockClock,
) -> None:
    source = TestSource(pool_defaults=PoolDefaults(min=1, max=3))
    async with agent(source) as it:
        await it.wait_until(State.IDLE)
        source.failing_starts = 3
        came = await together(it, *[envelope("sleep 1") for _ in range(4)])
        assert "a/1" in came
        assert not any(isinstance(one, CallError) for one in came)
        assert it.tally.lives == 1
        assert it.statistics().crashes >= 1


async def test_a_broken_balancer_is_named_in_the_log_and_calls_go_on(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def pick(self, candidates: Any, affinity: bytes | None, now: float) -> int:
            return 100

        def started(self, worker: int, now: float) -> None:
            raise Crash("started")

        def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
            raise Crash("finished")

        def removed(self, worker: int) -> None:
            raise Crash("removed")

    source = TestSource(pool_defaults=PoolDefaults(min=3, max=3))
    async with agent(source, balancer=Broken()) as it:
        await it.wait_until(State.IDLE)
        await trio.testing.wait_all_tasks_blocked()
        assert not any(isinstance(one, CallError) for one in await together(it, *[envelope()] * 3))
        source.last.crash()
        await trio.testing.wait_all_tasks_blocked()
        assert await outcome(it, envelope()) == "a/1"
    assert caplog.text.count("balancer 'Broken' failed") == 1


async def test_a_balancer_sees_the_weight_of_workers_and_who_ended_how(
    autojump_clock: MockClock,
) -> None:
    heard: list[tuple[str, Any]] = []

    class Listening:
        def pick(self, candidates: Any, affinity: bytes | None, now: float) -> int:
            heard.append(("pick", ([one.weight for one in candidates], affinity)))
            return 0

        def started(self, worker: int, now: float) -> None:
            heard.append(("started", worker))

        def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
            heard.append(("finished", (worker, round(seconds, 3), ok)))

        def removed(self, worker: int) -> None:
            heard.append(("removed", worker))

    source = TestSource(pool_defaults=PoolDefaults(min=2, max=2))
    async with agent(source, balancer=Listening()) as it:
        await it.wait_until(State.IDLE)
        await trio.testing.wait_all_tasks_blocked()
        await outcome(it, envelope("sleep 1", affinity=b"x"))
        await outcome(it, envelope("invalid"))
        await outcome(it, envelope("forever", deadline=2.0))
        with trio.move_on_after(1):
            await it.call(envelope("forever", deadline=2.0))
        await outcome(it, envelope("crash"))
        await trio.testing.wait_all_tasks_blocked()
        assert heard[-1][0] == "removed", "a lost call is not reported after its worker's removal"
    kinds: Callable[[str], list[Any]] = lambda kind: [what for one, what in heard if one == kind]  # noqa: E731
    assert kinds("pick")[0] == ([1.0, 1.0], b"x")
    assert [(round(seconds), ok) for _, seconds, ok in kinds("finished")] == [
        (1, True),
        (0, True),
        (2, False),
    ]
    assert sorted(kinds("removed")) == [1, 2, 3]
    assert len(kinds("started")) == 5


async def test_nobody_waits_forever_whatever_dies(autojump_clock: MockClock) -> None:
    """Crash injection: random work, crashes and cancels; every call ends, and all the books are even."""
    source = TestSource(pool_defaults=PoolDefaults(min=2, max=4, concurrency=2))
    numbers = {"limit": 10_000}
    chance = __import__("random").Random(8)
    kinds = ["echo", "sleep 0.3", "sleep 1", "crash 0.2", "invalid", "bug", "forever"]

    async def client(it: Agent) -> None:
        for _ in range(60):
            with trio.move_on_after(chance.choice([0.5, 5.0])):
                try:
                    await outcome(
                        it, envelope(chance.choice(kinds), deadline=chance.uniform(0.2, 3))
                    )
                except ZeroDivisionError:
                    await trio.lowlevel.checkpoint()
            await trio.sleep(chance.uniform(0, 0.2))

    async with agent(source, settings(restart=numbers, pool={"queue": 1})) as it:
        await it.wait_until(State.IDLE)
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(partial(client, it))
        statistics = it.statistics()
        ends = (
            statistics.succeeded + statistics.failed + statistics.faulty + statistics.expired
            + statistics.cancelled + statistics.lost + statistics.refused
        )  # fmt: skip
        assert ends == statistics.calls == 12 * 60
        assert min(statistics.succeeded, statistics.lost, statistics.refused) > 0
        assert (statistics.running, statistics.waiting) == (0, 0)
        assert source.most_alive <= 4
        await trio.sleep(31)
        assert len(source.alive) == 2
        assert it.state is State.IDLE
    assert source.alive == set()
