"""Some engines with a disk each, and a network whose messages wait until somebody delivers them."""

from __future__ import annotations

from collections import deque
from random import Random

import attrs

from flow_consensus.raft import (
    ChunkStored,
    ChunkWanted,
    Engine,
    EngineSettings,
    LeaderChanged,
    Message,
    Ready,
    Restored,
    RoleChanged,
    Write,
    command_of,
    decode,
    encode,
)
from flowcore.state import LogEntry, SnapshotInfo
from support.raft.words import event_words, message_words, write_words

CHUNK = 3
"""Commands in one piece of a snapshot."""


@attrs.define(eq=False)
class Disk:
    """What is left after a crash."""

    hard_state: bytes = b""
    compacted: tuple[int, int] = (0, 0)
    entries: list[LogEntry] = attrs.Factory(list)
    snapshot: SnapshotInfo | None = None
    commands: list[str] = attrs.Factory(list)
    """What is in the snapshot."""
    applied: int = 0
    state: list[str] = attrs.Factory(list)
    """The state has a file of its own, and what it has applied there is there again."""

    def write(self, write: Write) -> None:
        if write.reset is not None:
            self.compacted, self.entries = write.reset, []
        if write.entries:
            at = write.entries[0].position - self.compacted[0] - 1
            assert 0 <= at <= len(self.entries), "a gap"
            self.entries[at:] = write.entries
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.compact is not None:
            gone = write.compact - self.compacted[0]
            self.compacted = (write.compact, self.entries[gone - 1].term)
            del self.entries[:gone]

    def read(self, first: int, last: int) -> list[LogEntry]:
        start = self.compacted[0]
        return [] if first <= start else self.entries[first - start - 1 : last - start]


@attrs.define(eq=False)
class Node:
    """An engine, its disk, and a state that is the list of its commands."""

    engine: Engine
    disk: Disk
    slow: bool = False
    """Writes wait until they are told to be done."""
    writing: Write | None = None
    applied: int = 0
    state: list[str] = attrs.Factory(list)
    receiving: list[str] = attrs.Factory(list)
    sending: dict[str, tuple[SnapshotInfo, list[str]]] = attrs.Factory(dict)


