"""What is done for a connection without anybody waiting for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVarTuple

import trio

from flowcore.errors import CallError

logger = logging.getLogger(__name__)

_Arguments = TypeVarTuple("_Arguments")

_MOST: Final = 1000
"""Errands under way at a time: more only pile up where the upstream does not read."""


class Errands:
    """Small tasks that end with the connection at the latest. Made by `open_errands`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._running = 0
        self._open = True
        self.dropped = 0
        """Errands that were not begun: there were too many, or the connection was over."""

    def run(
        self, work: Callable[[*_Arguments], Awaitable[object]], *arguments: *_Arguments
    ) -> bool:
        """Begin an errand, unless too many are under way; whether it was begun. Never waits.

        A CallError is no more than a note in the log; anything else ends the connection.
        """
        if not self._open or self._running >= _MOST:
            self.dropped += 1
            return False
        self._running += 1
        self._nursery.start_soon(self._do, work, arguments)
        return True

    async def _do(
        self, work: Callable[[*_Arguments], Awaitable[object]], arguments: tuple[*_Arguments]
    ) -> None:
        try:
            await work(*arguments)
        except CallError as error:
            logger.debug("an errand failed: %s", error)
        finally:
            self._running -= 1

    def close(self) -> None:
        """Take no more."""
        self._open = False


@asynccontextmanager
async def open_errands() -> AsyncGenerator[Errands]:
    """Errands that are cancelled when the block is left."""
    async with trio.open_nursery() as nursery:
        errands = Errands(nursery)
        try:
            yield errands
        finally:
            errands.close()
            nursery.cancel_scope.cancel()
