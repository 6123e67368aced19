"""Supervision under trio: what OTP has no word for, and the time that OTP's logs do not show."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flowcore.supervise import (
    Child,
    Exit,
    GaveUp,
    Happening,
    Phase,
    Restart,
    StartFailed,
    Strategy,
    What,
    open_supervisor,
    serve_context,
    supervisor_child,
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Script:
    """Children that write down what happens to them and do what they are told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.crash: dict[str, trio.Event] = {}

    def child(self, name: str, *, linger: float = 0, **settings: Any) -> Child:
        async def run(stop: trio.Event, *, task_status: trio.TaskStatus[str]) -> None:
            self.log.append(f"+{name}")
            told = self.crash[name] = trio.Event()
            task_status.started(f"handle of {name}")
            try:
                async with trio.open_nursery() as nursery:

                    async def until_crash() -> None:
                        await told.wait()
                        self.log.append(f"!{name}")
                        raise ValueError(name)

                    nursery.start_soon(until_crash)
                    await stop.wait()
                    await trio.sleep(linger)
                    self.log.append(f"-{name}")
                    nursery.cancel_scope.cancel()
            finally:
                if self.log[-1] not in (f"-{name}", f"!{name}"):
                    self.log.append(f"cancelled {name}")

        return Child(name=name, run=run, **settings)


async def test_children_start_in_order_and_stop_in_reverse() -> None:
    script = Script()
    async with open_supervisor("s", [script.child(name) for name in "abc"]) as supervisor:
        assert [one.phase for one in supervisor.children()] == [Phase.RUNNING] * 3
        assert supervisor.handle("b") == "handle of b"
    assert script.log == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_a_child_that_is_slow_to_stop_is_cancelled_at_its_deadline(
    autojump_clock: MockClock,
) -> None:
    script = Script()
    async with open_supervisor("s", [script.child("a", linger=100, shutdown=3.0)]):
        began = trio.current_time()
    assert script.log == ["+a", "cancelled a"]
    assert trio.current_time() - began == pytest.approx(3.0)


async def test_a_child_that_may_take_for_ever_is_waited_for(autojump_clock: MockClock) -> None:
    script = Script()
    async with open_supervisor("s", [script.child("a", linger=1000, shutdown=math.inf)]):
        pass
    assert script.log == ["+a", "-a"]


async def test_a_child_without_allowance_is_cancelled_at_once(autojump_clock: MockClock) -> None:
    script = Script()
    async with open_supervisor("s", [script.child("a", linger=1000, shutdown=0)]):
        began = trio.current_time()
    assert script.log == ["+a", "cancelled a"]
    assert trio.current_time() == began


async def test_cancelling_the_block_stops_children_one_at_a_time_without_grace(
    autojump_clock: MockClock,
) -> None:
    script = Script()
    began = trio.current_time()
    with trio.CancelScope() as scope:
        async with open_supervisor("s", [script.child(name, linger=50) for name in "abc"]):
            scope.cancel()
            await trio.sleep_forever()
    assert script.log == ["+a", "+b", "+c", "cancelled c", "cancelled b", "cancelled a"]
    assert trio.current_time() == began


async def test_a_supervisor_that_is_cancelled_while_it_stops_its_children_gives_them_no_more_time(
    autojump_clock: MockClock,
) -> None:
    script = Script()
    began = trio.current_time()
    with trio.move_on_after(7) as scope:
        async with open_supervisor("s", [script.child(name, linger=4) for name in "abc"]):
            pass
    assert scope.cancelled_caught
    assert script.log == ["+a", "+b", "+c", "-c", "cancelled b", "cancelled a"]
    assert trio.current_time() - began == pytest.approx(7)


async def test_a_failure_is_told_though_the_stop_after_it_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    script = Script()
    with trio.move_on_after(1), pytest.raises(ZeroDivisionError):
        async with open_supervisor("s", [script.child("a", linger=4)]):
            raise ZeroDivisionError
    with trio.move_on_after(1), pytest.raises(GaveUp):
        children = [script.child("a", linger=4), script.child("b")]
        async with open_supervisor("s", children, intensity=0):
            script.crash["b"].set()
            await trio.sleep_forever()
    assert script.log == ["+a", "cancelled a", "+a", "+b", "!b", "cancelled a"]


