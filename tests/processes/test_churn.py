"""A thousand processes come and go, and nothing of them is left: no zombie, no file, no memory of them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trio

from flowcore.processes import CommandNotFound, Launcher, open_launcher
from support.living import children, open_fds


async def _come_and_go(launcher: Launcher, times: int) -> None:
    for _ in range(times):
        async with launcher.open_process(["cat"]) as process:
            await process.send_line(b"ping")
            assert await anext(process.lines()) == b"ping"


def _fds_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _children_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


async def test_a_thousand_restarts_leave_nothing() -> None:
    before = children()
    async with open_launcher() as launcher:
        await _come_and_go(launcher, 1)
        pid = launcher.statistics().pid
        assert pid is not None
        fds, its_fds = open_fds(), _fds_of(pid)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(_come_and_go, launcher, 100)
        statistics = launcher.statistics()
        assert (statistics.starts, statistics.processes, statistics.spawned) == (1, 0, 1001)
        assert open_fds() <= fds
        assert _fds_of(pid) == its_fds
        assert _children_of(pid) == ""
        assert children() - before == {pid}
    assert children() <= before


async def test_launchers_come_and_go_in_several_threads_at_once() -> None:
    before, fds = children(), open_fds()
    failures: list[BaseException] = []

    async def use() -> None:
        async with open_launcher() as one, open_launcher() as two:
            await _come_and_go(one, 5)
            await _come_and_go(two, 5)

    def run() -> None:
        try:
            trio.run(use)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await trio.to_thread.run_sync(thread.join)
    assert not failures
    assert children() <= before
    assert open_fds() <= fds


async def test_processes_that_cannot_start_leave_nothing() -> None:
    async with open_launcher() as launcher:
        pid = launcher.statistics().pid
        assert pid is not None
        fds, its_fds = open_fds(), _fds_of(pid)
        for _ in range(100):
            with pytest.raises(CommandNotFound):
                async with launcher.open_process(["no-such-program"]):
                    pytest.fail("it was started")
        assert open_fds() <= fds
        assert _fds_of(pid) == its_fds
        with trio.fail_after(60):  # the last of them says why it cannot start before it ends
            while _children_of(pid):
                await trio.lowlevel.checkpoint()
