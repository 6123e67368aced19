"""When a follower's state is told what is committed: at once where somebody waits, else a moment later.

While commands come, each append says that those before it are committed. To apply them at once is to do it
while the disk is to take the new ones, for which the leader waits, and its client. So it is done with those
that follow, in one transaction of the state. Whoever waits at this node is told at once.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

_MOMENT = 0.01
"""Seconds for which a state that nobody waits for may not know what is committed."""


class Handing:
    """Tells who follows what is committed here, a moment later."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._more = trio.Event()

    def soon(self) -> None:
        """More is committed, and nobody waits for it."""
        self._more.set()

    async def run(self) -> None:
        """Tell it once it was held back for long enough."""
        while True:
            await self._more.wait()
            await trio.sleep(_MOMENT)
            self._more = trio.Event()
            self._tell()
