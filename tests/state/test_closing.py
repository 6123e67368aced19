"""A state that is closed while others read from it: they are told, and nothing is asked of a closed file."""

from __future__ import annotations

import gc
import pathlib
import sqlite3
import threading
from contextlib import aclosing

import pytest
import trio

from flowcore.errors import StateUnavailable
from flowcore.state import ReadLevel, State
from flowcore.state.gate import Gate
from support.keeping import keeping, note


async def test_the_file_is_closed_when_no_thread_is_in_it(tmp_path: pathlib.Path) -> None:
    entered, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(connection: sqlite3.Connection) -> None:
        del connection
        entered.set()
        go_on.wait()
        order.append("read")

    async with trio.open_nursery() as nursery:
        async with keeping(tmp_path / "data") as kept:
            state = kept.state
            nursery.start_soon(state._read, ReadLevel.STALE, slow)
            await trio.to_thread.run_sync(entered.wait)
            closed = state._file.close

            def close() -> None:
                order.append("closed")
                closed()

            state._file.close = close  # type: ignore[method-assign]
            threading.Timer(0.05, go_on.set).start()  # while it waits to be closed
    assert order == ["read", "closed"]


async def test_snapshots_that_are_read_when_it_is_closed_end_with_a_reason(
    tmp_path: pathlib.Path,
) -> None:
    told: list[str] = []

    async def read(state: State, started: trio.Event) -> None:
        try:
            while True:
                async with state.open_snapshot() as (_, pieces), aclosing(pieces):
                    async for _ in pieces:
                        started.set()
        except StateUnavailable as error:
            told.append(str(error))

    for _ in range(15):
        async with trio.open_nursery() as nursery:
            async with keeping(tmp_path / "data") as kept:
                await kept.state.do(note("a", "x" * 1000))
                for _ in range(3):
                    started = trio.Event()
                    nursery.start_soon(read, kept.state, started)
                    await started.wait()
    assert told == ["the state is closed"] * 45
    gc.collect()


async def test_what_is_left_to_be_ended_is_ended_when_the_file_is_closed() -> None:
    gate, ended = Gate(), []
    gate.end(lambda: ended.append("before"))
    with gate.passing():
        with trio.move_on_after(0) as scope:
            await gate.close()
        assert scope.cancelled_caught
        with pytest.raises(StateUnavailable, match="the state is closed"), gate.passing():
            raise AssertionError
    await gate.close()
    gate.end(lambda: ended.append("meanwhile"))
    assert ended == ["before"]
    gate.finish()
    gate.end(lambda: ended.append("after"))
    assert ended == ["before", "meanwhile", "after"]
