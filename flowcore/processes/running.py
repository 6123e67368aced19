"""A process that was asked for, from the asking to its end."""

from __future__ import annotations

import errno
import logging
import math
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from flowcore.processes.background import open_background
from flowcore.processes.connection import Connection, Life
from flowcore.processes.errors import (
    BadDirectory,
    CommandNotExecutable,
    CommandNotFound,
    LauncherFailed,
    SpawnFailed,
    TemplateLost,
)
from flowcore.processes.launcher_program import frames
from flowcore.processes.process import Process

logger = logging.getLogger(__name__)

KILL_PATIENCE = 10.0
"""Seconds to wait for the end of a killed process; only one that hangs in the kernel takes longer."""


@attrs.frozen(kw_only=True)
class Order:
    """What the launcher is asked to start."""

    operation: int
    """frames.SPAWN, TEMPLATE or FORK."""
    payload: bytes
    arguments: tuple[str, ...]
    """What is run; the others are for telling why it cannot be."""
    directory: str = ""
    path: str = ""
    patience: float = math.inf
    """Seconds that the start may take."""
    give_up: Callable[[], None] = lambda: None
    """Called when its template has failed it, or nobody waits any longer for it and it has not started."""


@attrs.frozen(kw_only=True)
class Manner:
    """How a process is listened to and ended; see `Launcher.open_process`."""

    stderr_lines: int
    on_stderr: Callable[[str], None] | None
    close_grace: float
    term_grace: float


@asynccontextmanager
async def run_process(
    connection: Connection, life: Life, order: Order, manner: Manner
) -> AsyncGenerator[Process]:
    """Have it started, and end it with the block. Raises SpawnFailed, LauncherFailed."""
    ours, theirs = _open_pipes()
    process = Process(
        order.arguments, connection, life, ours, manner.stderr_lines, manner.on_stderr
    )
    connection.spawn(life, order.operation, order.payload, theirs)
    try:
        with trio.move_on_after(order.patience):
            await life.settled.wait()
        if not life.settled.is_set():
            raise TemplateLost(f"the template of {order.arguments[0]!r} does not fork")
        if life.failure is not None:
            raise _why_not_started(life.failure, order)
        if not life.pid:
            raise LauncherFailed("the launcher was lost while it started a process")
        async with open_background() as background:
            background.start_soon(process.drain)
            background.start_soon(process.flush)
            try:
                yield process
            finally:
                await process.end(manner.close_grace, manner.term_grace)
    finally:
        if not life.settled.is_set() or (life.failure and life.failure[0] == frames.STEP_TEMPLATE):
            order.give_up()
        await _kill(connection, life)
        process.close()


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


def _why_not_started(failure: tuple[int, int], order: Order) -> SpawnFailed:
    step, number = failure
    program = order.arguments[0]
    reason = os.strerror(number).lower()
    if step == frames.STEP_DIRECTORY:
        return BadDirectory(
            f"the working directory {order.directory!r} cannot be entered: {reason}"
        )
    if step == frames.STEP_TEMPLATE:
        return TemplateLost(f"the template of {program!r} ended or takes no more requests")
    if step == frames.STEP_INTERPRETER:
        return CommandNotExecutable(
            f"{program!r} cannot be run: the interpreter that its first line, or its format, names is missing"
        )
    if step == frames.STEP_EXECUTE:
        if number == errno.ENOENT:
            where = "" if "/" in program else f" on the PATH {order.path!r}"
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
