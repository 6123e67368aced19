"""One life of a child: from its start to its end, in a task of its own."""

from __future__ import annotations

import math
from typing import Any

import trio

from flowcore.errors import FlowError
from flowcore.supervise.child import Child
from flowcore.supervise.policy import Exit


class StartFailed(FlowError):
    """A child did not become ready; `__cause__` tells why where it raised."""


class GaveUp(FlowError):
    """A supervisor saw more restarts than it may and stopped; `__cause__` is the last failure."""


class Instance:
    """A running child. Its scope is shielded: only its supervisor stops it."""

    __slots__ = (
        "_settled",
        "child",
        "done",
        "error",
        "exit",
        "handle",
        "scope",
        "started_once",
        "stop",
    )

    def __init__(self, child: Child) -> None:
        self.child = child
        self.scope = trio.CancelScope(shield=True)
        self.stop = trio.Event()
        self.done = trio.Event()
        self._settled = trio.Event()
        self.handle: Any = None
        self.started_once = False
        self.error: BaseException | None = None
        self.exit = Exit.NORMAL

    @property
    def cut_off(self) -> bool:
        """Whether it was cancelled, rather than having ended when it was told to."""
        return self.scope.cancelled_caught

    def started(self, value: Any = None) -> None:
        """The child says that it is ready (this is trio's TaskStatus interface)."""
        self.handle = value
        self.started_once = True
        self._settled.set()

    async def live(self) -> None:
        """Run the child to its end and note how it ended. Never raises an Exception."""
        try:
            with self.scope:
                await self.child.run(self.stop, task_status=self)
        except GaveUp as error:
            self.error = error
            self.exit = Exit.SHUTDOWN
        except Exception as error:
            # the child's own failure, whole; its supervisor decides what follows
            self.error = error
            self.exit = Exit.CRASH
        else:
            if self.stop.is_set() or self.scope.cancelled_caught:
                self.exit = Exit.SHUTDOWN
        finally:
            self.done.set()
            self._settled.set()

    async def wait_started(self) -> None:
        """Wait until the child is ready. Raises StartFailed if it ended or took too long instead."""
        with trio.move_on_after(self.child.start_timeout):
            await self._settled.wait()
        if self.started_once:
            return
        if not self.done.is_set():
            self.scope.cancel()
            with trio.CancelScope(shield=True):
                await self.done.wait()
            self.error = StartFailed(f"not ready within {self.child.start_timeout:g} s")
        reason = self.error or "it returned without calling started()"
        raise StartFailed(f"child {self.child.name!r} did not start: {reason}") from self.error

    async def end(self, *, graceful: bool, overdue: Any) -> None:
        """Stop the child and wait until it is gone: told first, cancelled at its deadline.

        `overdue()` is called once if it still runs a second after it was cancelled.
        """
        if self.done.is_set():
            return
        allowance = self.child.shutdown if graceful else 0.0
        if allowance == 0:
            self.scope.cancel()  # first: a child that is a supervisor would else close gracefully
        elif allowance < math.inf:
            self.scope.deadline = trio.current_time() + allowance
        self.stop.set()
        with trio.move_on_after(allowance + 1.0):
            await self.done.wait()
        if not self.done.is_set():
            overdue()
            await self.done.wait()
