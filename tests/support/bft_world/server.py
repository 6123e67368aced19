"""A server: the engine of Byzantine agreement, and around it a simulated disk, a state machine, clients."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from flowcore.state import SnapshotInfo
from flowcore.testing import Host, Journal
from support.bft_world.build import Build
from support.bft_world.keys import Ring
from support.bft_world.schedule import Schedule
from support.simulation.client import Answer, Request
from support.simulation.machine import Machine
from support.simulation.server import Reading, Server
from support.simulation.store import Picture

INCOMING = "incoming"
"""The file of a state that was taken in from others."""


class Cluster(NamedTuple):
    """What all servers of one run have in common."""

    build: Build
    ring: Ring
    name: str
    genesis: Any
    settings: Any
    piece: int
    """Bytes of a piece of a snapshot."""
    compacts: bool
    """Whether the log before a certified checkpoint goes."""
    as_bytes: bool
    """Whether messages are encoded and decoded on their way."""
    schedule: Callable[[], Schedule | None]
    """The adversary in the network, if there is one."""


class BftServer(Server):
    """One life of a server with the engine of Byzantine agreement."""

    def __init__(
        self,
        host: Host,
        cluster: Cluster,
        oracle: Any,
        revive: Callable[[str], None],
        name: str = "",
    ) -> None:
        """`name` is who it is, if its host has another name."""
        super().__init__(host, oracle, revive)
        self.cluster = cluster
        self.name = name or host.name
        build, stored = cluster.build, self.store.stored
        restored = build.restored.Restored(
            cluster.genesis,
            cluster.name,
            stored.hard_state,
            (stored.start, stored.start_term),
            self.store.info,
            node=self.name,
        )
        restored.add(stored.entries)
        self.sign = cluster.ring.signer(self.name)
        self.engine = build.engine.Engine(
            self.name, restored, self.sign, cluster.settings, scheme=cluster.ring
        )
        self._told()
        self.dumps: dict[int, bytes] = {}
        """By height of a checkpoint: the state there."""
        self.machine = self._restored()
        self._asking: dict[int, tuple[str, int, float]] = {}
        """By number of a request: who has asked, and when."""
        self._results: dict[int, tuple[str, int]] = {}
        """By position: who waits for what comes of it."""
        self._pieces: list[bytes] = []
        self._compacted: Any = None
        self._install: Any = None
        """What is being taken in."""
        oracle.born(self)
        self._replay()
        self._begin()

    machines: type[Machine] = Machine
    """What it has a state of."""

    def _told(self) -> None:
        """Its engine is told what there is to tell before it begins."""

    def _restored(self) -> Machine:
        """The state at the last checkpoint, or at a later one that was taken in and is in force."""
        found = self.store.picture
        for record in Journal(self.host.disk, INCOMING).records:
            taken = msgspec.msgpack.decode(record, type=Picture)
            if taken.position <= self.engine.standing.position and (
                found is None or taken.position > found.position
            ):
                found = taken
        if found is None:
            return self.machines()
        self.dumps[found.term] = found.data
        return self.machines.load(found.data)

    def _replay(self) -> None:
        """Bring the state to what was decided. It may be a block ahead, which is decided anew, the same."""
        decided = self.engine.standing.position
        for entry in self.store.read(self.machine.position + 1, decided):
            self._apply(entry)
        if self.machine.position < decided:
            raise AssertionError(
                f"{self.host.name} finds its state at {self.machine.position}, not {decided}"
            )

    # ---- what happens to it

    def _step(self, sender: str, message: Any) -> None:
        messages, engine = self.cluster.build.messages, self.engine
        if isinstance(message, bytes):
            try:
                message = messages.decode(message)
            except messages.BadMessage:
                return
        before = (engine.height, engine.view)
        refused = engine.step(sender, message)
        self._oracle.heard(self, message, before, not refused)

    def _say(self, ready: Any) -> None:
        for to, message in ready.messages:
            self._oracle.says(self, message)
            self.post(to, message)

    def post(self, to: str, message: Any) -> None:
        """Give a message to the network."""
        self.host.send(
            to, self.cluster.build.messages.encode(message) if self.cluster.as_bytes else message
        )

    # ---- what it does

    def _do(self, ready: Any) -> None:
        if ready.events:
            for event in ready.events:
                self._oracle.told(self, event)
        if ready.settled:
            for settled in ready.settled:
                client, call, _ = self._asking.pop(settled.number)
                if settled.position:
                    self._results[settled.position] = (client, call)
                else:
                    self.host.send(client, Answer(call, False))
        for number in ready.lost:
            client, call, _ = self._asking.pop(number)
            self.host.send(client, Answer(call, False))
        due = {one.position: one for one in ready.checkpoints}
        for entry in ready.committed:
            self._apply(entry)
            if entry.position in due:
                self._checkpoint(due.pop(entry.position))
        if due:
            raise AssertionError(f"checkpoints at {[*due]}, where nothing is applied")
        for state in ready.reads:
            self._read_state(state)
        for wanted in ready.blocks_wanted:
            self._soon(partial(self._blocks_wanted, wanted))
        for wanted in ready.chunks_wanted:
            self._soon(partial(self._chunk_wanted, wanted))
        if ready.install is not None:
            self._install = ready.install
        for piece in ready.pieces:
            self._piece(piece)
        if ready.committed or ready.reads:
            self._answer_reads()

    def _apply(self, entry: Any) -> None:
        waits = self._results.pop(entry.position, None)
        if entry.position <= self.machine.position:
            self._oracle.applied(self, entry)
            if waits is not None:
                self.host.send(waits[0], Answer(waits[1], False))
            return
        data = self.cluster.build.entries.command_of(entry.data)
        command, result = self.machine.apply(entry.position, data)
        self._oracle.applied(self, entry)
        if waits is not None:
            if command is None:
                raise AssertionError(f"what was proposed is not at {entry.position}")
            client, call = waits
            self.host.send(client, Answer(call, True, result))

    # ---- clients

    def _asked(self, client: str, request: Request) -> None:
        engine = self.engine
        try:
            if request.key:
                self._numbers += 1
                engine.read(self._numbers)
                self._reads[self._numbers] = Reading(client, request.call, request.key)
            else:
                number = engine.propose([request.command])
                self._asking[number] = (client, request.call, self.host.monotonic)
        except self.cluster.build.core.Refused:
            self.host.send(client, Answer(request.call, False))

    def longest(self) -> float:
        """Seconds for which a request of this server has waited."""
        now = self.host.monotonic
        return max((now - since for _, _, since in self._asking.values()), default=0.0)

    # ---- checkpoints

    def _checkpoint(self, due: Any) -> None:
        """The state is to be certified as it is now: store it, and say what it is."""
        dump = self.dumps.get(due.height)
        if dump is None:
            if self.machine.position != due.position:
                return  # it was there before a restart
            dump = self.machine.dump()
        self._oracle.state(self.host.name, due.position, dump)
        self.dumps[due.height] = dump
        for height in sorted(self.dumps)[:-3]:
            del self.dumps[height]
        info = SnapshotInfo(position=due.position, term=due.height)

        def saved() -> None:
            self.engine.checkpointed(due.height, state_digest(dump))

        self._save(info, dump, saved)

    def _rest(self) -> None:
        picture, stable = self.store.durable_picture, self.engine.stable
        if self.cluster.compacts and picture is not None and stable is not self._compacted:
            self._compacted = stable
            self.engine.compact(picture.position)

    def _blocks_wanted(self, wanted: Any) -> None:
        """Read what was decided from a height on, each block with its certificate."""
        engine, stored = self.engine, self.store.stored
        last = engine.standing.position - stored.start
        first = next(
            (at for at, one in enumerate(stored.entries) if one.term >= wanted.height), last
        )
        found = []
        if first < last and stored.entries[first].term == wanted.height:
            blocks = self.cluster.build.entries.blocks_of(stored.entries[first:last])
            for one, after in zip(blocks, [*blocks[1:], None], strict=True):
                certificate = engine.certificate if after is None else after.parent
                if certificate is None:
                    break
                found.append((one.data, certificate))
        engine.blocks_read(wanted.to, found[:20])

    def _state_at(self, height: int) -> bytes | None:
        """What is sent as the state at a checkpoint."""
        return self.dumps.get(height)

    def _chunk_wanted(self, wanted: Any) -> None:
        dump = self._state_at(wanted.height)
        at, size = wanted.number * self.cluster.piece, self.cluster.piece
        if dump is None:
            self.engine.chunk_gone(wanted.to)
        if dump is None or at >= len(dump):
            return
        chunk = self.cluster.build.messages.Chunk(
            wanted.height, wanted.number, dump[at : at + size], at + size >= len(dump)
        )
        self.post(wanted.to, chunk)

    def _piece(self, piece: Any) -> None:
        """One more of a state that is taken in; the last one tells whether it is what was certified."""
        if piece.number == 0:
            self._pieces = []
        self._pieces.append(piece.data)
        height = piece.height
        if not piece.last:
            self._soon(lambda: self.engine.piece_stored(height, piece.number))
            return
        data, install = b"".join(self._pieces), self._install
        if state_digest(data) != install.checkpoint.state:
            self._soon(lambda: self.engine.install_failed(height, "another state"))
            return
        record = msgspec.msgpack.encode(Picture(install.position, height, b"", data))

        def stored(error: OSError | None) -> None:
            self._pass_time()
            if error is not None:
                self._disk_failed(error)
            elif not self.engine.failed:
                self._take(height, data)
            self._after()

        try:
            journal = Journal(self.host.disk, INCOMING)
            journal.rewrite([record])
            journal.sync(stored)
        except OSError as error:
            self._disk_failed(error)

    def _take(self, height: int, data: bytes) -> None:
        """The state that was taken in is on the disk: go on from there."""
        before = self.engine.standing.height
        self.engine.installed(height)
        if self.engine.standing.height == before:
            return  # it came here by blocks meanwhile
        self.machine = self.machines.load(data)
        self.dumps[height] = data
        self._oracle.installed(self, height, self.machine.position)


def state_digest(dump: bytes) -> bytes:
    """What stands for a state in a checkpoint."""
    return hashlib.blake2b(dump, digest_size=32).digest()
