"""What is applied on the event loop, and what is left to the thread of the file."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import trio

from flowcore.sqlite import FileThread
from flowcore.state import Command, PutPattern, PutPatterns, ReadLevel, Tidy
from flowcore.state import light as light_module
from flowcore.state import state as state_module
from flowcore.state.light import Light
from support.keeping import Kept, keeping, note


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each piece of work that a thread of a state was asked for."""
    found: list[int] = []
    run = FileThread.run

    async def counted(thread: FileThread, work: Callable[[], Any]) -> Any:
        if thread.thread.name == "state":
            found.append(1)
        return await run(thread, work)

    monkeypatch.setattr(FileThread, "run", counted)
    monkeypatch.setattr(state_module, "_TIDY", 3600.0)  # which asks for work by itself
    return found


async def by_thread(kept: Kept, asked: list[int], command: Command) -> bool:
    """Whether a command goes to the thread; it can be read afterwards in any case."""
    before = len(asked)
    done = await kept.state.do(command)
    assert kept.state.position == done.position
    return len(asked) > before


async def test_what_is_small_is_applied_at_once_and_the_rest_in_the_thread(
    tmp_path: pathlib.Path, asked: list[int]
) -> None:
    async with keeping(tmp_path) as kept:
        # nobody knows yet when something expires first
        assert await by_thread(kept, asked, note("first"))
        assert not await by_thread(kept, asked, note("a", "one"))
        found = await kept.state.pattern("notes", "a", level=ReadLevel.STALE)
        assert found is not None
        assert found.text == "one"
        assert await by_thread(kept, asked, note("b", "x" * 2000))
        assert await by_thread(kept, asked, Tidy())
        assert not await by_thread(kept, asked, note("c", ttl=1000.0))


async def test_what_lets_something_expire_is_applied_in_the_thread(
    tmp_path: pathlib.Path, asked: list[int]
) -> None:
    now = [1000.0]
    async with keeping(tmp_path, clock=lambda: now[0]) as kept:
        await kept.state.do(note("a", ttl=5.0))
        assert not await by_thread(kept, asked, note("b"))
        now[0] = 1006.0
        before = len(asked)
        await kept.state.do(note("c"))
        assert len(asked) > before
        assert await kept.state.pattern("notes", "a") is None


async def test_a_state_in_memory_is_written_by_the_thread_alone(asked: list[int]) -> None:
    async with keeping(None) as kept:
        await kept.state.do(note("first"))
        assert await by_thread(kept, asked, note("a"))


async def test_many_at_a_time_are_all_applied_in_order(tmp_path: pathlib.Path) -> None:
    async with keeping(tmp_path) as kept:

        async def client(number: int) -> None:
            for turn in range(10):
                text = "x" * (2000 if (number + turn) % 3 == 0 else 2)
                done = await kept.state.do(note(f"{number}", f"{turn} {text}"))
                found = await kept.state.pattern("notes", f"{number}", level=ReadLevel.STALE)
                assert found is not None
                assert found.version == done.position

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(client, number)
        assert (await kept.state.counts()).patterns == 8


async def test_what_takes_long_is_left_to_the_thread_for_a_while(
    tmp_path: pathlib.Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(light_module, "perf_counter", lambda: now[0])
    seconds = [0.0]
    took = Light.took
    monkeypatch.setattr(Light, "took", lambda light, _: took(light, seconds[0]))
    async with keeping(tmp_path) as kept:
        await kept.state.do(note("first"))
        assert not await by_thread(kept, asked, note("a"))
        seconds[0] = 0.006
        assert not await by_thread(kept, asked, note("a"))
        seconds[0] = 0.0
        assert await by_thread(kept, asked, note("a"))
        now[0] += 0.9
        assert await by_thread(kept, asked, note("a"))
        now[0] += 0.2
        assert not await by_thread(kept, asked, note("a"))


async def test_several_patterns_in_one_command_are_all_or_none(tmp_path: pathlib.Path) -> None:
    """A command that is refused after it has changed rows leaves nothing, at once as in the thread."""
    async with keeping(tmp_path) as kept:
        await kept.state.do(note("there"))
        both = PutPatterns(
            (
                PutPattern(namespace="notes", key="new", text="n"),
                PutPattern(namespace="notes", key="there", text="n", if_version=0),
            )
        )
        with pytest.raises(Exception, match="at version"):
            await kept.state.do(both)
        assert await kept.state.pattern("notes", "new") is None
        await kept.state.do(note("after"))
        assert await kept.state.pattern("notes", "after") is not None
