"""Processes forked from a template, with real ones: they differ from others only in how fast they come."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from flowcore.processes import (
    ExitStatus,
    Launcher,
    LauncherFailed,
    Template,
    TemplateFailed,
    TemplateLost,
    open_launcher,
)
from support.living import alive, children, open_fds, wait_dead

FAMILY = Path(__file__).with_name("family.py")

PROGRAM = """
import atexit, json, os, random, signal, sys

print("imported")
sys.stdout.write("and left in a buffer")
CHANCE = random.random()
atexit.register(lambda: print("bye", file=sys.stderr))

def main():
    status = open("/proc/self/status").read().split()
    print(json.dumps({
        "pid": os.getpid(), "parent": os.getppid(),
        "session": os.getsid(0), "group": os.getpgrp(),
        "fds": sorted(map(int, os.listdir("/proc/self/fd"))),
        "blocked": status[status.index("SigBlk:") + 1],
        "ignored": status[status.index("SigIgn:") + 1],
        "caught": status[status.index("SigCgt:") + 1],
        "cwd": os.getcwd(), "argv": sys.argv, "path": sys.path[0], "name": __name__,
        "environment": dict(os.environ),
        "mark": [one for one in open("/proc/self/environ").read().split(chr(0)) if "PROCESS" in one],
        "shared": CHANCE, "own": random.random(),
    }), flush=True)
    for line in sys.stdin:
        print(line.strip()[::-1], flush=True)
    return 5

def crash():
    sys.exit("a reason")

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


@asynccontextmanager
async def open_program(
    folder: Path, target: str = "program:main", **settings: Any
) -> AsyncGenerator[tuple[Launcher, Template]]:
    async with open_launcher() as launcher:
        async with launcher.open_template(target, cwd=folder, **settings) as template:
            yield launcher, template


async def test_a_fork_is_like_a_process_that_was_started(folder: Path) -> None:
    async with open_program(folder, env={"OWN": "é"}) as (launcher, template):
        async with template.open_process() as fork:
            lines = fork.lines()
            said = json.loads(await anext(lines))
            await fork.send_line(b"abc")
            assert await anext(lines) == b"cba"
            fork.close_input()
            assert [line async for line in lines] == []
            assert await fork.wait() == ExitStatus(returncode=5)
        assert fork.stderr_tail() == ("bye",)
        assert launcher.statistics().pid == said["parent"]
        assert fork.pid == said["pid"] == said["session"] == said["group"] != template.pid
        async with launcher.open_process(
            ["python", "program.py"], cwd=folder, env={"OWN": "é"}
        ) as process:
            lines = process.lines()
            assert await anext(lines) == b"imported"
            like = json.loads((await anext(lines)).removeprefix(b"and left in a buffer"))
        for key in ("fds", "blocked", "ignored", "caught", "cwd", "path"):
            assert said[key] == like[key], key
        for one in (said, like):
            mark = one["environment"].pop("FLOWCORE_PROCESS")
            assert one["mark"] == [f"FLOWCORE_PROCESS={mark}"]
        assert said["environment"] == like["environment"]
        assert (said["argv"], said["name"]) == (["program:main"], "program")


async def test_forks_share_what_was_imported_but_not_chance(folder: Path) -> None:
    async with open_program(folder) as (_, template):
        said = []
        for _ in range(3):
            async with template.open_process() as fork:
                said.append(json.loads(await anext(fork.lines())))
        assert len({one["shared"] for one in said}) == 1
        for key in ("own", "pid", "session"):
            assert len({one[key] for one in said}) == 3, key
        assert len({tuple(one["mark"]) for one in said}) == 3


async def test_what_is_said_while_it_is_imported_is_not_said_by_a_fork(folder: Path) -> None:
    told: list[str] = []
    async with open_program(folder, on_stderr=told.append) as (_, template):
        async with template.open_process() as fork:
            assert json.loads(await anext(fork.lines()))
    assert told == ["imported", "and left in a bufferbye"]


async def test_how_the_function_ends_is_how_the_process_ends(folder: Path) -> None:
    async with open_program(folder, "program:crash") as (_, template):
        async with template.open_process() as fork:
            assert await fork.wait() == ExitStatus(returncode=1)
            assert fork.stderr_tail() == ("a reason", "bye")
        async with template.open_process() as fork:
            fork.send_signal(signal.SIGKILL)
            assert (await fork.wait()).signal in (None, signal.SIGKILL)


@pytest.mark.parametrize(
    "python", [("python", "-I", "-S"), ("python", "-P", "-u"), (sys.executable,)]
)
async def test_options_of_the_interpreter_hold(folder: Path, python: tuple[str, ...]) -> None:
    async with open_program(folder, "./program.py:main", python=python) as (_, template):
        async with template.open_process() as fork:
            said = json.loads(await anext(fork.lines()))
            safe = {"-I", "-P"} & set(python)
            assert (said["path"] == str(folder)) is not bool(safe)