async def test_the_deadline_of_a_nested_supervisor_holds_for_its_children(
    autojump_clock: MockClock,
) -> None:
    script = Script()
    names = ("a", "b", "c")
    inner = Child(
        name="inner",
        run=serve_context(
            lambda: open_supervisor("inner", [script.child(one, linger=3) for one in names])
        ),
        shutdown=4.0,
    )
    async with open_supervisor("outer", [script.child("z", linger=1), inner]):
        began = trio.current_time()
    assert script.log == ["+z", "+a", "+b", "+c", "-c", "cancelled b", "cancelled a", "-z"]
    assert trio.current_time() - began == pytest.approx(4 + 1)


async def test_a_nested_supervisor_may_take_as_long_as_its_children_need(
    autojump_clock: MockClock,
) -> None:
    script = Script()
    children = [script.child(one, linger=100, shutdown=200) for one in "ab"]
    inner = supervisor_child("inner", lambda: open_supervisor("inner", children))
    async with open_supervisor("outer", [inner]):
        began = trio.current_time()
    assert script.log == ["+a", "+b", "-b", "-a"]
    assert trio.current_time() - began == pytest.approx(200)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"shutdown": -1.0}, "shutdown"),
        ({"shutdown": math.nan}, "shutdown"),
        ({"start_timeout": 0.0}, "start_timeout"),
        ({"start_timeout": math.nan}, "start_timeout"),
    ],
)
def test_times_that_cannot_be_are_refused(settings: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=f"{text} of child 'a'"):
        Script().child("a", **settings)


@pytest.mark.parametrize(("limit", "period"), [(-1, 5.0), (1, 0.0), (1, math.nan)])
async def test_an_intensity_that_cannot_be_is_refused(limit: int, period: float) -> None:
    with pytest.raises(ValueError, match="intensity"):
        async with open_supervisor("s", intensity=limit, period=period):
            pytest.fail("it was opened")


async def test_a_dependency_outlives_its_dependant_when_the_block_is_cancelled() -> None:
    alive: dict[str, bool] = {}

    @asynccontextmanager
    async def database() -> AsyncGenerator[str]:
        alive["database"] = True
        try:
            yield "database"
        finally:
            alive["database"] = False

    @asynccontextmanager
    async def web() -> AsyncGenerator[str]:
        try:
            yield "web"
        finally:
            alive["database when web flushed"] = alive["database"]

    with trio.CancelScope() as scope:
        children = [
            Child(name="database", run=serve_context(database)),
            Child(name="web", run=serve_context(web)),
        ]
        async with open_supervisor("s", children):
            scope.cancel()
            await trio.sleep_forever()
    assert alive == {"database": False, "database when web flushed": True}


