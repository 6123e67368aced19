"""The thread that touches a file: in order, one at a time, and told what came of it."""

from __future__ import annotations

import gc
import os
import threading

import pytest
import trio

from flowcore.sqlite import FileThread


async def test_work_is_done_in_order_in_one_thread_and_gives_what_it_gives() -> None:
    thread, done, names = FileThread("a file"), [], set()

    def work(number: int) -> int:
        names.add(threading.current_thread().name)
        done.append(number)
        return number * 2

    found: dict[int, int] = {}

    async def ask(number: int) -> None:
        found[number] = await thread.run(lambda: work(number))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(ask, number)
    assert found == {number: number * 2 for number in range(100)}
    assert sorted(done) == list(range(100))
    assert names == {"a file"}
    thread.end()


async def test_what_it_raises_is_raised_where_it_was_asked_for() -> None:
    thread = FileThread("a file")
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    assert await thread.run(lambda: "and goes on") == "and goes on"
    thread.end()


async def test_what_was_begun_is_waited_for_and_what_was_not_is_not_begun() -> None:
    thread, begun, may_end = FileThread("a file"), trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    ended = []

    def work() -> None:
        token.run_sync_soon(begun.set)
        may_end.wait()
        ended.append("work")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(thread.run, work)
        await begun.wait()
        nursery.cancel_scope.cancel()
        may_end.set()
    assert ended == ["work"]
    with trio.CancelScope() as scope:
        scope.cancel()
        await thread.run(lambda: ended.append("never"))
    assert ended == ["work"]
    thread.end()


async def test_later_work_is_done_before_what_is_asked_for_after_it() -> None:
    thread, done = FileThread("a file"), []
    thread.later(lambda: done.append("later"))
    assert await thread.run(lambda: list(done)) == ["later"]
    thread.end()


def test_nobody_has_to_be_there_any_more() -> None:
    may_end, ended = threading.Event(), threading.Event()

    async def main() -> None:
        thread = FileThread("a file")
        thread.later(lambda: (may_end.wait(), None)[1])
        thread.later(ended.set)
        thread.end()

    trio.run(main)
    may_end.set()
    assert ended.wait(10)


async def test_who_gives_up_before_it_is_begun_keeps_nobody_from_being_told() -> None:
    """Many ask for work in one file, some with a deadline that is over: the others all get theirs."""
    thread, got = FileThread("a file"), []

    async def ask(number: int) -> None:
        for turn in range(20):
            with trio.CancelScope() as scope:
                if (number + turn) % 3 == 0:
                    scope.cancel()
                got.append(await thread.run(lambda: (number, turn)))  # noqa: B023
            if turn % 5 == number:
                await trio.lowlevel.checkpoint()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, number)
    assert sorted(got) == sorted(
        (number, turn) for number in range(10) for turn in range(20) if (number + turn) % 3
    )
    thread.end()


async def test_it_is_idle_when_all_that_was_asked_for_is_over() -> None:
    thread, may_end = FileThread("a file"), threading.Event()
    assert thread.idle
    thread.later(lambda: (may_end.wait(), None)[1])
    assert not thread.idle
    may_end.set()
    assert await thread.run(lambda: thread.idle) is False  # while it works itself
    assert thread.idle
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    assert thread.idle
    thread.end()


async def test_an_ended_thread_leaves_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        thread = FileThread("a file")
        assert await thread.run(lambda: 1) == 1
        thread.end()
        ended = thread.thread
        del thread
        await trio.to_thread.run_sync(ended.join)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 2
