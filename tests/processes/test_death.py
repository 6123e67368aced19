"""Whatever dies, and however: no child process is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from flowcore.processes import (
    ExitStatus,
    InputClosed,
    Launcher,
    LauncherFailed,
    Process,
    open_launcher,
    open_shared_launcher,
)
from support.living import alive, children, wait_dead

FAMILY = ["python", "-I", "-S", str(Path(__file__).with_name("family.py"))]

HOLDER = """
import json, os, sys, threading
import trio
from flowcore.processes import open_launcher

how, *command = sys.argv[1:]

async def hold():
    async with (
        open_launcher() as launcher,
        launcher.open_template(command[-1] + ":main") as template,
        launcher.open_process(command) as one,
        launcher.open_process([*command, "wiped"]) as two,
        template.open_process() as three,
    ):
        pids = [launcher.statistics().pid, template.pid]
        for process in (one, two, three):
            pids += json.loads(await anext(process.lines()))
        if how == "forked":  # a copy of us that goes on, with all our file descriptors
            copy = os.fork()
            if copy == 0:
                while True: __import__("signal").pause()
            pids.append(copy)
        print(json.dumps(pids), flush=True)
        if how == "exit":
            os._exit(1)
        await trio.sleep_forever()

if how == "thread":
    threading.Thread(target=trio.run, args=[hold]).start()
else:
    trio.run(hold)
"""


@asynccontextmanager
async def open_holder(how: str) -> AsyncGenerator[tuple[subprocess.Popen[bytes], list[int]]]:
    """Another program that holds a launcher and two families; yields the ids of all its processes."""
    command = [sys.executable, "-W", "ignore", "-c", HOLDER, how, *FAMILY]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220 - it starts at once
    assert holder.stdout is not None
    try:
        yield holder, json.loads(await trio.to_thread.run_sync(holder.stdout.readline))
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize("how", ["main", "thread"])
async def test_all_die_with_us_even_by_sigkill(how: str) -> None:
    async with open_holder(how) as (holder, pids):
        assert len(pids) == 1 + 1 + 3 * 4
        assert all(map(alive, pids))
        holder.send_signal(signal.SIGKILL)
        await wait_dead(pids)


async def test_all_die_with_us_though_a_copy_of_us_holds_the_channel() -> None:
    async with open_holder("forked") as (holder, pids):
        *family, copy = pids
        try:
            holder.send_signal(signal.SIGKILL)
            await wait_dead(family)
            assert alive(copy)
        finally:
            os.kill(copy, signal.SIGKILL)


async def test_all_die_when_we_leave_without_a_word() -> None:
    async with open_holder("exit") as (_, pids):
        await wait_dead(pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
async def test_the_launcher_stays_while_we_do(number: signal.Signals) -> None:
    async with open_launcher() as launcher, launcher.open_process(["cat"]) as process:
        pid = launcher.statistics().pid
        assert pid is not None
        os.kill(pid, number)
        await process.send_line(b"still here")
        assert await anext(process.lines()) == b"still here"
        assert await _runs(launcher)
        assert launcher.statistics().pid == pid


async def test_when_the_launcher_is_killed_its_processes_die_and_another_takes_over() -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process(FAMILY) as process:
            lines = process.lines()
            family = json.loads(await anext(lines))
            first = launcher.statistics().pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            status = await process.wait()
            assert status == ExitStatus()
            assert str(status) == "was killed together with its launcher"
            assert [line async for line in lines] == []
            with pytest.raises(InputClosed):
                await _send_on(process)
        assert not any(map(alive, family))
        async with launcher.open_process(["echo", "again"]) as process:
            assert await anext(process.lines()) == b"again"
        statistics = launcher.statistics()
        assert statistics.starts == 2
        assert statistics.pid != first
        assert children() >= {statistics.pid}
        assert first not in children()


async def _send_on(process: Process) -> None:
    while True:
        await process.send_line(b"x" * 10_000)


async def test_an_idle_launcher_that_is_killed_is_started_again_when_needed() -> None:
    async with open_launcher() as launcher:
        for starts in range(1, 6):
            assert await _runs(launcher)
            assert launcher.statistics().starts == starts
            pid = launcher.statistics().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await wait_dead([pid])
            with trio.fail_after(60):
                while launcher.statistics().pid is not None:
                    await trio.lowlevel.checkpoint()


async def test_a_launcher_killed_while_it_starts_processes_fails_them_with_a_reason() -> None:
    async with open_launcher() as launcher:
        outcomes: list[str] = []

        async def spawn() -> None:
            try:
                async with launcher.open_process(["cat"]) as process:
                    await process.wait()
                    outcomes.append("lost")
            except LauncherFailed:
                outcomes.append("failed")

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(spawn)
            await trio.lowlevel.checkpoint()
            pid = launcher.statistics().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        assert len(outcomes) == 20
        assert await _runs(launcher)


async def _runs(launcher: Launcher) -> bool:
    """Whether a process can be started, and ends well."""
    try:
        async with launcher.open_process(["true"]) as process:
            return (await process.wait()).ok
    except LauncherFailed:
        return False


async def test_a_launcher_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowcore.processes.connection.PYTHON", ("/nowhere/python",))
    with pytest.raises(LauncherFailed, match="cannot be started"):
        async with open_launcher():
            pytest.fail("it was opened")
    monkeypatch.setattr("flowcore.processes.connection.PYTHON", ("/bin/false",))
    with pytest.raises(LauncherFailed, match="did not start"):
        async with open_launcher():
            pytest.fail("it was opened")


async def test_a_launcher_that_cannot_start_again_fails_processes_until_it_can() -> None:
    async with open_launcher() as launcher:
        pid = launcher.statistics().pid
        assert pid is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("flowcore.processes.connection.PYTHON", ("/bin/false",))
            os.kill(pid, signal.SIGKILL)
            for _ in range(3):
                assert not await _runs(launcher)
        assert await _runs(launcher)


async def test_a_shared_launcher_starts_when_first_asked_for() -> None:
    before = children()
    async with open_shared_launcher() as shared:
        assert children() <= before
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("flowcore.processes.connection.PYTHON", ("/bin/false",))
            with pytest.raises(LauncherFailed):
                await shared.get()
        launcher = await shared.get()
        assert await shared.get() is launcher
        assert await _runs(launcher)
        assert len(children() - before) == 1
    assert children() <= before
