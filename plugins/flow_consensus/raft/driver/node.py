"""`raft`: the engine under trio, over a storage and a transport.

A turn of the engine takes what has come (messages, ticks, proposals, questions), hands out what the engine
wants sent, and wakes the task that writes. Whoever has something for the engine that others wait for turns it
at once: who receives messages, when none is left, and who has written; all else waits for a task of its own,
so that the proposals of one moment are one batch. What comes while the disk works is the next write: one
batch, one fsync. A leader's appends go out while it writes itself.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from random import Random
from typing import Any

import attrs
import trio

from flow_consensus.pieces import Post
from flow_consensus.raft.core import Refused, Role
from flow_consensus.raft.driver.changes import Changing
from flow_consensus.raft.driver.disk import Writer
from flow_consensus.raft.driver.handing import Handing
from flow_consensus.raft.driver.looking import Looking
from flow_consensus.raft.driver.measures import of_raft
from flow_consensus.raft.driver.port import Transport
from flow_consensus.raft.driver.proposals import Proposals
from flow_consensus.raft.driver.reads import Barriers
from flow_consensus.raft.driver.receiving import Receiving
from flow_consensus.raft.driver.settings import RaftSettings
from flow_consensus.raft.driver.snapshots import Snapshots
from flow_consensus.raft.driver.standing import standing
from flow_consensus.raft.driver.telling import Telling
from flow_consensus.raft.driver.ticking import Ticking
from flow_consensus.raft.driver.wire import Encoded, Own, encode_own
from flow_consensus.raft.effects import LeaderChanged, Ready, RoleChanged
from flow_consensus.raft.engine import Engine
from flow_consensus.raft.entries import command_of, described
from flow_consensus.raft.membership import Change, ChangeRefused
from flow_consensus.raft.messages import Append, Message
from flow_consensus.tail import Tail, check_applied
from flowcore.errors import (
    InvalidArguments,
    StateUnavailable,
)
from flowcore.state import (
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


class Raft:
    """One node of a cluster. Made by `open_node` only."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        transport: Transport,
        settings: RaftSettings,
        chance: Random,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.stopped = ""
        self._tail = Tail(storage, engine.log.given, command_of, described)
        self._storage = storage
        self._transport = transport
        self._encoded = Encoded()
        self._post = Post(transport, chance.getrandbits(60))
        self._telling = Telling(self._send)
        self._handing = Handing(self.moved)
        self._watchers = 0
        """Tasks that wait for something to move."""
        self._awaited = 0
        """What reads wait for, up to a position."""
        self._crowded = False
        """Whether the last write had several entries: then more come with each turn of the scheduler."""
        self._ended = False
        self._fault: BaseException | None = None
        """What went wrong in another's task, and ends this node."""
        self._numbers = chance.getrandbits(60)
        self._wake_up = trio.Event()
        self._ticking = Ticking(engine, settings.tick)
        self._proposals = Proposals(self)
        self._barriers = Barriers(self)
        self._changing = Changing(self)
        self._looking = Looking(self)
        self._writer = Writer(self, storage, self._was_reset)
        self._snapshots = Snapshots(self, storage)
        self._receiving = Receiving(
            self,
            self._post,
            self._ticking,
            self._proposals,
            self._telling,
            self._changing,
            self._looking,
        )
        self._elections = self._leaders = 0

    # ---- the interface

    @property
    def last(self) -> int:
        """What was handed out as committed."""
        return self._tail.last

    @property
    def durable(self) -> bool:
        return self._storage.durable

    @property
    def identity(self) -> str:
        return self._storage.identity

    async def propose(self, command: bytes) -> int:
        return await self._proposals.propose(command)

    async def read_barrier(self, *, leased: bool = False) -> int:
        return await self._barriers.wait(leased=leased)

    def committed(self, after: int) -> AsyncGenerator[Sequence[Committed] | Installed]:
        check_applied(after, self.engine.log.last)
        self.engine.applied(after)  # so it is committed
        self.wake()
        return self._tail.follow(after)

    def hand_to(self, take: Callable[[Sequence[Committed]], bool]) -> None:
        """As `HandsOver.hand_to`."""
        self._tail.hand_to(take)

    async def change_voters(
        self, *, add: Sequence[str] = (), remove: Sequence[str] = (), promote: Sequence[str] = ()
    ) -> None:
        """As `Consensus.change_voters`: who is added is a learner until promoted. Returns when committed.

        Raises InvalidArguments for a change that makes no sense, OutcomeUnknown.
        """
        try:
            change = Change(learners=add, remove=remove, voters=promote)
        except ChangeRefused as error:
            raise InvalidArguments(str(error)) from None
        await self._changing.change(change)

    async def followers(self) -> dict[str, dict[str, Any]]:
        """As `KnowsMembers.followers`: asked of the leader, where that is another node."""
        return await self._looking.followers()

    def transfer_leadership(self, to: str) -> None:
        """Have another voter lead, if this node does. Raises StateUnavailable."""
        try:
            self.engine.transfer_leadership(to)
        except Refused as refused:
            raise StateUnavailable(str(refused), data={"leader": refused.leader}) from None
        self.wake()

    async def compact(self, position: int) -> None:
        """As `Consensus.compact`; some entries are kept for followers that are a little behind."""
        await trio.lowlevel.checkpoint()
        engine = self.engine
        if self.stopped:
            return
        until = position - self.settings.keep
        if engine.role is Role.LEADER:
            behind = min(one.match for one in engine.progress.values())
            until = max(until, min(position, behind))
        if until > engine.log.start:
            engine.compact(min(until, engine.log.given))
            self.wake()

    def snapshots_from(self, source: SnapshotSource) -> None:
        """Where snapshots of the state come from, for nodes that need what is compacted."""
        self._snapshots.source = source

    @property
    def cluster(self) -> str:
        """The name of the cluster that the log is of; empty where it has none."""
        return self.engine.cluster

    def describe(self, position: int) -> SnapshotInfo:
        """As `Describes.describe`."""
        return self.engine.describe(position)

    async def entries(self, first: int, most: int) -> Sequence[Shown]:
        """As `ShowsLog.entries`: what is in the storage."""
        return await self._tail.shown(first, most)

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        return of_raft(
            self.status(), self._proposals.took, self._snapshots.given, self._snapshots.taken
        )

    def status(self) -> dict[str, Any]:
        """Where it is, what it did, whom it leads."""
        return {
            "type": "raft",
            **standing(self.engine),
            "stopped": self.stopped,
            "trouble": self.trouble,
            "elections": self._elections,
            "leaders": self._leaders,
            "sent": self._post.sent,
            "unsent": self._post.unsent,
            "bad_messages": self._receiving.bad,
            "snapshots": {
                "sent": attrs.asdict(self._snapshots.given.durations()),
                "taken": attrs.asdict(self._snapshots.taken.durations()),
            },
            **self._proposals.status(),
            "storage": self._storage.status(),
        }

    @property
    def trouble(self) -> str:
        """Why nothing can be written just now; "" while it can."""
        return self._writer.trouble

    # ---- for its parts, see `driver_port.Node`

    def wake(self) -> None:
        self._wake_up.set()

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def send_own(self, to: str, message: Own) -> bool:
        return self._post.send(to, encode_own(message))

    def moved(self) -> None:
        self._tail.tell()

    async def wait_moved(self) -> None:
        self._watchers += 1
        try:
            await self._tail.wait()
        finally:
            self._watchers -= 1

    def tick_now(self) -> None:
        self._ticking.tell_all()

    def disk_failed(self, error: Exception) -> None:
        if not self.engine.failed:
            _logger.error("%s: the disk has failed: %s", self.engine.name, error)
            self.engine.disk_failed(str(error))
            self._stop(str(error), unknown=f"whether it is written nobody knows: {error}")
            self.wake()

    # ---- messages

    def received(self, sender: str, data: bytes) -> None:
        """A message has come; quick, and raises nothing."""
        self._receiving.take(sender, data)
        self.wake()

    # ---- running

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._writer.run)
                nursery.start_soon(self._receiving.run, self._transport, self._arrived)
                nursery.start_soon(self._telling.run)
                nursery.start_soon(self._handing.run)
                nursery.start_soon(self._tick)
                task_status.started()
                while True:
                    await self._wake_up.wait()
                    self._wake_up = trio.Event()
                    if self._fault is not None:
                        raise self._fault
                    self.turn()
        finally:
            self._ended = True
            self._stop("the node is being stopped", unknown="the node was stopped meanwhile")

    def _arrived(self, sender: str, data: bytes) -> None:
        """A message has come: in the task of its link."""
        if self._ended or self._fault is not None:
            return
        try:
            self._receiving.take(sender, data)
            if self._crowded:  # what else comes in this turn is one batch with it
                self.wake()
                return
            self._barriers.offer()
            while ready := self.engine.ready():
                self._do(ready, self._nursery)
            if self._proposals.waiting:  # they are one batch with those that come in this turn
                self.wake()
        except Exception as error:
            self._fail(error)

    async def _tick(self) -> None:
        while True:
            await self._ticking.wait()
            self._ticking.tell_some()
            self._proposals.tick()
            self._barriers.tick()
            self.wake()

    def _stop(self, why: str, *, unknown: str) -> None:
        self.stopped = self.stopped or f"no commands are taken: {why}"
        self._proposals.stop(unknown)
        self._barriers.stop()
        self.moved()

    def turn(self) -> None:
        """Give the engine what waits, and do what it wants, until it wants nothing."""
        self._proposals.offer()
        self._barriers.offer()
        while ready := self.engine.ready():
            self._do(ready, self._nursery)
            self._proposals.offer()

    def turn_for(self) -> None:
        try:
            self.turn()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._fault = error
        self.wake()

    def _do(self, ready: Ready, nursery: trio.Nursery) -> None:
        for to, message in ready.messages:
            self._telling.send(to, message)
        if ready.write is not None:
            if ready.write.entries:
                self._crowded = len(ready.write.entries) > 1
            self._writer.put(ready.write)
        for event in ready.events:
            self._note(event)
        if ready.snapshot is not None:
            self._proposals.skipped(ready.snapshot.position)
        if ready.committed:
            self._commit(ready.committed)
        for read in ready.reads:
            self._barriers.settled(read)
            self._awaited = max(self._awaited, read.position or 0)
        if ready.reads:
            self.moved()
        for fetch in ready.fetches:
            nursery.start_soon(self._writer.fetch, fetch)
        for wanted in ready.chunks_wanted:
            self._snapshots.give(wanted, nursery)
        if ready.chunk is not None:
            self._snapshots.take(ready.chunk, nursery)

    def _send(self, to: str, message: Message) -> None:
        if not self._post.send(to, self._encoded(message)) and type(message) is Append:
            self.engine.report_unreachable(to)

    def _note(self, event: object) -> None:
        if isinstance(event, RoleChanged):
            self._telling.forget()
            self._elections += event.role == Role.CANDIDATE
            name = self.engine.name
            _logger.info("%s is %s in term %d: %s", name, event.role, event.term, event.why)
        elif isinstance(event, LeaderChanged):
            self._leaders += bool(event.leader)
            self._proposals.leader_changed()
        self.moved()

    def _commit(self, entries: list[LogEntry]) -> None:
        self._tail.add(Committed(one.position, command_of(one.data)) for one in entries)
        engine, last = self.engine, entries[-1].position
        awaited = self._proposals.settle(entries) or entries[0].position <= self._awaited
        if awaited or self._watchers or engine.role is Role.LEADER or last == engine.log.last:
            self.moved()
        else:  # more is here already, and will be committed
            self._handing.soon()

    def _was_reset(self, position: int) -> None:
        """The log is gone, and the snapshot in its place: who follows gets that."""
        self._tail.clear(position)
        self.moved()
