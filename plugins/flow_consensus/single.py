"""`single`: the order of one node alone. A command is committed when its storage has it.

What is proposed while an fsync is under way goes out with the next one: one batch, one fsync (group commit).
When the disk fails it stops taking commands, and does not try again: nobody knows what a failed fsync left
behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flow_consensus.tail import Tail
from flowcore.config import Size, setting
from flowcore.config import validators as v
from flowcore.errors import (
    OutcomeUnknown,
    Overloaded,
    StateUnavailable,
    StorageFailed,
    StorageFull,
    TooOld,
    UntrustedFile,
)
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.state import Committed, Consensus, Installed, LogEntry, Shown, Storage
from flowcore.telemetry import Histogram


@attrs.frozen(kw_only=True)
class SingleConfig:
    """One node decides alone."""

    queue: int = setting(
        1024, validator=v.ge(1), help="commands that may wait to be written; more are refused"
    )
    queue_bytes: Size = setting(
        64 * 2**20, validator=v.ge(1), help="bytes of the commands that may wait to be written"
    )
    batch: int = setting(1000, validator=v.ge(1), help="commands in one transaction at most")
    batch_bytes: Size = setting(
        4 * 2**20, validator=v.ge(1), help="bytes of the commands in one transaction, about"
    )


@attrs.define(eq=False)
class _Proposal:
    """A command that waits to be written."""

    data: bytes
    done: trio.Event = attrs.field(factory=trio.Event)
    position: int = 0
    error: Callable[[], Exception] | None = None


class Single:
    """The engine and its driver: a queue, and one task that writes."""

    def __init__(self, config: SingleConfig, storage: Storage) -> None:
        self._config = config
        self._storage = storage
        self._queue: deque[_Proposal] = deque()
        self._queued = 0
        self._wake = trio.Event()
        self._tail = Tail(storage.last)
        self._stopped = ""
        self._proposals = self._refused = self._batches = 0
        self._largest = 0
        self._took = Histogram()

    @property
    def durable(self) -> bool:
        return self._storage.durable

    @property
    def identity(self) -> str:
        return self._storage.identity

    async def propose(self, command: bytes) -> int:
        self._take(command)
        proposal = _Proposal(command)
        self._queue.append(proposal)
        self._queued += len(command)
        self._wake.set()
        began = trio.current_time()
        await proposal.done.wait()
        if proposal.error is not None:
            raise proposal.error()
        self._took.record(trio.current_time() - began)
        return proposal.position

    def _take(self, command: bytes) -> None:
        """Raise if it is not taken."""
        if self._stopped:
            raise StateUnavailable(self._stopped)
        if not command:
            raise ValueError(
                "a command is empty: that is what an entry that changes nothing looks like"
            )
        config = self._config
        if len(self._queue) >= config.queue or (
            self._queue and self._queued + len(command) > config.queue_bytes
        ):
            self._refused += 1
            raise Overloaded(
                f"{len(self._queue)} commands, {self._queued} bytes, wait to be written already",
                data={"limit": "consensus"},
                retry_after=0.1,
            )

    async def run(self) -> None:
        """Write what is proposed, until cancelled."""
        try:
            while True:
                if not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()
                await self._write(self._next_batch())
        finally:
            self._stopped = self._stopped or "no commands are taken: the node is being stopped"
            self._refuse(
                self._queue, lambda: StateUnavailable("the node was stopped before it was written")
            )

    def _next_batch(self) -> list[_Proposal]:
        batch: list[_Proposal] = []
        size = 0
        while self._queue and len(batch) < self._config.batch and size < self._config.batch_bytes:
            proposal = self._queue.popleft()
            size += len(proposal.data)
            batch.append(proposal)
        self._queued -= size
        return batch

    async def _write(self, batch: Sequence[_Proposal]) -> None:
        entries = [
            LogEntry(self._tail.last + number, 1, one.data)
            for number, one in enumerate(batch, start=1)
        ]
        try:
            await self._storage.append(entries)
        except StorageFull as error:
            why = str(error)
            self._refuse(batch, lambda: StateUnavailable(f"{why}: nothing was written"))
            return
        except StorageFailed as error:
            self._stopped = f"no commands are taken: {error}"
            why = str(error)
            self._refuse(
                batch, lambda: OutcomeUnknown(f"whether it is written nobody knows: {why}")
            )
            self._refuse(self._queue, lambda: StateUnavailable(self._stopped))
            return
        except trio.Cancelled:
            self._refuse(batch, lambda: OutcomeUnknown("the node was stopped while it was written"))
            raise
        self._batches += 1
        self._proposals += len(batch)
        self._largest = max(self._largest, len(batch))
        self._tail.add(Committed(one.position, one.data) for one in entries)
        for entry, proposal in zip(entries, batch, strict=True):
            proposal.position = entry.position
            proposal.done.set()
        self._tail.tell()

    @staticmethod
    def _refuse(
        proposals: Sequence[_Proposal] | deque[_Proposal], error: Callable[[], Exception]
    ) -> None:
        for one in proposals:
            one.error = error
            one.done.set()
        if isinstance(proposals, deque):
            proposals.clear()

    async def committed(self, after: int) -> AsyncGenerator[Sequence[Committed] | Installed]:
        if after > self._tail.last:
            raise UntrustedFile(
                f"the state has applied {after}, and the log ends at {self._tail.last}: the log is damaged,"
                " or another one's"
            )
        begins = self._storage.compacted[0]
        if after < begins:
            held = self._storage.snapshot
            if held is None or held.position < begins:
                raise TooOld(
                    f"the state has applied {after}, and the log begins after {begins}:"
                    " what is between is lost; put back a state that is newer"
                )
            yield Installed(position=held.position, chunks=self._storage.read_snapshot())
            after = held.position
        while True:
            while after >= self._tail.last:
                await self._tail.wait()
            batch = self._tail.after(after)
            if batch is None:
                stored = await self._storage.read(after + 1, self._tail.last)
                batch = [Committed(one.position, one.data) for one in stored]
            yield batch
            after = batch[-1].position

    async def entries(self, first: int, most: int) -> Sequence[Shown]:
        """As `ShowsLog.entries`."""
        last = min(self._tail.last, first + most - 1)
        if first > last:
            await trio.lowlevel.checkpoint()
            return ()
        stored = await self._storage.read(first, last)
        return [
            Shown(position=one.position, term=one.term, committed=True, data=one.data)
            for one in stored
        ]

    async def read_barrier(self, *, leased: bool = False) -> int:
        del leased
        await trio.lowlevel.checkpoint()
        return self._tail.last

    async def change_voters(
        self, *, add: Sequence[str] = (), remove: Sequence[str] = (), promote: Sequence[str] = ()
    ) -> None:
        del add, remove, promote
        await trio.lowlevel.checkpoint()
        raise StateUnavailable(
            "consensus type 'single' has one voter, this node; with several, choose another type"
        )

    async def compact(self, position: int) -> None:
        if not self._stopped:
            await self._storage.compact(position)

    def status(self) -> dict[str, Any]:
        """What it wrote and refused."""
        return {
            "type": "single",
            "commit": self._tail.last,
            "last": self._tail.last,
            "stopped": self._stopped,
            "waiting": len(self._queue),
            "proposals": self._proposals,
            "refused": self._refused,
            "batches": self._batches,
            "largest_batch": self._largest,
            "commit_seconds": attrs.asdict(self._took.durations()),
            "storage": self._storage.status(),
        }


@asynccontextmanager
async def open_single(config: SingleConfig, context: Context) -> AsyncGenerator[Consensus]:
    """The engine, over the node's storage."""
    single = Single(config, context.component("storage"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(single.run)
        yield single
        nursery.cancel_scope.cancel()


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("consensus", "single", SingleConfig, open_single))
