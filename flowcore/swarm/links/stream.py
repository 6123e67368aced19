"""A stream for those who use it: waits where its engine says that there is nothing to do.

What needs no waiting is no turn of the scheduler, so that an opening, what follows it and the end go in one
write. Credit bounds how long a task can go on like that.
"""

from __future__ import annotations

from typing import Self

import trio

from flowcore.errors import StreamBroken
from flowcore.http.wakeup import Wakeup
from flowcore.swarm.interfaces import MOST_CHUNK
from flowcore.swarm.links.flows import Flow, Out


class LinkStream:
    """See `flowcore.swarm.Stream`."""

    __slots__ = (
        "_broken",
        "_flow",
        "_peer",
        "_reading",
        "_scope",
        "_to_read",
        "_to_write",
        "_writing",
    )

    def __init__(self, flow: Flow, peer: str) -> None:
        self._flow = flow
        self._peer = peer
        self._broken: trio.Event | None = None
        self._scope: trio.CancelScope | None = None
        self._to_read, self._to_write = Wakeup(), Wakeup()
        self._reading = self._writing = False
        flow.watcher = self

    @property
    def peer(self) -> str:
        """The node at the other end of the link."""
        return self._peer

    @property
    def broken(self) -> trio.Event:
        """Set once it was reset, by either side, or the link is down."""
        if self._broken is None:
            self._broken = trio.Event()
            if self._flow.broken is not None:
                self._broken.set()
        return self._broken

    async def send(self, chunk: bytes) -> None:
        """Send a chunk; waits for credit. Raises StreamBroken."""
        if len(chunk) > MOST_CHUNK:
            raise ValueError(f"expected a chunk of at most {MOST_CHUNK} bytes, not {len(chunk)}")
        if self._writing:
            raise trio.BusyResourceError("another task is sending on this stream")
        flow = self._flow
        self._writing = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_sending()
            while not flow.covered:  # one that was cancelled has left something behind
                await self._to_write.wait()
                self._check_sending()
            flow.send(chunk)
            while not flow.covered:
                await self._to_write.wait()
                self._check_sending()
        finally:
            self._writing = False

    def _check_sending(self) -> None:
        flow = self._flow
        if flow.broken is not None:
            raise StreamBroken(flow.broken, unserved=flow.unserved)
        if flow.out is Out.STOPPED:
            raise StreamBroken("the other side takes nothing more")
        if flow.out is not Out.OPEN:
            raise StreamBroken("this side has finished")

    async def finish(self) -> None:
        """Nothing more comes from this side."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._flow.broken is not None:
            raise StreamBroken(self._flow.broken)
        self._flow.finish()

    async def receive(self) -> bytes | None:
        """The next chunk; None once the other side has finished. Raises StreamBroken."""
        if self._reading:
            raise trio.BusyResourceError("another task is receiving on this stream")
        flow = self._flow
        self._reading = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            while True:
                if flow.broken is not None:
                    raise StreamBroken(flow.broken, unserved=flow.unserved)
                chunk = flow.receive()
                if chunk is not None or flow.finished:
                    return chunk
                await self._to_read.wait()
        finally:
            self._reading = False

    def reset(self, reason: str = "") -> None:
        """End it at once, both ways."""
        self._flow.reset(reason)

    def breaks(self, scope: trio.CancelScope) -> None:
        """Cancel a scope when it is broken."""
        self._scope = scope
        if self._flow.broken is not None:
            scope.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.leave(cancelled=bool(raised) and isinstance(raised[1], trio.Cancelled))

    def leave(self, *, cancelled: bool = False) -> None:
        """Nothing is sent or read here any more."""
        if cancelled:
            self._flow.reset("cancelled")
        else:
            self._flow.leave()

    # ---- what the engine tells

    def readable(self) -> None:
        self._to_read.set()

    def writable(self) -> None:
        self._to_write.set()

    def broke(self) -> None:
        self._to_read.set()
        self._to_write.set()
        if self._broken is not None:
            self._broken.set()
        if self._scope is not None:
            self._scope.cancel()
