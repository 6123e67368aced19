"""The launcher: opens child processes that cannot outlive us."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from flowcore.processes.background import Background, open_background
from flowcore.processes.command import argument_vector, child_environment
from flowcore.processes.connection import Connection, Life, open_connection
from flowcore.processes.errors import (
    BadDirectory,
    CommandNotExecutable,
    CommandNotFound,
    LauncherFailed,
    SpawnFailed,
)
from flowcore.processes.launcher_program import frames
from flowcore.processes.process import Process

logger = logging.getLogger(__name__)

KILL_PATIENCE = 10.0
"""Seconds to wait for the end of a killed process; only one that hangs in the kernel takes longer."""


@attrs.frozen(kw_only=True)
class LauncherStatistics:
    """What a launcher does now, and did."""

    pid: int | None
    """The process id of the launcher program; None while there is none."""
    starts: int
    """How often the launcher program was started: more than once only if it was killed."""
    processes: int
    """Processes that run now, or are being started or ended."""
    spawned: int
    """Processes started so far."""


class Launcher:
    """Starts processes through a program of its own. Made by `open_launcher` only."""

    def __init__(self) -> None:
        self._marker = os.urandom(12).hex()
        self._numbers = itertools.count(1)
        self._connection: Connection | None = None
        self._failure = ""
        self._attempt = trio.Event()
        """Set when the start of the program that goes on, or comes next, has succeeded or failed."""
        self._wanted = trio.Event()
        self._bereft: list[Life] = []
        """Processes whose launcher was lost before they were ended."""
        self._starts = 0
        self._spawned = 0

    def statistics(self) -> LauncherStatistics:
        """What it does now, and did."""
        connection = self._connection
        return LauncherStatistics(
            pid=connection.pid if connection else None,
            starts=self._starts,
            processes=len(connection.lives) if connection else 0,
            spawned=self._spawned,
        )

    @asynccontextmanager
    async def open_process(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stderr_lines: int = 50,
        on_stderr: Callable[[str], None] | None = None,
        close_grace: float = 0.5,
        term_grace: float = 2.0,
    ) -> AsyncGenerator[Process]:
        """Start a process, and end it with the block.

        `command` is the program and its arguments; a first word that is exactly "python" means this
        interpreter; a program without "/" is looked up on the PATH that the child is given. The environment
        is that of `child_environment(env)`: a few variables of ours, and `env`. The last `stderr_lines` lines
        of its stderr are kept, and `on_stderr` is told of each as it comes.

        Leaving the block closes its stdin and waits `close_grace` seconds for its end; sends SIGTERM to
        whatever is left of it and of what it has started and waits `term_grace` seconds; then SIGKILL. If the
        block is cancelled, SIGKILL comes at once. Either way nothing of it is left when the block has ended.

        Raises CommandNotFound, CommandNotExecutable, BadDirectory or another SpawnFailed; LauncherFailed;
        ValueError for a command or an environment that cannot be.
        """
        arguments = argument_vector(command)
        environment = child_environment(env)
        directory = os.fspath(cwd) if cwd is not None else ""
        connection = await self.connect()
        life = Life(next(self._numbers))
        environment[frames.MARK] = f"{self._marker}.{life.number}"
        payload = frames.spawn_payload(
            os.fsencode(directory),
            [os.fsencode(one) for one in arguments],
            [os.fsencode(f"{name}={value}") for name, value in environment.items()],
        )
        ours, theirs = _open_pipes()
        process = Process(tuple(arguments), connection, life, ours, stderr_lines, on_stderr)
        connection.spawn(life, payload, theirs)
        try:
            await life.settled.wait()
            if life.failure is not None:
                raise _why_not_started(life.failure, arguments[0], directory, environment["PATH"])
            if not life.pid:
                raise LauncherFailed("the launcher was lost while it started a process")
            self._spawned += 1
            async with open_background() as background:
                background.start_soon(process.drain)
                background.start_soon(process.flush)
                try:
                    yield process
                finally:
                    await process.end(close_grace, term_grace)
        finally:
            await _kill(connection, life)
            process.close()

    async def connect(self) -> Connection:
        """The connection to the launcher program, started if it does not run. Raises LauncherFailed."""
        if self._connection is None:
            attempt = self._attempt
            self._wanted.set()
            await attempt.wait()
        if self._connection is None:
            raise LauncherFailed(self._failure)
        return self._connection

    async def keep(self) -> None:
        """Keep a launcher program running, until cancelled."""
        try:
            while True:
                self._wanted = trio.Event()
                try:
                    await self._one_connection()
                except LauncherFailed as error:
                    self._failure = str(error)
                    self._attempted()
                else:
                    self._failure = "the launcher of child processes was lost"
                    logger.warning("%s, and %d processes with it", self._failure, len(self._bereft))
                if not self._bereft:  # else sweep at once
                    await self._wanted.wait()
        finally:
            self._attempted()

    async def _one_connection(self) -> None:
        """Start the program and wait until it is lost."""
        bereft = [life.pid for life in self._bereft if life.pid] if self._starts else None
        async with open_connection(self._marker, bereft=bereft) as connection:
            self._starts += 1
            self._connection = connection
            self._attempted()
            try:
                await connection.lost.wait()
            finally:
                self._connection = None
                self._bereft += connection.lives.values()

    def _attempted(self) -> None:
        """A start was tried: tell who waits for it. What the last launcher left is gone, as far as can be."""
        attempt, self._attempt = self._attempt, trio.Event()
        attempt.set()
        for life in self._bereft:
            life.gone.set()
        self._bereft.clear()


def _open_pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Three pipes for stdin, stdout and stderr: our ends, which do not block, and the child's.

    Raises SpawnFailed if there are too many open files.
    """
    opened: list[int] = []
    try:
        for _ in range(3):
            opened += os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        for one in opened:
            os.close(one)
        raise SpawnFailed(f"no pipes can be opened for a process: {error.strerror}") from error
    stdin, to_stdin, from_stdout, stdout, from_stderr, stderr = opened
    ours = (to_stdin, from_stdout, from_stderr)
    for one in ours:
        os.set_blocking(one, False)
    return ours, (stdin, stdout, stderr)