async def test_a_failed_first_start_stops_those_before_it_and_is_raised() -> None:
    script = Script()

    async def broken(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        raise OSError("port taken")

    children = [script.child("a"), script.child("b"), Child(name="c", run=broken)]
    with pytest.raises(StartFailed, match="child 'c' did not start: port taken") as raised:
        async with open_supervisor("s", children):
            raise AssertionError("never entered")
    assert script.log == ["+a", "+b", "-b", "-a"]
    assert isinstance(raised.value.__cause__, OSError)


async def test_a_child_that_returns_before_it_is_ready_did_not_start() -> None:
    async def returns(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        return

    with pytest.raises(StartFailed, match="returned without calling started"):
        async with open_supervisor("s", [Child(name="a", run=returns)]):
            raise AssertionError("never entered")


async def test_a_child_that_is_not_ready_in_time_did_not_start(autojump_clock: MockClock) -> None:
    async def never(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        await trio.sleep_forever()

    with pytest.raises(StartFailed, match="not ready within 2 s"):
        async with open_supervisor("s", [Child(name="a", run=never, start_timeout=2)]):
            raise AssertionError("never entered")
    assert trio.current_time() == pytest.approx(2)


async def test_too_many_restarts_end_the_block_with_what_went_wrong() -> None:
    script = Script()
    with pytest.raises(
        GaveUp, match="more than 1 restarts in 5 s, the last of child 'b'"
    ) as raised:
        async with open_supervisor(
            "s", [script.child("a"), script.child("b")], intensity=1, period=5
        ):
            for name in ("a", "b"):
                script.crash[name].set()
                await wait_all_tasks_blocked()
            raise AssertionError("the block was cancelled")
    assert script.log == ["+a", "+b", "!a", "+a", "!b", "-a"]
    assert isinstance(raised.value.__cause__, ExceptionGroup)


async def test_restarts_outside_the_period_do_not_count(autojump_clock: MockClock) -> None:
    script = Script()
    async with open_supervisor("s", [script.child("a")], intensity=1, period=5) as supervisor:
        for _ in range(10):
            script.crash["a"].set()
            await wait_all_tasks_blocked()
            await trio.sleep(5.1)
        assert supervisor.statistics().restarts == 10
        assert supervisor.statistics().recent == 1
        assert supervisor.statistics().crashes == 10


async def test_a_nested_supervisor_that_gives_up_is_a_failed_child_of_its_parent() -> None:
    script = Script()
    inner = supervisor_child(
        "inner", lambda: open_supervisor("inner", [script.child("a")], intensity=0)
    )
    async with open_supervisor("outer", [inner, script.child("z")], intensity=1) as outer:
        script.crash["a"].set()
        await wait_all_tasks_blocked()
        assert outer.statistics().restarts == 1
        (status, _) = outer.children()
        assert isinstance(status.error, GaveUp)
    assert script.log == ["+a", "+z", "!a", "+a", "-z", "-a"]


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_supervisor("s", [Script().child("a")]):
            raise ZeroDivisionError


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(7)])
async def test_what_ends_a_program_comes_out_of_the_block_as_it_is(error: BaseException) -> None:
    script = Script()
    with pytest.raises(type(error)) as raised:
        async with open_supervisor("top", [script.child("a")]):
            raise error
    assert raised.value is error
    assert script.log == ["+a", "-a"]


async def test_hurrying_ends_a_graceful_stop_under_every_supervisor(
    autojump_clock: MockClock,
) -> None:
    script = Script()
    inner = [script.child("b", linger=50, shutdown=60), script.child("c", linger=50, shutdown=60)]
    branch = supervisor_child("branch", partial(open_supervisor, "branch", inner))
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        children = [script.child("a", linger=50, shutdown=60), branch]
        async with open_supervisor("top", children) as top:

            async def hurry() -> None:
                await trio.sleep(1)
                top.hurry()

            nursery.start_soon(hurry)
    assert script.log == ["+a", "+b", "+c", "cancelled c", "cancelled b", "cancelled a"]
    assert trio.current_time() - began == pytest.approx(1)


async def test_cancelling_the_block_gives_no_grace_under_any_supervisor(
    autojump_clock: MockClock,
) -> None:
    script = Script()
    inner = [script.child("a", linger=50, shutdown=60), script.child("b", linger=50, shutdown=60)]
    branch = supervisor_child("branch", partial(open_supervisor, "branch", inner))
    began = trio.current_time()
    with trio.CancelScope() as scope:
        async with open_supervisor("top", [branch]):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert script.log == ["+a", "+b", "cancelled b", "cancelled a"]
    assert trio.current_time() == began


async def test_a_child_that_fails_or_is_cut_off_while_it_stops_is_told_of(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(stop: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await stop.wait()
        raise OSError("it would not close")

    logging.disable(logging.NOTSET)
    slow = Script().child("slow", linger=50, shutdown=5)
    async with open_supervisor("top", [slow, Child(name="failing", run=fail)]):
        pass
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "top: child 'failing' failed to stop",
        "top: child 'slow' did not stop within 5 s",
    ]


async def test_stopping_interrupts_a_slow_restart(autojump_clock: MockClock) -> None:
    script = Script()
    starts = 0

    async def slow_second_start(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        nonlocal starts
        starts += 1
        if starts > 1:
            script.log.append("slow start")
            await trio.sleep(1000)
        task_status.started()
        await trio.sleep(1)
        raise ValueError("down")

    children = [script.child("a"), Child(name="b", run=slow_second_start, shutdown=2)]
    async with open_supervisor("s", children):
        await trio.sleep(10)
        began = trio.current_time()
    assert script.log == ["+a", "slow start", "-a"]
    assert trio.current_time() - began == pytest.approx(2)


async def test_a_child_that_cannot_be_cancelled_is_named(autojump_clock: MockClock) -> None:
    happenings: list[Happening] = []

    async def deaf(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    async with open_supervisor(
        "s", [Child(name="deaf", run=deaf, shutdown=1)], watch=happenings.append
    ):
        pass
    assert [one.what for one in happenings] == [What.STARTED, What.OVERDUE, What.STOPPED]


async def test_happenings_come_in_order_with_their_reasons() -> None:
    script = Script()
    happenings: list[Happening] = []
    async with open_supervisor(
        "s", [script.child("a")], watch=happenings.append, strategy=Strategy.ONE_FOR_ALL
    ):
        script.crash["a"].set()
        await wait_all_tasks_blocked()
    assert [(one.what, one.exit) for one in happenings] == [
        (What.STARTED, None),
        (What.EXITED, Exit.CRASH),
        (What.STARTED, None),
        (What.STOPPED, Exit.SHUTDOWN),
    ]
    assert isinstance(happenings[1].error, ExceptionGroup)


async def test_a_dynamic_supervisor_forgets_children_that_ended() -> None:
    async def once(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()

    async with open_supervisor("s", dynamic=True) as supervisor:
        for number in range(1000):
            await supervisor.start_child(
                Child(name=str(number), run=once, restart=Restart.TRANSIENT)
            )
        await wait_all_tasks_blocked()
        assert supervisor.children() == ()
        assert supervisor.statistics().started == 1000


async def test_asking_a_supervisor_that_has_closed_is_refused() -> None:
    async with open_supervisor("s") as supervisor:
        pass
    with pytest.raises(RuntimeError, match="is closing"):
        await supervisor.stop_child("a")


async def test_an_ask_under_way_when_the_supervisor_closes_is_answered(
    autojump_clock: MockClock,
) -> None:
    answers: list[str] = []

    async def never(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        await trio.sleep_forever()

    async def ask(start: Callable[[Child], Awaitable[Any]]) -> None:
        try:
            await start(Child(name="never", run=never))
        except RuntimeError as error:
            answers.append(str(error))

    async with trio.open_nursery() as nursery, open_supervisor("s") as supervisor:
        nursery.start_soon(ask, supervisor.start_child)
        nursery.start_soon(ask, supervisor.start_child)
        await wait_all_tasks_blocked()
    assert answers == ["supervisor 's' is closing"] * 2
    assert supervisor.statistics().running == 0


async def test_a_taken_name_is_refused() -> None:
    script = Script()
    with pytest.raises(ValueError, match="two children 'a'"):
        async with open_supervisor("s", [script.child("a"), script.child("a")]):
            raise AssertionError("never entered")
    async with open_supervisor("s", [script.child("a")]) as supervisor:
        with pytest.raises(ValueError, match="already has a child 'a'"):
            await supervisor.start_child(script.child("a"))


async def test_an_ask_whose_caller_went_away_is_not_done() -> None:
    script = Script()
    slow = trio.Event()

    async def waits(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        await slow.wait()
        task_status.started()
        await stop.wait()

    async with open_supervisor("s") as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.start_child, Child(name="slow", run=waits))
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await supervisor.start_child(script.child("a"))
        slow.set()
        await wait_all_tasks_blocked()
        assert [one.name for one in supervisor.children()] == ["slow"]
    assert script.log == []