async def test_a_family_that_does_not_want_to_end_is_ended_with_the_block() -> None:
    async with open_launcher() as launcher, launcher.open_template(f"{FAMILY}:main") as template:
        async with template.open_process(close_grace=0, term_grace=0.01) as one:
            async with template.open_process(close_grace=0, term_grace=0.01) as other:
                first = json.loads(await anext(one.lines()))
                second = json.loads(await anext(other.lines()))
                assert all(map(alive, first + second))
            assert not any(map(alive, second))
            assert all(map(alive, first))
            assert not template.ended
        assert not any(map(alive, first))


async def test_forks_outlive_their_template_and_not_their_block(folder: Path) -> None:
    async with open_program(folder) as (launcher, template):
        async with template.open_process() as fork:
            lines = fork.lines()
            await anext(lines)
            os.kill(template.pid, signal.SIGKILL)
            await template.wait()
            assert template.ended
            await fork.send_line(b"abc")
            assert await anext(lines) == b"cba"
            with pytest.raises(TemplateLost, match="'program:main' ended"):
                async with template.open_process():
                    pytest.fail("it was forked")
        assert not alive(fork.pid)
        assert launcher.statistics().processes == 1  # the template's block is still open


async def test_a_template_that_is_killed_while_it_forks_fails_them_with_a_reason(
    folder: Path,
) -> None:
    outcomes: list[str] = []

    async def fork(template: Template) -> None:
        try:
            async with template.open_process(close_grace=0, term_grace=0) as process:
                await anext(process.lines())
                outcomes.append("forked")
        except TemplateLost:
            outcomes.append("lost")

    async with open_launcher() as launcher:
        before = launcher.statistics().processes
        for _ in range(5):
            async with launcher.open_template("program:main", cwd=folder) as template:
                async with trio.open_nursery() as nursery:
                    for _ in range(10):
                        nursery.start_soon(fork, template)
                    await trio.lowlevel.checkpoint()
                    os.kill(template.pid, signal.SIGKILL)
        assert launcher.statistics().processes == before
    assert len(outcomes) == 50
    assert "lost" in outcomes


async def test_a_template_that_does_not_fork_is_killed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowcore.processes.template.FORK_PATIENCE", 0.05)
    async with open_program(folder) as (_, template):
        os.kill(template.pid, signal.SIGSTOP)
        with pytest.raises(TemplateLost, match="does not fork"):
            async with template.open_process():
                pytest.fail("it was forked")
        await template.wait()


async def test_a_start_that_is_cancelled_leaves_nothing(folder: Path) -> None:
    async with open_program(folder) as (launcher, template):
        os.kill(template.pid, signal.SIGSTOP)
        with trio.move_on_after(0.05):
            async with template.open_process():
                pytest.fail("it was forked")
        await template.wait()
        assert launcher.statistics().processes == 1


async def test_when_the_launcher_is_killed_templates_and_forks_die_with_it(folder: Path) -> None:
    async with open_launcher() as launcher:
        async with (
            launcher.open_template(f"{FAMILY}:main") as template,
            template.open_process() as fork,
        ):
            pids = [template.pid, *json.loads(await anext(fork.lines()))]
            os.kill(launcher.statistics().pid or 0, signal.SIGKILL)
            await wait_dead(pids)
            await template.wait()
            with pytest.raises(LauncherFailed):
                async with template.open_process():
                    pytest.fail("it was forked")
        async with launcher.open_template("program:main", cwd=folder) as template:
            async with template.open_process() as fork:
                assert json.loads(await anext(fork.lines()))


@pytest.mark.parametrize("each", [20, pytest.param(100, marks=pytest.mark.long)])
async def test_hundreds_of_forks_leave_nothing(folder: Path, each: int) -> None:
    (folder / "small.py").write_text("def main():\n    print(input(), flush=True)\n")
    before = children()

    async def come_and_go(template: Template, times: int) -> None:
        for _ in range(times):
            async with template.open_process() as fork:
                await fork.send_line(b"ping")
                assert await anext(fork.lines()) == b"ping"

    async with open_program(folder, "small:main") as (launcher, template):
        await come_and_go(template, 1)
        pid = launcher.statistics().pid
        assert pid is not None
        fds, its, their = open_fds(), _fds_of(pid), _fds_of(template.pid)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(come_and_go, template, each)
        assert launcher.statistics().processes == 1
        assert open_fds() <= fds
        assert (_fds_of(pid), _fds_of(template.pid)) == (its, their)
        assert _children_of(pid) == [template.pid]
        assert _children_of(template.pid) == []
    assert children() <= before


def _fds_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_template_that_cannot_be_leaves_nothing(folder: Path) -> None:
    blank = folder / "blank"
    blank.write_text("#!/bin/sh\necho\n")
    blank.chmod(0o755)
    async with open_launcher() as launcher:
        for target, python, reason in (
            ("program:nothing", "python", "has no attribute 'nothing'"),
            ("no_module:main", "python", "No module named 'no_module'"),
            ("./no_file.py:main", "python", "FileNotFoundError"),
            ("program:main", "cat", "'cat' is no Python"),
            ("program:main", str(blank), "blank' is no Python"),
            ("program:main", "false", "before it was ready: it exited with code 1"),
            ("program:CHANCE", "python", "'CHANCE' is no function"),
        ):
            with pytest.raises(TemplateFailed, match=reason):
                async with launcher.open_template(target, python=[python], cwd=folder):
                    pytest.fail("it was opened")
        assert launcher.statistics().processes == 0
