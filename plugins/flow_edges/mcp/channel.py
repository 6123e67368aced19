"""One stream of a session as its client sees it: connections may break and come back, the stream goes on.

Every message has a number, and a client that lost its connection names the last one it got
(`Last-Event-ID`; 2025-11-25, basic/transports, resumability and redelivery). What was sent is kept for that
by each stream up to a number of messages, and by all streams together up to a number of bytes.
"""

from __future__ import annotations

import math
from collections import deque

import trio


class Memory:
    """What all streams of an edge keep together, in bytes. Who has kept something longest forgets first."""

    def __init__(self, most: int) -> None:
        self.size = 0
        self._most = most
        self._keeping: dict[Channel, None] = {}

    def keep(self, channel: Channel, size: int) -> None:
        """A stream keeps so many bytes more."""
        self.size += size
        self._keeping.setdefault(channel)
        if self.size > self._most:
            for oldest in tuple(self._keeping):
                oldest.forget()
                if self.size <= self._most:
                    return

    def release(self, channel: Channel, size: int, *, all_of_it: bool) -> None:
        """A stream keeps so many bytes less, or nothing any more."""
        self.size -= size
        if all_of_it:
            self._keeping.pop(channel, None)


class Channel:
    """The messages of one stream. `name` is its own within the session and begins each event's id.

    `keep` is how many messages that were sent can be sent again, `backlog` how many may wait to be sent.
    """

    def __init__(self, name: str, memory: Memory, *, keep: int, backlog: int) -> None:
        self.name = name
        self.ended = False
        """Whether nothing more will come."""
        self.dropped = 0
        """Messages that were lost because too many waited for a reader."""
        self.scope = trio.CancelScope()
        """The scope of whoever fills it; `detach` gives it a deadline."""
        self._memory = memory
        self._keep = keep
        self._backlog = backlog
        self._frames: deque[bytes] = deque()
        self._last = 0
        self._sent = 0
        self._news = trio.Event()
        self._reader: trio.CancelScope | None = None

    @property
    def attached(self) -> bool:
        """Whether a connection carries it now."""
        return self._reader is not None

    @property
    def position(self) -> int:
        """The number of the last message that was sent; 0 before the first."""
        return self._sent

    # ---- filling it

    def put(self, frame: bytes) -> None:
        """Add a message. Never blocks: what exceeds the backlog, or comes when nobody will ask for it any
        more, is dropped and counted."""
        late = self._reader is None and trio.current_time() > self.scope.deadline
        if self.ended or late or self._last - self._sent >= self._backlog:
            self.dropped += 1
        else:
            self._append(frame)

    def put_once(self, frame: bytes) -> None:
        """Add a message unless the same one is waiting already."""
        waiting = self._last - self._sent
        if not any(
            frame == one for one, _ in zip(reversed(self._frames), range(waiting), strict=False)
        ):
            self.put(frame)

    def finish(self, frame: bytes | None = None) -> None:
        """End it, with a last message that is never dropped."""
        if not self.ended:
            if frame is not None:
                self._append(frame)
            self.ended = True
            self._news.set()

    def _append(self, frame: bytes) -> None:
        self._last += 1
        self._frames.append(frame)
        self._memory.keep(self, len(frame))
        self._news.set()

    # ---- reading it

    def attach(self, scope: trio.CancelScope) -> None:
        """A connection carries it from now on, whose scope this is; another that did so is cancelled."""
        if self._reader is not None:
            self._reader.cancel()
        self._reader = scope
        self.scope.deadline = math.inf

    def detach(self, scope: trio.CancelScope, within: float) -> None:
        """That connection is gone: if no other comes within so many seconds, who fills it gives up."""
        if self._reader is scope:
            self._reader = None
            self.scope.deadline = trio.current_time() + within
            if self.ended and not self._keep:
                self.forget()

    def reaches(self, number: int) -> bool:
        """Whether something can come after the message of this number, or it is the last of all."""
        if not 0 <= number <= self._last:
            return False
        return not self.ended or number == self._last or bool(self._frames)

    async def after(self, number: int) -> tuple[int, list[bytes]]:
        """Wait for messages after this one, and give all there are with the first one's number; none at
        the end. Those that are forgotten are left out."""
        while self._last <= number and not self.ended:
            self._news = trio.Event()
            await self._news.wait()
        oldest = self._last - len(self._frames)
        first = max(number, oldest)
        return first + 1, list(self._frames)[first - oldest :]

    def sent(self, number: int) -> None:
        """The messages up to this one are on their way: only the last of them are kept."""
        self._sent = max(self._sent, number)
        self._trim(self._sent - self._keep)

    def close(self) -> None:
        """End it for good: what was sent cannot be had again."""
        self._keep = 0
        self.finish()
        self.forget()

    def forget(self) -> None:
        """Keep nothing of what was sent; and nothing at all, nor go on, if nobody reads it."""
        self._trim(self._last if self._reader is None else self._sent)
        if self._reader is None:
            self.scope.cancel()

    def _trim(self, until: int) -> None:
        freed = 0
        while self._frames and self._last - len(self._frames) < until:
            freed += len(self._frames.popleft())
        if freed:
            self._memory.release(self, freed, all_of_it=not self._frames)
