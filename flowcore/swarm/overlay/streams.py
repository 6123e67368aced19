"""Streams as the overlay's users hold them: to another node, and to this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Self

import trio

from flowcore.errors import StreamBroken
from flowcore.swarm.interfaces import MOST_CHUNK, Stream

_WINDOW = 4 * MOST_CHUNK
_OVERHEAD = 32


class FarStream:
    """A stream to a node that may be far, over the stream to the neighbour that leads there."""

    def __init__(
        self, peer: str, way: Stream, ended: Callable[[], None], *, whole: bool = False
    ) -> None:
        """`ended` is called once, when nothing goes over it any more; `whole`: this side has finished."""
        self._peer = peer
        self._way = way
        self._ended: Callable[[], None] | None = ended
        self._done = int(whole)

    @property
    def peer(self) -> str:
        """The node at the other end."""
        return self._peer

    @property
    def broken(self) -> trio.Event:
        """Set once it was reset, by either side, or its way is lost."""
        return self._way.broken

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        try:
            await self._way.__aexit__(*raised)
        finally:
            self._end()

    async def send(self, chunk: bytes) -> None:
        """Send a chunk. Raises StreamBroken."""
        try:
            await self._way.send(chunk)
        except StreamBroken:
            self._end()
            raise

    async def finish(self) -> None:
        """Nothing more comes from this side."""
        await self._way.finish()
        self._half()

    async def receive(self) -> bytes | None:
        """The next chunk; None at the end. Raises StreamBroken."""
        try:
            chunk = await self._way.receive()
        except StreamBroken:
            self._end()
            raise
        if chunk is None:
            self._half()
        return chunk

    def reset(self, reason: str = "") -> None:
        """End it at once, both ways."""
        self._way.reset(reason)
        self._end()

    def breaks(self, scope: trio.CancelScope) -> None:
        """Cancel a scope when it is broken."""
        self._way.breaks(scope)

    def _half(self) -> None:
        self._done += 1
        if self._done == 2:
            self._end()

    def _end(self) -> None:
        if self._ended is not None:
            self._ended()
            self._ended = None


class _Half:
    """One direction within a node."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.held = 0
        self.lent = 0
        self.finished = False
        self.unread = False
        self.changed = trio.Event()

    def change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class _Shared:
    """What both ends know."""

    def __init__(self) -> None:
        self.halves = (_Half(), _Half())
        self.reason: str | None = None
        self.broken = trio.Event()
        self.scopes: dict[int, trio.CancelScope] = {}


class NearStream:
    """One end of a stream from a node to itself: the same promises, without a link."""

    def __init__(self, peer: str, shared: _Shared, side: int) -> None:
        self._peer = peer
        self._shared = shared
        self._side = side
        self._out = shared.halves[side]
        self._in = shared.halves[1 - side]

    @property
    def peer(self) -> str:
        """The node at the other end."""
        return self._peer

    @property
    def broken(self) -> trio.Event:
        """Set once it was reset, by either side."""
        return self._shared.broken

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        if raised and isinstance(raised[1], trio.Cancelled):
            self.reset("cancelled")
        elif not self._out.finished:
            self.reset("left before its end")
        else:
            self._in.unread = True
            self._in.chunks.clear()
            self._in.change()

    def _check(self) -> None:
        if self._shared.reason is not None:
            raise StreamBroken(self._shared.reason)

    async def send(self, chunk: bytes) -> None:
        """Send a chunk; waits for room. Raises StreamBroken."""
        if len(chunk) > MOST_CHUNK:
            raise ValueError(f"expected a chunk of at most {MOST_CHUNK} bytes, not {len(chunk)}")
        if self._out.finished:
            raise StreamBroken("this side has finished")
        await trio.lowlevel.checkpoint()
        half = self._out
        while True:
            self._check()
            if half.unread:
                raise StreamBroken("the other side takes nothing more")
            if not half.held or half.held + len(chunk) + _OVERHEAD <= _WINDOW:
                break
            await half.changed.wait()
        half.chunks.append(chunk)
        half.held += len(chunk) + _OVERHEAD
        half.change()

    async def finish(self) -> None:
        """Nothing more comes from this side."""
        await trio.lowlevel.checkpoint()
        self._out.finished = True
        self._out.change()

    async def receive(self) -> bytes | None:
        """The next chunk; None at the end. Raises StreamBroken."""
        await trio.lowlevel.checkpoint()
        half = self._in
        half.held -= half.lent
        half.lent = 0
        half.change()
        while not half.chunks:
            self._check()
            if half.finished:
                return None
            await half.changed.wait()
        self._check()
        chunk = half.chunks.popleft()
        half.lent = len(chunk) + _OVERHEAD
        return chunk

    def reset(self, reason: str = "") -> None:
        """End it at once, both ways; nothing where both have finished."""
        shared = self._shared
        if shared.reason is not None or all(half.finished for half in shared.halves):
            return
        shared.reason = reason or "reset"
        shared.broken.set()
        for scope in shared.scopes.values():
            scope.cancel()
        for half in shared.halves:
            half.chunks.clear()
            half.change()

    def breaks(self, scope: trio.CancelScope) -> None:
        """Cancel a scope when it is broken."""
        self._shared.scopes[self._side] = scope
        if self._shared.reason is not None:
            scope.cancel()


def near_streams(other: str, one: str = "") -> tuple[NearStream, NearStream]:
    """Both ends of a stream within a process: from a node to itself; or from `one` to another."""
    shared = _Shared()
    return NearStream(other, shared, 0), NearStream(one or other, shared, 1)
