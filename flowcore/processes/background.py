"""Tasks that serve a block and end with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


class Background:
    """Starts the tasks. Made by `open_background` only."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scopes: list[trio.CancelScope] = []

    def start_soon(self, run: Callable[[], Awaitable[object]]) -> None:
        """Run it until it returns or the block ends."""
        self._nursery.start_soon(self._serve, run)

    async def _serve(self, run: Callable[[], Awaitable[object]]) -> None:
        with trio.CancelScope(shield=True) as scope:
            self._scopes.append(scope)
            await run()

    def end(self) -> None:
        """End every task."""
        self._nursery.cancel_scope.cancel()
        for scope in self._scopes:
            scope.cancel()


@asynccontextmanager
async def open_background() -> AsyncGenerator[Background]:
    """Tasks that run until the block ends, and no shorter.

    When the block is cancelled from outside, they still serve what it does, shielded, to end in good order.

    What the block itself raises leaves as it is, not in a group, so that whoever uses it need not know of
    the nursery; only a task that fails makes a group, and cancels the block.
    """
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        background = Background(nursery)
        try:
            yield background
        except BaseException as error:
            raised = error
        background.end()
    if raised is not None:
        try:
            raise raised
        finally:
            raised = None  # no cycle with this frame
