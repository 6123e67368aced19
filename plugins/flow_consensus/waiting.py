"""Commands that are proposed and wait to be written: so many at most, and what is more is refused."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import attrs
import trio

from flowcore.errors import InvalidArguments, Overloaded, TooLarge


@attrs.define(eq=False)
class Proposal:
    """A command that somebody waits for."""

    data: bytes
    since: float = attrs.field(factory=trio.current_time)
    done: trio.Event = attrs.field(factory=trio.Event)
    position: int = 0
    error: Callable[[], Exception] | None = None

    async def decided(self) -> int:
        """Its position, once it is known; raises the error that it ended with."""
        await self.done.wait()
        if self.error is not None:
            raise self.error()
        return self.position

    def end(self, error: Callable[[], Exception] | None) -> None:
        """Its end, which is told once: it is at its position, or there is an error."""
        if not self.done.is_set():
            self.error = error
            self.done.set()


class Room(Protocol):
    """How much may wait, as settings tell it."""

    @property
    def queue(self) -> int:
        """Commands."""

    @property
    def queue_bytes(self) -> int:
        """Bytes of them."""


P = TypeVar("P", bound=Proposal)


class Waiting(Generic[P]):
    """A queue of proposals; the first may be larger than there is room for."""

    def __init__(self, room: Room, what: str, largest: int = sys.maxsize) -> None:
        """Commands of at most so many bytes, that wait "to be written" or whatever it is."""
        self._room = room
        self._largest = largest
        self._what = what
        self._queue: deque[P] = deque()
        self._bytes = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[P]:
        return iter(self._queue)

    @property
    def first(self) -> P:
        """What has waited longest."""
        return self._queue[0]

    def put(self, proposal: P) -> None:
        """One more. Raises InvalidArguments, TooLarge, Overloaded."""
        size, room = len(proposal.data), self._room
        if not size:
            raise InvalidArguments(
                "a command is empty: that is what an entry that changes nothing looks like"
            )
        if size > self._largest:
            raise TooLarge(
                f"the command has {size} bytes, more than {self._largest}: split it",
                data={"limit": self._largest},
            )
        if len(self._queue) >= room.queue or (
            self._queue and self._bytes + size > room.queue_bytes
        ):
            self.refused += 1
            raise Overloaded(
                f"{len(self._queue)} commands, {self._bytes} bytes, wait {self._what} already",
                data={"limit": "consensus"},
                retry_after=0.1,
            )
        self._queue.append(proposal)
        self._bytes += size

    def put_back(self, proposals: Iterable[P]) -> None:
        """These were taken, and nothing came of it: they wait before all others."""
        for one in reversed(list(proposals)):
            self._queue.appendleft(one)
            self._bytes += len(one.data)

    def pop(self) -> P:
        """Take the first."""
        one = self._queue.popleft()
        self._bytes -= len(one.data)
        return one

    def take(self, count: int, size: int) -> list[P]:
        """Take the first ones: so many, of about so many bytes."""
        batch: list[P] = []
        while self._queue and len(batch) < count and size > 0:
            batch.append(self.pop())
            size -= len(batch[-1].data)
        return batch

    def give_up(self, proposal: P) -> None:
        """It waits no more, if it does."""
        if proposal in self._queue:
            self._queue.remove(proposal)
            self._bytes -= len(proposal.data)

    def end(self, error: Callable[[], Exception]) -> None:
        """The end of all."""
        while self._queue:
            self.pop().end(error)