def _why_not_started(
    failure: tuple[int, int], program: str, directory: str, path: str
) -> SpawnFailed:
    step, number = failure
    reason = os.strerror(number).lower()
    if step == frames.STEP_DIRECTORY:
        return BadDirectory(f"the working directory {directory!r} cannot be entered: {reason}")
    if step == frames.STEP_INTERPRETER:
        return CommandNotExecutable(
            f"{program!r} cannot be run: the interpreter that its first line, or its format, names is missing"
        )
    if step == frames.STEP_EXECUTE:
        if number == errno.ENOENT:
            where = "" if "/" in program else f" on the PATH {path!r}"
            return CommandNotFound(f"the command {program!r} was not found{where}")
        if number == errno.EACCES:
            return CommandNotExecutable(f"{program!r} cannot be run: {reason}")
        if number == errno.ENOEXEC:
            return CommandNotExecutable(
                f"{program!r} cannot be run: it is no program, and its first line names none (#!...)"
            )
    return SpawnFailed(f"{program!r} cannot be started: {reason}")


async def _kill(connection: Connection, life: Life) -> None:
    """End what is left of a process at once, whoever is cancelled; return when it is gone."""
    if life.gone.is_set():
        return
    with trio.CancelScope(shield=True):
        connection.end(life, 0)
        with trio.move_on_after(KILL_PATIENCE):
            await life.gone.wait()
    if not life.gone.is_set():
        logger.warning("the process %d does not end, though it was killed", life.pid)


@asynccontextmanager
async def open_launcher() -> AsyncGenerator[Launcher]:
    """A launcher for as long as the block lasts: `async with launcher.open_process([...])` in it.

    It costs one small process. Any number may be open, in any thread that runs trio. Whatever ends this
    process, SIGKILL included, ends all that its launchers have started. If the launcher program itself is
    killed, its processes die with it (their `ExitStatus` says so), and another is started. Linux only.

    Raises LauncherFailed.
    """
    async with open_background() as background:
        launcher = Launcher()
        background.start_soon(launcher.keep)
        await launcher.connect()
        yield launcher


class SharedLauncher:
    """A launcher for many, started when the first of them asks. Made by `open_shared_launcher` only."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._launcher: Launcher | None = None

    async def get(self) -> Launcher:
        """The launcher. Raises LauncherFailed; the next who asks tries again."""
        if self._launcher is None:
            self._launcher = Launcher()
            self._background.start_soon(self._launcher.keep)
        await self._launcher.connect()
        return self._launcher


@asynccontextmanager
async def open_shared_launcher() -> AsyncGenerator[SharedLauncher]:
    """A launcher that costs nothing until it is asked for, open until the block ends."""
    async with open_background() as background:
        yield SharedLauncher(background)
