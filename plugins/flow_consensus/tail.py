"""What is committed, for who follows it: the newest entries from memory, older ones from the storage."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

import trio

from flowcore.errors import TooOld, UntrustedFile
from flowcore.state import Committed, Installed, Shown, Storage

_SIZE = 8 * 2**20
"""Bytes of commands that are kept."""
_SOME = 1000
"""Entries in one batch of what is committed."""


def check_applied(applied: int, last: int) -> None:
    """What the state has applied is in the log. Raises UntrustedFile if the log ends before."""
    if applied > last:
        raise UntrustedFile(
            f"the state has applied {applied}, and the log ends at {last}: the log is damaged,"
            " or another one's"
        )


class Tail:
    """What was committed last, of which older entries go first; what it has not is in the storage."""

    def __init__(
        self,
        storage: Storage,
        last: int,
        command: Callable[[bytes], bytes] = lambda data: data,
        described: Callable[[bytes], str] = lambda data: "",
    ) -> None:
        """`command` gives that of an entry as it is stored; `described` what one is that has none."""
        self._storage = storage
        self._command = command
        self._described = described
        self.last = last
        """The last entry that is committed, and may be handed out."""
        self._entries: deque[Committed] = deque()
        self._held = 0
        self._moved = trio.Event()
        self._more = trio.Event()
        """Set when there is something for who follows."""
        self._after: int | None = None
        """After which position who follows waits for more; None while nobody does."""
        self._take: Callable[[Sequence[Committed]], bool] | None = None

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
        if self._after is not None and self.last > self._after:
            self._hand_over(self._after)
        self._moved.set()
        self._moved = trio.Event()

    def hand_to(self, take: Callable[[Sequence[Committed]], bool]) -> None:
        """As `HandsOver.hand_to`."""
        self._take = take

    def _hand_over(self, after: int) -> None:
        """Have who follows take what there is at once, or wake it."""
        batch = None if self._take is None else self.after(after)
        if batch and self._take is not None and self._take(batch):
            self._after = batch[-1].position
            if self._after == self.last:
                return
        self._more.set()

    async def wait(self) -> None:
        """Wait until the next `tell`."""
        await self._moved.wait()

    async def shown(self, first: int, most: int) -> Sequence[Shown]:
        """As `ShowsLog.entries`: what is in the storage, committed or not. Raises TooOld."""
        last = min(self._storage.last, first + most - 1)
        if first > last:
            await trio.lowlevel.checkpoint()
            return ()
        return [
            Shown(
                position=one.position,
                term=one.term,
                committed=one.position <= self.last,
                data=self._command(one.data),
                note=self._described(one.data),
            )
            for one in await self._storage.read(first, last)
        ]

    async def follow(self, after: int) -> AsyncGenerator[Sequence[Committed] | Installed]:
        """As `Consensus.committed`, of what may be handed out. Raises TooOld."""
        storage = self._storage
        while True:
            begins = storage.compacted[0]
            if after < begins:
                held = storage.snapshot
                if held is None or held.position < begins:
                    raise TooOld(
                        f"the state has applied {after}, and the log begins after {begins}:"
                        " what is between is lost; put back a state that is newer"
                    )
                yield Installed(position=held.position, chunks=storage.read_snapshot())
                after = held.position
            elif after >= self.last:
                after = await self._wait_for_more(after)
            elif batch := await self._batch(after):
                yield batch
                after = batch[-1].position

    async def _wait_for_more(self, after: int) -> int:
        """Wait until there is something after a position; up to where it was taken meanwhile."""
        self._after, self._more = after, trio.Event()
        try:
            await self._more.wait()
            assert self._after is not None
            return self._after
        finally:
            self._after = None

    async def _batch(self, after: int) -> Sequence[Committed]:
        kept = self.after(after)
        if kept is not None:
            return kept
        try:
            stored = await self._storage.read(after + 1, self.last)
        except TooOld:
            return ()  # a snapshot has taken its place meanwhile
        return [Committed(one.position, self._command(one.data)) for one in stored]
