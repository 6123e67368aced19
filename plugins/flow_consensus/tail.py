"""The newest committed entries, kept in memory for who follows, and the wait for the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import trio

from flowcore.state import Committed

_SIZE = 8 * 2**20
"""Bytes of commands that are kept."""
_SOME = 1000
"""Entries in one batch of what is committed."""


class Tail:
    """What was committed last, of which older entries go first; what it has not is in the storage."""

    def __init__(self, last: int) -> None:
        self.last = last
        """The last entry that is committed, and may be handed out."""
        self._entries: deque[Committed] = deque()
        self._held = 0
        self._moved = trio.Event()

    def add(self, entries: Iterable[Committed]) -> None:
        """These are committed; each follows the one before. Whoever waits must be told by `tell`."""
        kept = self._entries
        for one in entries:
            kept.append(one)
            self._held += len(one.data)
            self.last = one.position
        while self._held > _SIZE and len(kept) > 1:
            self._held -= len(kept.popleft().data)

    def after(self, position: int) -> list[Committed] | None:
        """The next entries after a position; None where they are not in memory any more."""
        kept = self._entries
        if not kept or position + 1 < kept[0].position:
            return None
        skip = position + 1 - kept[0].position
        return [kept[at] for at in range(skip, min(len(kept), skip + _SOME))]

    def clear(self, position: int) -> None:
        """A snapshot has taken the place of all up to a position."""
        self._entries.clear()
        self._held = 0
        self.last = max(self.last, position)

    def tell(self) -> None:
        """Something has changed that somebody may wait for."""
        self._moved.set()
        self._moved = trio.Event()

    async def wait(self) -> None:
        """Wait until the next `tell`."""
        await self._moved.wait()
