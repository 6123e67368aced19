"""Reads that others have under way when the state is closed: the file is closed when no thread is in it.

SQLite must not be asked in one thread while another one closes it: Python crashes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import trio

from flowcore.errors import StateUnavailable, UntrustedFile


class Gate:
    """What passes through it is waited for."""

    def __init__(self) -> None:
        self._inside = 0
        self._closed = self._done = False
        self._empty = trio.Event()
        self._left: list[Callable[[], object]] = []

    @contextmanager
    def passing(self) -> Generator[None]:
        """For one thing that is done in a thread. Raises StateUnavailable once it is closed."""
        if self._closed:
            raise StateUnavailable("the state is closed")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    def end(self, work: Callable[[], object]) -> None:
        """Do, quickly, what ends a read: now, or, while the file is being closed, afterwards."""
        if self._done or not self._closed:
            self._last(work)
        else:
            self._left.append(work)

    async def close(self) -> None:
        """Let nobody pass any more, and wait until nobody is inside."""
        self._closed = True
        while self._inside:
            self._empty = trio.Event()
            await self._empty.wait()

    def finish(self) -> None:
        """The file is closed: what was left to be ended is ended."""
        self._done = True
        for work in self._left:
            self._last(work)
        self._left.clear()

    def _last(self, work: Callable[[], object]) -> None:
        if not self._done:
            work()
            return
        with suppress(sqlite3.Error, UntrustedFile):  # there is nothing left to be ended
            work()
