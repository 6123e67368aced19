"""Templates: Python programs that are imported once, and forked whenever a process of them is wanted."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from flowcore.processes.connection import Connection, Life
from flowcore.processes.errors import TemplateFailed
from flowcore.processes.launcher_program import frames
from flowcore.processes.process import Process
from flowcore.processes.running import Manner, Order, run_process

PROGRAM = Path(__file__).parent / "template_program.py"
FORK_PATIENCE = 10.0
"""Seconds that a template may take to fork; on an idle machine it takes 0.002."""
_LONGEST_WORD = 65536
"""Bytes of the line in which a template says how it is."""


class Template:
    """A Python program that is imported and ready to be forked. Made by `Launcher.open_template` only."""

    def __init__(
        self,
        target: str,
        process: Process,
        connection: Connection,
        number: int,
        marker: str,
        numbers: Iterator[int],
    ) -> None:
        self._target = target
        self._process = process
        self._connection = connection
        self._number = number
        self._marker = marker
        self._numbers = numbers
        self._given_up = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it can be forked no more, since it has ended or did not fork. Its forks live on."""
        return self._given_up or self._process.exit_status is not None

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()

    @asynccontextmanager
    async def open_process(
        self,
        *,
        stderr_lines: int = 50,
        on_stderr: Callable[[str], None] | None = None,
        close_grace: float = 0.5,
        term_grace: float = 2.0,
    ) -> AsyncGenerator[Process]:
        """Fork it, call the function in the fork, and end that process with the block.

        It is a process like those of `Launcher.open_process`, in a session of its own, with the environment
        and the working directory of the template, and ends as by `sys.exit(function())`.

        Raises TemplateLost if the template has ended, or does not fork within FORK_PATIENCE, upon which it is
        killed, and `ended` is true; another SpawnFailed; LauncherFailed.
        """
        life = Life(next(self._numbers))
        mark = frames.mark_of(self._marker, life.number)
        order = Order(
            operation=frames.FORK,
            payload=frames.PID.pack(self._number) + mark.encode(),
            arguments=(self._target,),
            patience=FORK_PATIENCE,
            give_up=self._kill,
        )
        manner = Manner(
            stderr_lines=stderr_lines,
            on_stderr=on_stderr,
            close_grace=close_grace,
            term_grace=term_grace,
        )
        async with run_process(self._connection, life, order, manner) as process:
            yield process

    def _kill(self) -> None:
        """It does not do its work: what waits for it is told so by its end."""
        self._given_up = True
        self._process.send_signal(signal.SIGKILL)


async def wait_ready(target: str, process: Process) -> None:
    """Wait until a template's process says that it can be forked. Raises TemplateFailed."""
    word = await anext(process.lines(_LONGEST_WORD), None)
    if word is None:
        raise TemplateFailed(
            f"the template of {target!r} ended before it was ready: it {await process.wait()}"
        )
    if word == b"ready":
        return
    said, _, reason = word.decode(errors="replace").partition(": ")
    if said == "failed":
        await process.wait()  # for the last of its stderr
        raise TemplateFailed(f"{target!r} cannot be a template: {reason}")
    raise TemplateFailed(f"{process.arguments[0]!r} is no Python that could run a template")
