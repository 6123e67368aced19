"""A child process from its start to its end, with real ones."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from pathlib import Path

import pytest
import trio

from flowcore.processes import (
    BadDirectory,
    CommandNotExecutable,
    CommandNotFound,
    ExitStatus,
    SpawnFailed,
    child_environment,
    open_launcher,
)
from support.living import open_fds

PYTHON = ["python", "-I", "-S", "-u", "-c"]


async def test_speaks_in_lines() -> None:
    async with open_launcher() as launcher, launcher.open_process(["cat"]) as process:
        lines = process.lines()
        await process.send_line(b"one")
        await process.send_all(b"two\nthree\nfo")
        assert [await anext(lines) for _ in range(3)] == [b"one", b"two", b"three"]
        await process.send_all(b"ur\nfive")
        process.close_input()
        assert [line async for line in lines] == [b"four"]
        assert lines.remainder == b"five"
        assert await process.wait() == ExitStatus(returncode=0)
        assert process.exit_status == ExitStatus(returncode=0)


async def test_a_line_cannot_be_sent_with_a_newline_in_it() -> None:
    async with open_launcher() as launcher, launcher.open_process(["cat"]) as process:
        with pytest.raises(ValueError, match="newline"):
            await process.send_line(b"a\nb")


async def test_output_can_be_asked_for_once() -> None:
    async with open_launcher() as launcher, launcher.open_process(["cat"]) as process:
        process.lines()
        with pytest.raises(RuntimeError, match="once"):
            process.lines()


@pytest.mark.parametrize(
    ("code", "status", "text", "ok"),
    [
        ("", ExitStatus(returncode=0), "exited with code 0", True),
        ("raise SystemExit(7)", ExitStatus(returncode=7), "exited with code 7", False),
        (
            "import os; os.kill(os.getpid(), 15)",
            ExitStatus(signal=15),
            "was killed by SIGTERM",
            False,
        ),
        (
            "import os; os.kill(os.getpid(), 40)",
            ExitStatus(signal=40),
            "was killed by signal 40",
            False,
        ),
    ],
)
async def test_tells_how_it_ended(code: str, status: ExitStatus, text: str, ok: bool) -> None:
    async with open_launcher() as launcher, launcher.open_process([*PYTHON, code]) as process:
        assert await process.wait() == status
        assert str(status) == text
        assert status.ok is ok


async def test_python_is_this_interpreter() -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process([*PYTHON, "import sys; print(sys.executable)"]) as process:
            assert process.arguments[0] == sys.executable
            assert [line.decode() async for line in process.lines()] == [sys.executable]


async def test_gets_a_small_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_OURS", "canary")
    monkeypatch.setenv("LC_TIME", "C")
    code = "import os; [print(f'{k}={v}') for k, v in os.environ.items()]"
    async with open_launcher() as launcher:
        async with launcher.open_process([*PYTHON, code], env={"MINE": "é=1"}) as process:
            pairs = [line.decode().partition("=") async for line in process.lines()]
    seen = {name: value for name, _, value in pairs}
    assert seen.pop("FLOWCORE_PROCESS").count(".") == 1
    assert seen.pop("LC_CTYPE", None) in (None, "C.UTF-8")  # Python's own doing (PEP 538)
    assert seen == child_environment({"MINE": "é=1"})
    assert "A_SECRET_OF_OURS" not in seen
    assert seen["LC_TIME"] == "C"
    assert seen["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("name", ["", "A=B", "A\0"])
def test_an_environment_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="environment variable"):
        child_environment({name: "x"})


def test_a_value_with_nul_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="'TOKEN' holds a NUL") as caught:
        child_environment({"TOKEN": "canary\0"})
    assert "canary" not in str(caught.value)


async def test_starts_with_default_signals_in_a_session_of_its_own() -> None:
    code = (
        "import os, signal;"
        "print(os.getpid(), os.getsid(0), os.getpgrp());"
        "print(open('/proc/self/status').read())"
    )
    async with open_launcher() as launcher:
        # a shell, since Python itself ignores SIGPIPE
        async with launcher.open_process(
            ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]
        ) as process:
            sets = [int(line.split()[1], 16) async for line in process.lines()]
            # 32 and 33 are the C library's own: it lets nobody change what was inherited
            own = (1 << 31) | (1 << 32)
            assert [one & ~own for one in sets] == [0, 0]
        async with launcher.open_process([*PYTHON, code]) as process:
            pid, session, group = (await anext(process.lines())).split()
            assert int(pid) == int(session) == int(group) == process.pid


async def test_holds_no_file_of_ours_open() -> None:
    code = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int))"
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        async with open_launcher() as launcher:
            async with (
                launcher.open_process(["cat"]),
                launcher.open_process([*PYTHON, code]) as process,
            ):
                # 3 is the listing itself
                assert [line async for line in process.lines()] == [b"['0', '1', '2', '3']"]
    finally:
        os.close(read)
        os.close(write)


async def test_runs_in_the_working_directory_it_is_given(tmp_path: Path) -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process(["pwd"], cwd=tmp_path) as process:
            assert [os.fsdecode(line) async for line in process.lines()] == [str(tmp_path)]


async def test_looks_a_program_up_on_the_path_of_the_child(tmp_path: Path) -> None:
    program = tmp_path / "there" / "greet"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "greet").mkdir()  # a directory of that name does not hide it
    path = f"{tmp_path}/missing:{tmp_path}/first::{tmp_path}/there"
    async with open_launcher() as launcher:
        async with launcher.open_process(["greet"], env={"PATH": path}) as process:
            assert [line async for line in process.lines()] == [b"hello"]


async def test_says_why_it_cannot_start(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("text")
    garbage = tmp_path / "garbage"
    garbage.write_text("\1\2 no program")
    garbage.chmod(0o755)
    script = tmp_path / "script"
    script.write_text("#!/nowhere/interpreter\n")
    script.chmod(0o755)
    cases: list[tuple[list[str], str | None, type[SpawnFailed], str]] = [
        (["no-such-program"], None, CommandNotFound, "'no-such-program' was not found on the PATH"),
        (["./nothing"], None, CommandNotFound, "command './nothing' was not found"),
        ([str(plain)], None, CommandNotExecutable, "permission denied"),
        ([str(tmp_path)], None, CommandNotExecutable, "permission denied"),
        ([str(garbage)], None, CommandNotExecutable, "it is no program"),
        ([str(script)], None, CommandNotExecutable, "the interpreter .* missing"),
        (["cat"], str(tmp_path / "no"), BadDirectory, "cannot be entered: no such file"),
        (["cat"], str(plain), BadDirectory, "cannot be entered: not a directory"),
        (["cat", "x" * 200_000], None, SpawnFailed, "argument list too long"),
    ]
    async with open_launcher() as launcher:
        for command, cwd, error, text in cases:
            with pytest.raises(error, match=text):
                async with launcher.open_process(command, cwd=cwd):
                    pytest.fail("it was started")
        assert launcher.statistics().processes == 0
        assert launcher.statistics().spawned == 0


@pytest.mark.parametrize("command", [[], [""], "ls", ["ls", "a\0b"]])
async def test_refuses_a_command_that_is_none(command: list[str]) -> None:
    async with open_launcher() as launcher:
        with pytest.raises(ValueError, match=r"expected a program|NUL"):
            async with launcher.open_process(command):
                pytest.fail("it was started")


async def test_keeps_the_last_lines_of_stderr_harmless() -> None:
    code = (
        "import sys; e = sys.stderr.buffer\n"
        "for i in range(100): e.write(b'line %d\\n' % i)\n"
        "e.write(b'\\x1b[31mred\\x9b\\r\\n' + b'x' * 1_000_000 + b'\\n' + b'bad \\xff\\nunfinished')\n"
        "e.flush()"
    )
    told: list[str] = []
    async with open_launcher() as launcher:
        async with launcher.open_process(
            [*PYTHON, code], stderr_lines=5, on_stderr=told.append
        ) as process:
            await process.wait()
            tail = process.stderr_tail()
        assert process.stderr_tail() == tail
    assert tail == (
        "line 99",
        "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}",
        "x" * 4096,
        "bad \N{REPLACEMENT CHARACTER}",
        "unfinished",
    )
    assert tuple(told[-5:]) == tail


async def test_tells_each_line_of_stderr_as_it_comes() -> None:
    told: list[str] = []
    async with open_launcher() as launcher:
        async with launcher.open_process(["sh", "-c", "cat >&2"], on_stderr=told.append) as process:
            for number in range(100):
                await process.send_line(b"line %d" % number)
                with trio.fail_after(60):
                    while len(told) <= number:
                        await trio.lowlevel.checkpoint()
    assert told == [f"line {number}" for number in range(100)]


async def test_keeps_no_stderr_where_none_is_wanted() -> None:
    async with open_launcher() as launcher:
        async with launcher.open_process(["sh", "-c", "echo x >&2"], stderr_lines=0) as process:
            await process.wait()
            assert process.stderr_tail() == ()


async def test_a_signal_reaches_everything_of_it() -> None:
    async with open_launcher() as launcher:
        command = ["sh", "-c", "trap 'echo caught; exit' USR1; echo up; (sleep 1000) & wait"]
        async with launcher.open_process(command) as process:
            lines = process.lines()
            assert await anext(lines) == b"up"
            process.send_signal(signal.SIGUSR1)
            assert [line async for line in lines] == [b"caught"]
        process.send_signal(signal.SIGUSR1)  # nothing is left to get it: no error


async def test_what_the_block_raises_leaves_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with open_launcher() as launcher, launcher.open_process(["cat"]):
            raise KeyError


async def test_an_observer_of_stderr_that_fails_ends_its_process_only() -> None:
    def fail(_line: str) -> None:
        raise LookupError

    async with open_launcher() as launcher, launcher.open_process(["cat"]) as other:
        with pytest.RaisesGroup(LookupError):
            async with launcher.open_process(["sh", "-c", "echo x >&2; cat"], on_stderr=fail):
                await trio.sleep_forever()
        await other.send_line(b"still here")
        assert await anext(other.lines()) == b"still here"


async def test_too_many_open_files_is_a_reason_too() -> None:
    async with open_launcher() as launcher:
        gc.collect()  # what an earlier test left must not make room meanwhile
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        fds = open_fds()
        taken = set(map(int, os.listdir("/proc/self/fd")))
        free = [fd for fd in range(len(taken) + 4) if fd not in taken]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[3], before[1]))
        try:
            with pytest.raises(SpawnFailed, match="no pipes can be opened"):
                async with launcher.open_process(["true"]):
                    pytest.fail("it was started")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert open_fds() <= fds
        async with launcher.open_process(["true"]) as process:
            assert (await process.wait()).ok
