"""A child: what a supervisor starts, watches and stops; and what can be seen of it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import attrs
import trio

from flowcore.supervise.policy import Exit, Restart


class Run(Protocol):
    """What a child does: call `task_status.started(handle)` when ready, and return soon after `stop` is set.

    Returning is a normal end, raising an Exception is a crash.
    """

    async def __call__(self, stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None: ...


@attrs.frozen(kw_only=True)
class Child:
    """How a child is started, and how it is met when it ends."""

    name: str
    run: Run
    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
    """Seconds it may take after `stop` is set before it is cancelled; 0 cancels at once, math.inf waits."""
    start_timeout: float = float("inf")
    """Seconds it may take to call `started`; longer counts as a failed start."""

    def __attrs_post_init__(self) -> None:
        if not self.shutdown >= 0:
            raise ValueError(
                f"expected a shutdown of child {self.name!r} >= 0, not {self.shutdown}"
            )
        if not self.start_timeout > 0:
            raise ValueError(
                f"expected a start_timeout of child {self.name!r} > 0, not {self.start_timeout}"
            )


def serve_context(open_: Callable[[], AbstractAsyncContextManager[Any]]) -> Run:
    """A run of an async context manager: ready when entered, its handle what is yielded.

    A graceful stop leaves the block normally, un-cancelled, so that the code after a `yield` can drain.
    """

    async def run(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        async with open_() as handle:
            task_status.started(handle)
            await stop.wait()

    return run


class Phase(enum.Enum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    """Its last attempt to start failed; another will be made."""
    STOPPED = "stopped"
    """It ended or was stopped, and its specification is kept."""


@attrs.frozen(kw_only=True)
class ChildStatus:
    """What can be seen of a child."""

    name: str
    phase: Phase
    handle: Any
    """What it gave to `started`; None while it does not run."""
    restarts: int
    error: BaseException | None
    """What its last crash or failed start raised."""


class What(enum.Enum):
    """What happened to a child."""

    STARTED = "started"
    START_FAILED = "start failed"
    EXITED = "exited"
    """It ended without having been told to."""
    STOPPED = "stopped"
    OVERDUE = "overdue"
    """It was cancelled and still runs: it shields itself or never reaches a checkpoint. A trio task cannot
    be killed; what must be killable belongs in a process."""
    GAVE_UP = "gave up"


@attrs.frozen(kw_only=True)
class Happening:
    """Something that happened under a supervisor; `child` is the supervisor itself for GAVE_UP."""

    what: What
    supervisor: str
    child: str
    exit: Exit | None = None
    error: BaseException | None = None
    at: float
    """On trio's clock."""
