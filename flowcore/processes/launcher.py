"""The launcher: opens child processes that cannot outlive us."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from flowcore.processes import template
from flowcore.processes.background import Background, open_background
from flowcore.processes.command import argument_vector, child_environment
from flowcore.processes.connection import Connection, Life, open_connection
from flowcore.processes.errors import LauncherFailed
from flowcore.processes.launcher_program import frames
from flowcore.processes.process import Process
from flowcore.processes.running import Manner, Order, run_process
from flowcore.processes.template import Template

logger = logging.getLogger(__name__)


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
        connection = await self.connect()
        life = Life(next(self._numbers))
        order = self._order(frames.SPAWN, life, command, env, cwd)
        manner = Manner(
            stderr_lines=stderr_lines,
            on_stderr=on_stderr,
            close_grace=close_grace,
            term_grace=term_grace,
        )
        async with run_process(connection, life, order, manner) as process:
            self._spawned += 1
            yield process

    @asynccontextmanager
    async def open_template(
        self,
        target: str,
        *,
        python: Sequence[str] = ("python",),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        on_stderr: Callable[[str], None] | None = None,
    ) -> AsyncGenerator[Template]:
        """Import a Python program once, to fork it for each process of it that is wanted.

        `target` is `module:function` or `./file.py:function`; `python` the interpreter and its options, with
        a first word that is exactly "python" for this one; the rest is as in `open_process`. The program must
        have no second thread and no event loop once it is imported. Its forks do not end with it.

        Raises TemplateFailed, and what `open_process` raises.
        """
        connection = await self.connect()
        life = Life(next(self._numbers))
        command = [*python, str(template.PROGRAM), target]
        order = self._order(frames.TEMPLATE, life, command, env, cwd)
        manner = Manner(stderr_lines=50, on_stderr=on_stderr, close_grace=0.5, term_grace=0.5)
        async with run_process(connection, life, order, manner) as process:
            self._spawned += 1
            await template.wait_ready(target, process)
            yield Template(target, process, connection, life.number, self._marker, self._numbers)

    def _order(
        self,
        operation: int,
        life: Life,
        command: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
    ) -> Order:
        arguments = argument_vector(command)
        environment = child_environment(env)
        environment[frames.MARK] = frames.mark_of(self._marker, life.number)
        directory = os.fspath(cwd) if cwd is not None else ""
        payload = frames.spawn_payload(
            os.fsencode(directory),
            [os.fsencode(one) for one in arguments],
            [os.fsencode(f"{name}={value}") for name, value in environment.items()],
        )
        return Order(
            operation=operation,
            payload=payload,
            arguments=tuple(arguments),
            directory=directory,
            path=environment["PATH"],
        )

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
