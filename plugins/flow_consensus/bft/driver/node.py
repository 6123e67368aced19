"""`bft`: the engine under trio, over a storage and a transport.

One task turns the engine: it takes what has come (messages, ticks, proposals, questions), hands out what the
engine wants sent, and wakes a second task, which writes. Signatures are checked before a message is
taken, many of them in a thread. What comes while the disk works is the next write: one batch, one fsync.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from random import Random
from typing import Any

import trio

from flow_consensus.bft.driver.barriers import Barriers
from flow_consensus.bft.driver.checking import Checking
from flow_consensus.bft.driver.disk import Writer
from flow_consensus.bft.driver.measures import of_bft
from flow_consensus.bft.driver.members import Changing, KeyOf, followers
from flow_consensus.bft.driver.port import Transport
from flow_consensus.bft.driver.proposals import Proposals
from flow_consensus.bft.driver.settings import TICK, BftSettings
from flow_consensus.bft.driver.states import States
from flow_consensus.bft.driver.ticking import Ticking
from flow_consensus.bft.effects import Event, Ready
from flow_consensus.bft.engine import Engine
from flow_consensus.bft.entries import command_of, described
from flow_consensus.bft.messages import Message, encode
from flow_consensus.pieces import BadMessage, Post
from flow_consensus.tail import Tail
from flowcore.state import (
    Ahead,
    Committed,
    Installed,
    LogEntry,
    Shown,
    SnapshotInfo,
    SnapshotSource,
    Storage,
)
from flowcore.telemetry import Reading

_logger = logging.getLogger(__name__)

_HEARD = 1.0
"""Seconds for which a node counts as there after a message of its own; it says something every 0.25."""
_AT_ONCE = 64
"""Messages that are heard before anything is done, at most."""
_GRAVE = frozenset(("evidence", "accused", "diverged", "snapshot", "cluster", "censored"))
"""Events that somebody should look at."""

Told = Callable[[Event], None]


class Bft:
    """One node of a cluster. Made by `open_node` only."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        transport: Transport,
        settings: BftSettings,
        chance: Random,
        key_of: KeyOf,
        told: Told,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.stopped = ""
        self._tail = Tail(storage, engine.standing.position, command_of, described)
        self._storage = storage
        self._transport = transport
        self._told = told
        self._post = Post(transport, chance.getrandbits(60))
        self._wake_up = trio.Event()
        self._heard: dict[str, float] = {}
        self._states = States(self, storage, self._post)
        self._nursery: trio.Nursery | None = None
        self._ticking = Ticking(engine, TICK, lambda: self._proposals.calm)
        self._proposals = Proposals(self)
        self._barriers = Barriers(self)
        self._changing = Changing(self, key_of)
        self._writer = Writer(self, storage, self._was_reset)
        self._checking = Checking(engine, engine.step, self.turn, self._bad_message)
        self._bad = self._leaders = self._longest_turn = 0.0
        self._evidence: list[dict[str, str]] = []

    # ---- the interface

    @property
    def durable(self) -> bool:
        return self._storage.durable

    @property
    def identity(self) -> str:
        return self._storage.identity

    @property
    def cluster(self) -> str:
        """The name of the cluster that the log is of."""
        return self.engine.cluster

    async def propose(self, command: bytes) -> int:
        return await self._proposals.propose(command)

    async def read_barrier(self, *, leased: bool = False) -> int:
        """As `Consensus.read_barrier`; nobody's lease is trusted here."""
        del leased
        return await self._barriers.wait()

    async def committed(self, after: int) -> AsyncGenerator[Sequence[Committed] | Installed]:
        """As `Consensus.committed`; where a checkpoint is due, the state's snapshot is opened in between."""
        async with aclosing(self._states.followed(self._tail, after)) as stream:
            async for batch in stream:
                yield batch

    async def change_voters(
        self, *, add: Sequence[str] = (), remove: Sequence[str] = (), promote: Sequence[str] = ()
    ) -> None:
        """As `Consensus.change_voters`; it takes f + 1 voters that are asked the same.

        Raises InvalidArguments, StateUnavailable, OutcomeUnknown.
        """
        await self._changing.change(add, remove, promote)

    async def followers(self) -> dict[str, dict[str, Any]]:
        """As `KnowsMembers.followers`: what each says of itself; `match` and `lag` are in blocks."""
        await trio.lowlevel.checkpoint()
        return followers(self, self._hears)

    async def compact(self, position: int) -> None:
        """As `Consensus.compact`; to the last checkpoint that a quorum has certified."""
        await trio.lowlevel.checkpoint()
        if not self.stopped:
            self.engine.compact(position)
            self.wake()

    def snapshots_from(self, source: SnapshotSource) -> None:
        """Where the state's snapshots come from, for checkpoints."""
        self._states.come_from(source)

    @property
    def ahead(self) -> float:
        """As `ChecksCommands.ahead`."""
        return self.settings.ahead

    def check_by(self, ahead: Ahead) -> None:
        """As `ChecksCommands.check_by`."""
        self.engine.check_by(ahead)

    def describe(self, position: int) -> SnapshotInfo:
        """As `Describes.describe`; a snapshot that was taken by hand proves nothing to others."""
        standing = self.engine.standing
        if position > standing.position:
            raise ValueError(f"{position} is not decided, {standing.position} is")
        return SnapshotInfo(position=position, term=standing.height)

    async def entries(self, first: int, most: int) -> Sequence[Shown]:
        """As `ShowsLog.entries`: what is in the storage; the term of an entry is its block's height."""
        return await self._tail.shown(first, most)

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        return of_bft(self.status(), self._proposals.took, self._states.made, self._states.taken)

    def status(self) -> dict[str, Any]:
        """Where it is, who leads, who has lied."""
        now = self.engine.status()
        epoch = now.epoch
        if self.engine.name not in epoch.index:
            role = "learner"
        else:
            role = "leader" if now.leader == now.name else "voter"
        return {
            "type": "bft",
            "name": now.name,
            "cluster": self.cluster,
            "role": role,
            "term": now.height,
            "height": now.height,
            "view": now.view,
            "step": str(now.step),
            "leader": now.leader,
            "epoch": epoch.number,
            "faults": epoch.some_honest - 1,
            "quorum": epoch.quorum,
            "commit": self._tail.last,
            "last": now.position,
            "start": now.start,
            "checkpoint": now.checkpoint,
            "voters": list(epoch.voters),
            "learners": [one.name for one in epoch.members if not one.voter],
            "followers": followers(self, self._hears),
            "evidence": now.accused,
            "bad_snapshots": dict(self.engine.bad_snapshots),
            "strangers": sorted(self.engine.strange_clusters),
            "pool": now.waiting,
            "stopped": self.stopped,
            "trouble": self._writer.trouble or self.lonely(),
            "views": self.engine.views_changed,
            "elections": self.engine.views_changed,
            "leaders": int(self._leaders),
            "sent": self._post.sent,
            "unsent": self._post.unsent,
            "bad_messages": int(self._bad),
            "refused_messages": now.refused,
            "signatures": self.engine.signatures.checked,
            "checked_in_thread": self._checking.in_thread,
            "dropped": self._checking.dropped,
            "snapshots": self._states.status(),
            **self._proposals.status(),
            "storage": self._storage.status(),
        }

    # ---- for its parts, see `port.Node`

    def wake(self) -> None:
        self._wake_up.set()

    def moved(self) -> None:
        self._tail.tell()

    async def wait_moved(self) -> None:
        await self._tail.wait()

    def _hears(self, name: str) -> bool:
        return trio.current_time() - self._heard.get(name, -math.inf) < _HEARD

    def lonely(self) -> str:
        """Why no quorum can be heard; "" while one is."""
        epoch = self.engine.epoch
        there = [one for one in epoch.voters if one == self.engine.name or self._hears(one)]
        if len(there) >= epoch.quorum:
            return ""
        missing = ", ".join(one for one in epoch.voters if one not in there)
        return (
            f"{len(there)} of {len(epoch.voters)} voters can be heard, and {epoch.quorum} have to agree:"
            f" {missing} cannot be reached"
        )

    def disk_failed(self, error: Exception) -> None:
        if not self.engine.failed:
            _logger.error("%s: the disk has failed: %s", self.engine.name, error)
            self.engine.disk_failed(str(error))
        self._stop(str(error), unknown=f"whether it is decided nobody knows: {error}")
        self.wake()

    # ---- messages

    def received(self, sender: str, data: bytes) -> None:
        """A message has come; quick, and raises nothing."""
        try:
            whole = self._post.take(sender, data)
        except BadMessage as error:
            self._bad_message(sender, str(error))
            return
        self._ticking.catch_up()
        self._heard[sender] = trio.current_time()
        if whole is not None:
            self._checking.take(sender, whole)

    def _bad_message(self, sender: str, why: str) -> None:
        self._bad += 1
        _logger.debug("from %s: %s", sender, why)

    # ---- running

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part, until cancelled."""
        self._ticking.begin()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._states.run_in(nursery)
                nursery.start_soon(self._writer.run)
                nursery.start_soon(self._checking.run)
                nursery.start_soon(self._receiving)
                nursery.start_soon(self._tick)
                task_status.started()
                while True:
                    await self._wake_up.wait()
                    self._wake_up = trio.Event()
                    self.turn()
        finally:
            self._nursery = None
            self._states.run_in(None)
            self._stop("the node is being stopped", unknown="the node was stopped meanwhile")

    async def _receiving(self) -> None:
        transport = self._transport
        while True:
            self.received(*await transport.receive())
            for _ in range(min(transport.waiting, _AT_ONCE)):
                self.received(*await transport.receive())
            self.turn()
            if transport.waiting:
                await trio.lowlevel.checkpoint()  # others have something to do, too

    async def _tick(self) -> None:
        while True:
            await self._ticking.wait()
            self._ticking.tell()
            self._proposals.tick()
            self.turn()

    def _stop(self, why: str, *, unknown: str) -> None:
        self.stopped = self.stopped or f"no commands are taken: {why}"
        self._proposals.stop(unknown)
        self._barriers.stop()
        self.moved()

    def turn(self) -> None:
        """Give the engine what waits, and do what it wants, until it wants nothing."""
        nursery = self._nursery
        if nursery is None:
            return
        self._ticking.catch_up()
        self._barriers.offer()
        self._proposals.offer()
        while ready := self.engine.ready():
            self._do(ready, nursery)
            self._proposals.offer()
        self._ticking.hurry()

    def _do(self, ready: Ready, nursery: trio.Nursery) -> None:
        last: Message | None = None
        data = b""
        for to, message in ready.messages:
            if message is not last:  # what goes to several is encoded once
                last, data = message, encode(message)
            self._post.send(to, data)
        if ready.write is not None:
            self._writer.put(ready.write)
        for event in ready.events:
            self._note(event)
        if ready.committed:
            self._commit(ready.committed)
        for settled in ready.settled:
            self._proposals.settled(settled)
        for ticket in ready.lost:
            self._proposals.lost(ticket)
        for read in ready.reads:
            self._barriers.settled(read)
        for wanted in ready.blocks_wanted:
            nursery.start_soon(self._writer.blocks, wanted)
        self._states.do(ready, nursery)
        if self.engine.failed and not self.stopped:
            self._stop(self.engine.failed, unknown=self.engine.failed)

    def _note(self, event: Event) -> None:
        name = self.engine.name
        if event.kind in _GRAVE:
            _logger.warning("%s: %s", name, event.text)
        else:
            _logger.info("%s: %s", name, event.text)
        self._leaders += event.kind == "leader"
        self._told(event)
        self.moved()

    def _commit(self, entries: list[LogEntry]) -> None:
        self._tail.add(Committed(one.position, command_of(one.data)) for one in entries)
        self.moved()

    def _was_reset(self, position: int) -> None:
        """The log is gone, and the snapshot in its place: who follows gets that."""
        self._tail.clear(position)
        self._states.forget()
        self.moved()
