"""How a process is ended: in good order where it can be, and always wholly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import trio

from flowcore.processes import ExitStatus, open_launcher
from support.living import alive

PYTHON = ["python", "-I", "-S", "-u", "-c"]
FAMILY = ["python", "-I", "-S", str(Path(__file__).with_name("family.py"))]

POLITE = """
import signal, sys
def bye(*_):
    print("TERM", flush=True)
    sys.exit(5)
signal.signal(signal.SIGTERM, bye)
print("up", flush=True)
sys.stdin.read()
print("end of input", flush=True)
{after}
"""


async def test_the_end_of_its_input_comes_first() -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process(
            [*PYTHON, POLITE.format(after="sys.exit(3)")], close_grace=math.inf
        ) as process:
            lines = process.lines()
            assert await anext(lines) == b"up"
        assert process.exit_status == ExitStatus(returncode=3)


async def test_then_a_signal_that_it_can_obey() -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process(
            [*PYTHON, POLITE.format(after="signal.pause()")], close_grace=0.01, term_grace=1000
        ) as process:
            assert await anext(process.lines()) == b"up"
        assert process.exit_status == ExitStatus(returncode=5)


@pytest.mark.parametrize("kind", ["", "wiped"])
async def test_then_its_whole_family_is_killed(kind: str) -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process(
            [*FAMILY, kind], close_grace=0.01, term_grace=0.01
        ) as process:
            family = json.loads(await anext(process.lines()))
            assert all(map(alive, family))
        assert process.exit_status == ExitStatus(signal=9)
        assert not any(map(alive, family))


async def test_a_family_is_told_from_another() -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process(FAMILY, close_grace=0, term_grace=0) as kept:
            staying = json.loads(await anext(kept.lines()))
            async with launcher.open_process(FAMILY, close_grace=0.01, term_grace=0.01) as process:
                leaving = json.loads(await anext(process.lines()))
            assert all(map(alive, staying))
            assert not any(map(alive, leaving))
        assert not any(map(alive, staying))


async def test_what_it_leaves_behind_when_it_ends_by_itself_is_ended_with_the_block() -> None:
    command = ["sh", "-c", "(trap '' TERM; sleep 1000) & echo $!"]
    async with open_launcher() as launcher:
        async with launcher.open_process(command, term_grace=0.05) as process:
            lines = process.lines()
            left = int(await anext(lines))
            assert await process.wait() == ExitStatus(returncode=0)
            assert [line async for line in lines] == []  # though the sleeper holds its stdout open
            assert alive(left)
        assert not alive(left)


async def test_a_cancelled_block_kills_at_once() -> None:
    async with open_launcher() as launcher:
        with trio.CancelScope() as scope:
            async with launcher.open_process(
                FAMILY, close_grace=math.inf, term_grace=1000
            ) as process:
                family = json.loads(await anext(process.lines()))
                scope.cancel()
        assert scope.cancelled_caught
        assert not any(map(alive, family))


async def test_a_grace_can_be_cut_short() -> None:
    async with open_launcher() as launcher:
        with trio.CancelScope() as scope:
            async with launcher.open_process(FAMILY, close_grace=0.01, term_grace=1000) as process:
                family = json.loads(await anext(process.lines()))
                scope.deadline = trio.current_time() + 0.1
        assert scope.cancelled_caught
        assert not any(map(alive, family))


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    async with open_launcher() as launcher:
        for _ in range(20):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_soon, scope)
                    async with launcher.open_process(["cat"], close_grace=math.inf):
                        await trio.sleep_forever()
        assert launcher.statistics().processes == 0


async def _cancel_soon(scope: trio.CancelScope) -> None:
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_cancelled_launcher_kills_all_it_started() -> None:
    with trio.CancelScope() as scope:
        async with open_launcher() as launcher:
            async with (
                launcher.open_process(FAMILY, term_grace=1000) as one,
                launcher.open_process(FAMILY, close_grace=math.inf) as other,
            ):
                family = json.loads(await anext(one.lines()))
                family += json.loads(await anext(other.lines()))
                scope.cancel()
    assert scope.cancelled_caught
    assert not any(map(alive, family))


async def test_a_cancelled_block_that_shields_can_still_end_its_process_in_good_order() -> None:
    async with open_launcher() as launcher:
        lines = []
        with trio.CancelScope() as scope:
            async with launcher.open_process(["wc", "-c"]) as process:
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await process.send_all(b"x" * 1_000_000)
                    process.close_input()
                    lines = [line async for line in process.lines()]
                    assert (await process.wait()).ok
        assert lines == [b"1000000"]


SLOW_TO_DIE = """
import os, signal
heard, ready = os.pipe()
if os.fork() == 0:
    os.setsid()
    much = bytearray(os.urandom(1) * (192 << 20))  # which takes the kernel a while to take back
    os.write(ready, b"%d" % os.getpid())
    while True:
        signal.pause()
print(os.getpid(), os.read(heard, 20).decode(), flush=True)
while True:
    signal.pause()
"""


async def test_what_has_begun_to_die_is_waited_for_too() -> None:
    """What is just ending has no environment any more that could tell whose it is."""
    async with open_launcher() as launcher, launcher.open_process([*PYTHON, "input()"]):
        async with launcher.open_process([*PYTHON, SLOW_TO_DIE], close_grace=0) as process:
            family = (await anext(process.lines())).split()
        assert not any(map(alive, map(int, family)))
