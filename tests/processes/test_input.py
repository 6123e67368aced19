"""Writing to a process that reads slowly, or not at all, or no more."""

from __future__ import annotations

import math
import signal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flowcore.processes import InputClosed, Process, open_launcher

BIG = 1_000_000


async def test_messages_of_many_senders_never_mix() -> None:
    async with open_launcher() as launcher, launcher.open_process(["cat"]) as process:
        lines = process.lines()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(process.send_line, b"%02d" % number * (BIG // 20))
            seen = sorted([await anext(lines) for _ in range(20)])
        assert seen == [b"%02d" % number * (BIG // 20) for number in range(20)]


async def test_a_sender_waits_for_a_process_that_does_not_read() -> None:
    async with open_launcher() as launcher, launcher.open_process(["cat"]) as process:
        process.send_signal(signal.SIGSTOP)
        with trio.move_on_after(0.05) as scope:
            await process.send_line(b"x" * BIG)
        assert scope.cancelled_caught
        process.send_signal(signal.SIGCONT)


async def test_a_message_that_had_begun_is_completed_when_its_sender_gives_up() -> None:
    async with open_launcher() as launcher, launcher.open_process(["cat"]) as process:
        lines = process.lines()
        begun, waiting = trio.CancelScope(), trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_in, begun, process, b"a" * BIG)
            await wait_all_tasks_blocked()
            nursery.start_soon(_send_in, waiting, process, b"b" * BIG)
            await wait_all_tasks_blocked()
            nursery.start_soon(process.send_line, b"c" * BIG)
            await wait_all_tasks_blocked()
            begun.cancel()
            waiting.cancel()
            assert await anext(lines) == b"a" * BIG
            assert await anext(lines) == b"c" * BIG


async def _send_in(scope: trio.CancelScope, process: Process, line: bytes) -> None:
    with scope:
        await process.send_line(line)
        pytest.fail("it was sent")


async def test_a_process_that_reads_no_more_is_an_error_for_all_who_send() -> None:
    code = "import os, signal; os.close(0); print('closed', flush=True); signal.pause()"
    async with open_launcher() as launcher:
        async with launcher.open_process(["python", "-I", "-S", "-c", code]) as process:
            await anext(process.lines())
            for _ in range(2):
                with pytest.raises(InputClosed):
                    await process.send_line(b"x")
            process.send_signal(signal.SIGKILL)


async def test_a_process_that_dies_releases_who_waits_to_send() -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process(["sleep", "1000"]) as process:
            failed = 0

            async def send() -> None:
                nonlocal failed
                with pytest.raises(InputClosed):
                    await process.send_line(b"x" * BIG)
                failed += 1

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(send)
                await wait_all_tasks_blocked()
                process.send_signal(signal.SIGKILL)
            assert failed == 3


async def test_closing_the_input_releases_who_waits_to_send() -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process(["sleep", "1000"], close_grace=0) as process:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_expect_closed, process)
                await wait_all_tasks_blocked()
                process.close_input()
            await _expect_closed(process)


async def _expect_closed(process: Process) -> None:
    with trio.fail_after(math.inf), pytest.raises(InputClosed):
        await process.send_line(b"x" * BIG)


async def test_what_is_posted_can_be_taken_back_until_it_begins() -> None:
    async with open_launcher() as launcher, launcher.open_process(["cat"]) as process:
        small = process.post(b"small\n")
        assert small.begun
        await small.wait()
        big, next_, last = (process.post(bytes([c]) * BIG + b"\n") for c in b"bnl")
        assert (big.begun, next_.begun, last.begun) == (True, False, False)
        assert not big.withdraw()
        assert next_.withdraw()
        assert not next_.withdraw()
        lines = process.lines()
        assert [await anext(lines) for _ in range(3)] == [b"small", b"b" * BIG, b"l" * BIG]
        await last.wait()
        assert not small.withdraw()
