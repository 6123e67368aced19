"""Threads for functions that are not async, and what becomes of those whose callers have gone.

A thread cannot be stopped from outside. A function whose caller has gone is left behind in its thread: it
goes on, and counts, until it ends by itself.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import trio

from flowcore.errors import Overloaded
from flowcore.telemetry import stay_with_span

Leave = Callable[[], Callable[[], None]]
"""Called when a function is left behind; what it returns is called, in trio's thread, when that has ended."""


class Threads:
    """The threads of one agent: at most `most` functions are at work in them, those left behind included."""

    def __init__(self, most: int) -> None:
        self._limiter = trio.CapacityLimiter(most)
        self._left_behind = 0

    async def run(self, function: Callable[[], Any], leave: Leave) -> Any:
        """What the function returns, from a thread of its own.

        Cancelled, it returns at once; `leave` is called if the function has begun. Raises Overloaded if
        every thread is taken by functions that were left behind: nobody knows when one will be free.
        """
        most = self._limiter.total_tokens
        if self._left_behind >= most:
            raise Overloaded(
                f"all {most:g} threads are taken by calls that have been given up and still run",
                data={"leftBehind": self._left_behind},
                retry_after=1.0,
            )
        errand = _Errand(function)
        try:
            (value,) = await trio.to_thread.run_sync(
                errand, abandon_on_cancel=True, limiter=self._limiter
            )
        except trio.Cancelled:
            errand.leave(lambda: self._leave(leave))
            raise
        return value

    def _leave(self, leave: Leave) -> Callable[[], None]:
        token = trio.lowlevel.current_trio_token()
        self._left_behind += 1
        over = leave()

        def ended() -> None:
            self._left_behind -= 1
            over()

        def tell() -> None:
            with contextlib.suppress(trio.RunFinishedError):  # nobody counts any more
                token.run_sync_soon(ended)

        return tell


class _Errand:
    """One function for a thread. The lock settles who was first: its end, or its caller's."""

    __slots__ = ("_function", "_left", "_lock", "_running", "_tell")

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._running = False
        self._left = False
        self._tell: Callable[[], None] | None = None

    def __call__(self) -> tuple[Any]:
        with self._lock:
            if self._left:  # before the thread had come to it
                return (None,)
            self._running = True
        stay_with_span()  # for it may be left behind
        try:
            return (self._function(),)  # in a tuple, for trio takes no awaitable from a thread
        except StopIteration as error:  # which no coroutine can pass on
            raise RuntimeError("the function raised StopIteration") from error
        finally:
            with self._lock:
                self._running = False
            if self._tell is not None:
                self._tell()

    def leave(self, leave: Leave) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._left = True
            if self._running:
                self._tell = leave()
