"""`single`: the order of one node alone. A command is committed when its storage has it.

What is proposed while an fsync is under way goes out with the next one: one batch, one fsync (group commit).
When the disk fails it stops taking commands, and does not try again: nobody knows what a failed fsync left
behind.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flow_consensus.foreign import FOREIGN
from flow_consensus.measures import of_engine
from flow_consensus.tail import Tail, check_applied
from flow_consensus.waiting import Proposal, Waiting
from flowcore.config import Size, setting
from flowcore.config import validators as v
from flowcore.errors import (
    OutcomeUnknown,
    StateUnavailable,
    StorageFailed,
    StorageFull,
    UntrustedFile,
)
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.state import Committed, Consensus, Installed, LogEntry, Shown, Storage
from flowcore.telemetry import Histogram, Reading


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


class Single:
    """The engine and its driver: a queue, and one task that writes."""

    def __init__(self, config: SingleConfig, storage: Storage) -> None:
        self._config = config
        self._storage = storage
        self._waiting: Waiting[Proposal] = Waiting(config, "to be written")
        self._wake = trio.Event()
        self._tail = Tail(storage, storage.last)
        self._stopped = ""
        self._proposals = self._batches = 0
        self._largest = 0
        self._took = Histogram()

    @property
    def durable(self) -> bool:
        return self._storage.durable

    @property
    def identity(self) -> str:
        return self._storage.identity

    async def propose(self, command: bytes) -> int:
        if self._stopped:
            raise StateUnavailable(self._stopped)
        proposal = Proposal(command)
        self._waiting.put(proposal)
        self._wake.set()
        position = await proposal.decided()
        self._took.record(trio.current_time() - proposal.since)
        return position

    async def run(self) -> None:
        """Write what is proposed, until cancelled."""
        try:
            while True:
                if not self._waiting:
                    self._wake = trio.Event()
                    await self._wake.wait()
                await self._write(self._waiting.take(self._config.batch, self._config.batch_bytes))
        finally:
            self._stopped = self._stopped or "no commands are taken: the node is being stopped"
            self._waiting.end(
                lambda: StateUnavailable("the node was stopped before it was written")
            )

    async def _write(self, batch: Sequence[Proposal]) -> None:
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
            self._waiting.end(lambda: StateUnavailable(self._stopped))
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
            proposal.end(None)
        self._tail.tell()

    @staticmethod
    def _refuse(proposals: Iterable[Proposal], error: Callable[[], Exception]) -> None:
        for one in proposals:
            one.end(error)

    def committed(self, after: int) -> AsyncGenerator[Sequence[Committed] | Installed]:
        check_applied(after, self._tail.last)
        return self._tail.follow(after)

    def hand_to(self, take: Callable[[Sequence[Committed]], bool]) -> None:
        """As `HandsOver.hand_to`."""
        self._tail.hand_to(take)

    async def entries(self, first: int, most: int) -> Sequence[Shown]:
        """As `ShowsLog.entries`."""
        return await self._tail.shown(first, most)

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

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        return of_engine(self.status(), self._took)

    def status(self) -> dict[str, Any]:
        """What it wrote and refused."""
        return {
            "type": "single",
            "commit": self._tail.last,
            "last": self._tail.last,
            "stopped": self._stopped,
            "waiting": len(self._waiting),
            "proposals": self._proposals,
            "refused": self._waiting.refused,
            "batches": self._batches,
            "largest_batch": self._largest,
            "commit_seconds": attrs.asdict(self._took.durations()),
            "storage": self._storage.status(),
        }


@asynccontextmanager
async def open_single(config: SingleConfig, context: Context) -> AsyncGenerator[Consensus]:
    """The engine, over the node's storage."""
    storage: Storage = context.component("storage")
    if storage.hard_state:  # which this one never writes
        raise UntrustedFile(FOREIGN)
    single = Single(config, storage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(single.run)
        yield single
        nursery.cancel_scope.cancel()


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("consensus", "single", SingleConfig, open_single))
