"""Lines out of whatever a process writes: complete, bounded, in linear time."""

from __future__ import annotations

import os
import tracemalloc
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from flowcore.processes import Lines, LineTooLong, open_launcher
from flowcore.processes.output import TURN, Source

PYTHON = ["python", "-I", "-S", "-c"]


class Chunks:
    """A source of just these reads."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.chunks.pop(0) if self.chunks else b""


@given(st.lists(st.text("ab\n", min_size=1, max_size=9).map(str.encode)), st.integers(0, 12))
async def test_lines_are_those_of_the_text_however_it_is_cut(
    chunks: list[bytes], bound: int
) -> None:
    *expected, rest = b"".join(chunks).split(b"\n")
    lines = Lines(Chunks(list(chunks)), bound)  # type: ignore[arg-type]
    seen: list[bytes] = []
    try:
        async for line in lines:
            seen.append(line)
    except LineTooLong:
        bad = next(n for n, line in enumerate([*expected, rest]) if len(line) > bound)
        assert seen == expected[:bad]
        with pytest.raises(LineTooLong):
            await anext(lines)
    else:
        assert all(len(line) <= bound for line in (*expected, rest))
        assert seen == expected
        assert lines.remainder == rest


async def test_a_line_of_the_bound_passes_and_one_more_byte_does_not() -> None:
    code = (
        "import sys; sys.stdout.buffer.write(b'x' * 1_000_000 + b'\\n' + b'y' * 1_000_001 + b'\\n')"
    )
    async with open_launcher() as launcher, launcher.open_process([*PYTHON, code]) as process:
        lines = process.lines(max_bytes=1_000_000)
        assert await anext(lines) == b"x" * 1_000_000
        with pytest.raises(LineTooLong, match="more than 1,000,000 bytes"):
            await anext(lines)


async def test_a_line_of_100_mb_and_endless_output_cost_no_memory() -> None:
    code = "import sys\nwhile True: sys.stdout.buffer.write(b'x' * 10_000_000)"
    async with open_launcher() as launcher, launcher.open_process([*PYTHON, code]) as process:
        tracemalloc.start()
        try:
            with pytest.raises(LineTooLong):
                await anext(process.lines(max_bytes=1 << 20))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 << 20


async def test_endless_lines_hold_up_nobody() -> None:
    code = "import sys\nwhile True: sys.stdout.buffer.write(b'spam\\n' * 1000)"
    async with (
        open_launcher() as launcher,
        launcher.open_process([*PYTHON, code]) as flood,
        launcher.open_process(["cat"]) as other,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_on, flood.lines())
            lines = other.lines()
            for _ in range(20):
                await other.send_line(b"ping")
                assert await anext(lines) == b"ping"
            nursery.cancel_scope.cancel()


async def _read_on(lines: Lines) -> None:
    async for line in lines:
        assert line == b"spam"


async def test_endless_stderr_holds_up_nobody() -> None:
    code = "import sys\nwhile True: sys.stderr.buffer.write(b'spam\\n' * 1000)"
    async with (
        open_launcher() as launcher,
        launcher.open_process([*PYTHON, code], stderr_lines=3) as flood,
        launcher.open_process(["cat"]) as other,
    ):
        lines = other.lines()
        for _ in range(20):
            await other.send_line(b"ping")
            assert await anext(lines) == b"ping"
        with trio.fail_after(60):
            while flood.stderr_tail()[:2] != ("spam", "spam"):
                await trio.lowlevel.checkpoint()


async def test_what_was_written_before_the_end_is_read_after_it() -> None:
    read, write = os.pipe2(os.O_NONBLOCK)
    source = Source(read)
    try:
        os.write(write, b"last\n")
        lines = Lines(source, 100)
        source.process_ended()
        assert [line async for line in lines] == [b"last"]  # though the pipe is still open
    finally:
        source.close()
        os.close(write)


async def test_a_flood_of_lines_leaves_others_their_turn() -> None:
    lines = Lines(Chunks([b"\n" * 10_000]), 100)  # type: ignore[arg-type]
    seen, turns = 0, []

    async def other() -> None:
        while True:
            turns.append(seen)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async for _ in lines:
            seen += 1
        nursery.cancel_scope.cancel()
    assert seen == 10_000
    assert max(after - before for before, after in pairwise(turns)) <= 2 * TURN