class Cluster:
    """Nodes by name; what happens is written down, a line each."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.nodes: dict[str, Node] = {}
        self.down: dict[str, Disk] = {}
        self.lines: list[str] = []
        self.links: dict[tuple[str, str], deque[Message]] = {}
        self.cut: set[tuple[str, str]] = set()
        self.quiet = False
        self._lives = 0

    def say(self, line: str) -> None:
        if not self.quiet:
            self.lines.append(line)

    # ---- nodes

    def start(self, name: str, disk: Disk, voters: tuple[str, ...] = ()) -> None:
        """A node as its disk has it."""
        restored = Restored(
            disk.hard_state,
            disk.compacted,
            disk.snapshot,
            voters=voters,
            applied=disk.applied,
            node=name,
            memory_bytes=self.settings.memory_bytes,
        )
        restored.add(disk.entries)
        self._lives += 1
        chance = Random(f"{name} {self._lives}")
        engine = Engine(name, restored, self.settings, chance)
        node = Node(engine, disk)
        node.state, node.applied = list(disk.state), disk.applied
        for entry in disk.read(node.applied + 1, engine.log.commit):
            self._apply(node, entry)
        self.nodes[name] = node

    def crash(self, name: str) -> None:
        """What is not durable is gone; so is what is on the way to it."""
        node = self.nodes.pop(name)
        if node.writing is not None:
            self.say(f"{name} loses {write_words(node.writing)}")
        self.down[name] = node.disk

    def settle(self, name: str | None = None) -> None:
        """Do what the engines want done, until they want nothing; no message is delivered."""
        names = [name] if name else sorted(self.nodes)
        for one in names:
            while one in self.nodes and (ready := self.nodes[one].engine.ready()):
                self._do(one, ready)

    def _do(self, name: str, ready: Ready) -> None:
        node = self.nodes[name]
        for event in ready.events:
            self.say(f"{name} {event_words(name, event)}")
        for to, message in ready.messages:
            self._send(name, to, message)
        if ready.snapshot is not None:
            node.state, node.applied = list(node.disk.commands), ready.snapshot.position
            node.disk.state, node.disk.applied = list(node.state), node.applied
            self.say(f"{name} takes the snapshot at {node.applied}: {' '.join(node.state)}")
        if ready.write is not None:
            node.writing = ready.write
            self.say(
                f"{name} {'begins to write' if node.slow else 'writes'} {write_words(ready.write)}"
            )
            if not node.slow:
                self.persist(name)
        for entry in ready.committed:
            self._apply(node, entry)
        if ready.committed:
            words = [command_of(one.data).decode() or "-" for one in ready.committed]
            self.say(f"{name} commits up to {node.applied}: {' '.join(words)}")
        for read in ready.reads:
            what = "fails" if read.position is None else f"may be answered at {read.position}"
            self.say(f"{name} read {read.context} {what}")
        for fetch in ready.fetches:
            entries = node.disk.read(fetch.first, fetch.last)
            self.say(f"{name} reads {fetch.first} to {fetch.last} for {fetch.to}")
            node.engine.fetched(fetch.to, entries)
        for wanted in ready.chunks_wanted:
            self._give_chunk(name, node, wanted)
        if ready.chunk is not None:
            self._store_chunk(name, node, ready.chunk)

    def _apply(self, node: Node, entry: LogEntry) -> None:
        if entry.position <= node.applied:
            return  # applied in an earlier life
        assert entry.position == node.applied + 1, "a gap in what is committed"
        node.applied = node.disk.applied = entry.position
        if command_of(entry.data):
            node.state.append(command_of(entry.data).decode())
            node.disk.state = list(node.state)

    def persist(self, name: str) -> None:
        """What is being written is durable now."""
        node = self.nodes[name]
        assert node.writing is not None, f"{name} writes nothing"
        write, node.writing = node.writing, None
        node.disk.write(write)
        node.engine.persisted(write.number)

    # ---- snapshots

    def make_snapshot(self, name: str) -> SnapshotInfo:
        """Of what the node has applied."""
        node = self.nodes[name]
        info = node.engine.describe(node.applied)
        node.disk.snapshot, node.disk.commands = info, list(node.state)
        return info

    def _give_chunk(self, name: str, node: Node, wanted: ChunkWanted) -> None:
        if wanted.number == 0:
            node.sending[wanted.to] = (self.make_snapshot(name), list(node.state))
        info, commands = node.sending[wanted.to]
        piece = commands[wanted.number * CHUNK : (wanted.number + 1) * CHUNK]
        last = (wanted.number + 1) * CHUNK >= len(commands)
        node.engine.chunk_read(wanted.to, info, wanted.number, " ".join(piece).encode(), last=last)

    def _store_chunk(self, name: str, node: Node, chunk: ChunkStored) -> None:
        if chunk.number == 0:
            node.receiving = []
        node.receiving += chunk.data.decode().split()
        if chunk.last:
            node.disk.snapshot, node.disk.commands = chunk.info, list(node.receiving)
            self.say(f"{name} stores the snapshot at {chunk.info.position}")
        node.engine.chunk_stored(chunk.info.position, chunk.number)

    # ---- the network

    def _send(self, sender: str, to: str, message: Message) -> None:
        lost = (sender, to) in self.cut or to not in self.nodes
        self.say(f"{sender}->{to} {message_words(message)}{' (lost)' if lost else ''}")
        if not lost:
            self.links.setdefault((sender, to), deque()).append(decode(encode(message)))

    def step(self, sender: str, to: str, message: Message) -> None:
        """A message gets there."""
        if to not in self.nodes:
            return
        refused = self.nodes[to].engine.step(sender, message)
        if refused:
            self.say(f"{to} refuses {message_words(message)} from {sender}: {refused}")

    def waiting(self, only: set[str] | None = None) -> tuple[str, str] | None:
        """A link with messages; within `only`, if given."""
        for link in sorted(self.links):
            if self.links[link] and (only is None or set(link) <= only):
                return link
        return None

    def stabilise(self, only: set[str] | None = None) -> None:
        """Deliver everything, in rounds, until nothing is under way."""
        self.settle()
        for _ in range(1000):
            batch = [
                (link, self.links[link])
                for link in sorted(self.links)
                if self.links[link] and (only is None or set(link) <= only)
            ]
            if not batch:
                return
            taken = [(link, list(queue)) for link, queue in batch]
            for _, queue in batch:
                queue.clear()
            for (sender, to), messages in taken:
                for message in messages:
                    self.step(sender, to, message)
            self.settle()
        raise AssertionError("it does not come to rest")


__all__ = ["Cluster", "Disk", "LeaderChanged", "Node", "RoleChanged"]
