"""Engines at one table: what they say is passed on at once, one message after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from flow_consensus.bft import (
    CheckpointDue,
    Engine,
    EngineSettings,
    Event,
    Kind,
    Message,
    Ready,
    Restored,
    Settled,
    Signed,
    Write,
    command_of,
    decode,
    encode,
)
from flow_consensus.bft.messages import Certificate
from flowcore.state import LogEntry
from support.bft.keys import Signer, genesis

ABCD = ("a", "b", "c", "d")


@attrs.define(eq=False)
class Disk:
    """A log and a hard state, as a storage has them."""

    entries: list[LogEntry] = attrs.field(factory=list)
    hard_state: bytes = b""
    compacted: tuple[int, int] = (0, 0)

    def write(self, write: Write) -> None:
        if write.reset is not None:
            self.entries, self.compacted = [], write.reset
        if write.entries:
            first = write.entries[0].position
            kept = [one for one in self.entries if one.position < first]
            self.entries = kept + list(write.entries)
        if write.hard_state is not None:
            self.hard_state = write.hard_state


class Seat:
    """One node: its disk outlives its engine."""

    def __init__(
        self, name: str, voters: Sequence[str], settings: EngineSettings, checkpoint: int
    ) -> None:
        self.name = name
        self.disk = Disk()
        self.holds = False
        """Whether its disk takes its time: writes stay in `waiting`."""
        self.waiting: Write | None = None
        self.commands: list[bytes] = []
        self.settled: list[Settled] = []
        self.events: list[Event] = []
        self.reads: list[tuple[object, int | None]] = []
        self.due: list[CheckpointDue] = []
        self._voters, self._settings, self._checkpoint = voters, settings, checkpoint
        self.engine = self.start()

    def start(self) -> Engine:
        """Begin, or begin anew, with what is on the disk."""
        disk = self.disk
        first = genesis(self._voters, checkpoint=self._checkpoint)
        restored = Restored(first, "test", disk.hard_state, disk.compacted, node=self.name)
        restored.add(disk.entries)
        self.waiting = None
        self.engine = Engine(self.name, restored, Signer(self.name), self._settings)
        return self.engine


class Table:
    """Some nodes."""

    def __init__(
        self,
        voters: Sequence[str] = ABCD,
        settings: EngineSettings | None = None,
        checkpoint: int = 10_000,
    ) -> None:
        made = settings or EngineSettings()
        self.seats = {name: Seat(name, voters, made, checkpoint) for name in voters}
        self.absent: set[str] = set()
        self.drop: Callable[[str, str, Message], bool] = lambda sender, to, message: False
        self.said: list[tuple[str, str, Message]] = []
        self._queue: list[tuple[str, str, bytes]] = []
        self.settle()
        self.said.clear()

    def __getitem__(self, name: str) -> Engine:
        return self.seats[name].engine

    def ready(self, name: str) -> Ready:
        """What a node wants, done; its messages are on their way."""
        seat = self.seats[name]
        ready = seat.engine.ready()
        for to, message in ready.messages:
            self.said.append((name, to, message))
            if to in self.seats and not self.drop(name, to, message):
                self._queue.append((name, to, encode(message)))
        if ready.write is not None:
            seat.waiting = ready.write
        seat.commands += [command_of(one.data) for one in ready.committed if command_of(one.data)]
        seat.settled += ready.settled
        seat.events += ready.events
        seat.due += ready.checkpoints
        seat.reads += [(one.context, one.position) for one in ready.reads]
        if seat.waiting is not None and not seat.holds:
            self.persist(name)
        return ready

    def persist(self, name: str) -> None:
        """What a node writes is durable."""
        seat = self.seats[name]
        write, seat.waiting = seat.waiting, None
        assert write is not None
        seat.disk.write(write)
        seat.engine.persisted(write.number)

    def settle(self) -> None:
        """Pass on all there is, until nobody says anything more."""
        again = True
        while again:
            again = False
            for name in self.seats:
                if name in self.absent:
                    continue
                while self.ready(name):
                    again = True
            queue, self._queue = self._queue, []
            for sender, to, data in queue:
                again = True
                if to not in self.absent:
                    self[to].step(sender, decode(data))

    def tick(self, ticks: int = 1) -> None:
        """Time passes for all who are there."""
        for _ in range(ticks):
            for name in self.seats:
                if name not in self.absent:
                    self[name].tick()
            self.settle()

    def restart(self, name: str) -> Engine:
        """A node crashes, and starts again with what was durable."""
        return self.seats[name].start()

    def signed(
        self, name: str, kind: Kind, height: int, view: int, of: bytes, valid: int = -1
    ) -> Signed:
        """A statement of a node, whether its engine would make it or not."""
        return self[name]._signed(kind, height, view, of, valid)

    def certificate(
        self, names: Sequence[str], kind: Kind, height: int, view: int, of: bytes
    ) -> Certificate:
        """What these have signed, together."""
        one = self[names[0]]
        index = one.epoch.index
        signatures = [
            (index[name], self.signed(name, kind, height, view, of).signature)
            for name in sorted(names)
        ]
        return Certificate(kind, one.epoch.number, height, view, of, signatures)
