"""`bft`: the engine under trio, over a storage and a transport.

One task turns the engine: it takes what has come (messages, ticks, proposals, questions), hands out what the
engine wants sent, and wakes a second task, which writes. Signatures are checked before a message is
taken, many of them in a thread. What comes while the disk works is the next write: one batch, one fsync.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from random import Random
from typing import Any

import attrs
import trio

from flow_consensus.bft.driver.barriers import Barriers
from flow_consensus.bft.driver.checking import Checking
from flow_consensus.bft.driver.disk import Writer
from flow_consensus.bft.driver.measures import of_bft
from flow_consensus.bft.driver.members import Changing, KeyOf, followers
from flow_consensus.bft.driver.port import Transport
from flow_consensus.bft.driver.proposals import Proposals
from flow_consensus.bft.driver.settings import TICK, BftSettings
from flow_consensus.bft.driver.snapshots import Giving, Making, Taking
from flow_consensus.bft.effects import CheckpointDue, ChunkWanted, Event, Install, Ready
from flow_consensus.bft.engine import Engine
from flow_consensus.bft.entries import command_of, described
from flow_consensus.bft.epochs import Epoch
from flow_consensus.bft.messages import Message, encode
from flow_consensus.bft.restored import Restored
from flow_consensus.bft.signing import Sign
from flow_consensus.pieces import BadMessage, Post
from flow_consensus.tail import Tail, check_applied
from flowcore.errors import AssemblyError, StorageError, StorageFailed
from flowcore.state import (
    Committed,
    Installed,
    LogEntry,
    Shown,
    SnapshotInfo,
    SnapshotSource,
    Storage,
)
from flowcore.telemetry import Histogram, Reading

_logger = logging.getLogger(__name__)

_HEARD = 1.0
"""Seconds for which a node counts as there after a message of its own; it says something every 0.25."""
_LONGEST = 200
"""Ticks that are made up for after a pause."""
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
        self._tail = Tail(storage, engine.standing.position, command_of)
        self._storage = storage
        self._transport = transport
        self._told = told
        self._post = Post(transport, chance.getrandbits(60))
        self._wake_up = trio.Event()
        self._due = math.inf
        self._heard: dict[str, float] = {}
        self._source: SnapshotSource | None = None
        self._given, self._taken_in, self._made = Histogram(), Histogram(), Histogram()
        self._making = Making(engine, storage, self.wake, self._made)
        self._checkpoints: dict[int, CheckpointDue] = {}
        self._giving: dict[str, Giving] = {}
        self._taking: Taking | None = None
        self._nursery: trio.Nursery | None = None
        self._proposals = Proposals(self)
        self._barriers = Barriers(self)
        self._changing = Changing(self, key_of)
        self._writer = Writer(self, storage, self._was_reset)
        self._checking = Checking(engine, self._step, self._bad_message)
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
        check_applied(after, self._storage.last)
        async with aclosing(self._tail.follow(after)) as stream:
            async for batch in stream:
                if isinstance(batch, Installed):
                    yield batch
                    continue
                rest = list(batch)
                while rest:
                    at = next(
                        (n for n, one in enumerate(rest, 1) if one.position in self._checkpoints), 0
                    )
                    some, rest = (rest[:at], rest[at:]) if at else (rest, [])
                    yield some  # when more is asked for, all of it is applied
                    if at:
                        await self._checkpoint(self._checkpoints.pop(some[-1].position))

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
        self._source = source

    def describe(self, position: int) -> SnapshotInfo:
        """As `Describes.describe`; a snapshot that was taken by hand proves nothing to others."""
        standing = self.engine.standing
        if position > standing.position:
            raise ValueError(f"{position} is not decided, {standing.position} is")
        return SnapshotInfo(position=position, term=standing.height)

    async def entries(self, first: int, most: int) -> Sequence[Shown]:
        """As `ShowsLog.entries`: what is in the storage; the term of an entry is its block's height."""
        last = min(self._storage.last, first + most - 1)
        if first > last:
            await trio.lowlevel.checkpoint()
            return ()
        decided = self._tail.last
        return [
            Shown(
                position=one.position,
                term=one.term,
                committed=one.position <= decided,
                data=command_of(one.data),
                note=described(one.data),
            )
            for one in await self._storage.read(first, last)
        ]

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        return of_bft(self.status(), self._proposals.took, self._made, self._taken_in)

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
            "snapshots": {
                "made": attrs.asdict(self._made.durations()),
                "taken": attrs.asdict(self._taken_in.durations()),
            },
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
        self._heard[sender] = trio.current_time()
        if whole is not None:
            self._checking.take(sender, whole)

    def _step(self, sender: str, message: Message) -> None:
        self.engine.step(sender, message)
        self.wake()

    def _bad_message(self, sender: str, why: str) -> None:
        self._bad += 1
        _logger.debug("from %s: %s", sender, why)

    # ---- running

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part, until cancelled."""
        self._due = trio.current_time() + TICK
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._writer.run)
                nursery.start_soon(self._checking.run)
                nursery.start_soon(self._receiving)
                nursery.start_soon(self._ticking)
                task_status.started()
                while True:
                    await self._wake_up.wait()
                    self._wake_up = trio.Event()
                    self._turn(nursery)
        finally:
            self._nursery = None
            self._stop("the node is being stopped", unknown="the node was stopped meanwhile")

    async def _receiving(self) -> None:
        while True:
            self.received(*await self._transport.receive())

    async def _ticking(self) -> None:
        while True:
            await trio.sleep_until(self._due)
            behind = math.floor((trio.current_time() - self._due) / TICK) + 1
            if behind > _LONGEST:
                self._due += (behind - _LONGEST) * TICK
            # after a pause, some at a time: between them, what was said meanwhile is heard
            for _ in range(min(behind, 5)):
                self._due += TICK
                self.engine.tick()
            self._proposals.tick()
            self.wake()

    def _stop(self, why: str, *, unknown: str) -> None:
        self.stopped = self.stopped or f"no commands are taken: {why}"
        self._proposals.stop(unknown)
        self._barriers.stop()
        self.moved()

    def _turn(self, nursery: trio.Nursery) -> None:
        """Give the engine what waits, and do what it wants, until it wants nothing."""
        self._barriers.offer()
        self._proposals.offer()
        while ready := self.engine.ready():
            self._do(ready, nursery)
            self._proposals.offer()

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
        for due in ready.checkpoints:
            self._checkpoints[due.position] = due
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
        for chunk in ready.chunks_wanted:
            self._give(chunk, nursery)
        if ready.install is not None:
            self._take(ready.install, nursery)
        for piece in ready.pieces:
            if self._taking is not None:
                self._taking.feed(piece)
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
        self._checkpoints.clear()
        self.moved()

    # ---- snapshots

    async def _checkpoint(self, due: CheckpointDue) -> None:
        """The state is exactly as it is after a block: open its snapshot, store it meanwhile."""
        # one at a time, and none left out: it takes a quorum of the same one
        await self._making.idle.wait()
        if self._source is None or self._nursery is None:
            return
        await self._nursery.start(self._making.run, due, self._source)

    def _give(self, wanted: ChunkWanted, nursery: trio.Nursery) -> None:
        held = self._storage.snapshot
        if held is None or held.term != wanted.height:
            return  # another one by now: it is offered when blocks are asked for again
        giving = self._giving.get(wanted.to)
        if giving is None or giving.done or giving.height != wanted.height:
            giving = Giving(wanted.to, wanted.height, self._storage, self._give_chunk)
            self._giving[wanted.to] = giving
            nursery.start_soon(giving.run)
        giving.want(wanted)

    def _give_chunk(self, to: str, chunk: Message) -> None:
        self._post.send(to, encode(chunk))

    def _take(self, install: Install, nursery: trio.Nursery) -> None:
        if self._taking is not None:
            self._taking.scope.cancel()
        self._taking = Taking(install, self.engine, self._storage, self.wake, self._taken_in)
        nursery.start_soon(self._intake, self._taking)

    async def _intake(self, taking: Taking) -> None:
        try:
            await taking.run()
        except StorageFailed as error:
            self.disk_failed(error)
        except StorageError as error:
            _logger.error("a snapshot could not be stored: %s", error)
        finally:
            if self._taking is taking:
                self._taking = None


@asynccontextmanager
async def open_node(
    name: str,
    settings: BftSettings,
    storage: Storage,
    transport: Transport,
    chance: Random,
    *,
    sign: Sign,
    key_of: KeyOf,
    told: Told = lambda event: None,
    engine: Callable[..., Engine] = Engine,
) -> AsyncGenerator[Bft]:
    """A node of a cluster. Raises UntrustedFile, with the reason, for a log that no engine has written.

    `sign` signs as this node; `key_of` gives the public key of a node by its name. `engine` makes the engine:
    a test may give one that lies.
    """
    genesis = None
    if not storage.hard_state:
        keys = {one: key_of(one) for one in settings.voters}
        genesis = Epoch.first(keys, exclude=settings.exclude, checkpoint=settings.checkpoint)
    restored = Restored(
        genesis,
        settings.cluster,
        storage.hard_state,
        storage.compacted,
        storage.snapshot,
        node=name,
    )
    at = max(restored.first, storage.compacted[0] + 1)
    while at <= storage.last:
        some = await storage.read(at, storage.last, 4 * 2**20)
        restored.add(some)
        at += len(some)
    known = restored.standing.epoch.keys.get(name)
    if known is not None and known != key_of(name):
        raise AssemblyError(
            f"the other voters know {name!r} by another key than that of its certificate: take the"
            " certificate that it had, or have it removed and added anew"
        )
    boot = int(time.time())
    made = engine(name, restored, sign, settings.engine(), boot=boot)
    bft = Bft(made, storage, transport, settings, chance, key_of, told)
    async with trio.open_nursery() as nursery:
        await nursery.start(bft.run)
        bft.wake()
        yield bft
        nursery.cancel_scope.cancel()
