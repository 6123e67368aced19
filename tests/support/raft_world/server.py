"""A server: the engine, with a simulated disk, a state machine and clients around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, NamedTuple

from flowcore.state import SnapshotInfo
from flowcore.testing import Host
from support.raft_world.build import Build
from support.raft_world.oracle import Oracle
from support.simulation.client import Answer, Request
from support.simulation.server import Reading, Server


class Policy(NamedTuple):
    """How servers of one run behave; the same on all."""

    settings: Any
    snapshot_every: int
    keep: int
    piece: int
    """Bytes of a piece of a snapshot."""
    as_bytes: bool
    """Whether messages are encoded and decoded on their way."""
    machine: Any
    """`Machine`, or `StateMachine` which is the real one."""


class RaftServer(Server):
    """One life of a server with Raft's engine."""

    def __init__(
        self,
        host: Host,
        build: Build,
        policy: Policy,
        oracle: Oracle,
        voters: tuple[str, ...],
        revive: Callable[[str], None],
    ) -> None:
        super().__init__(host, oracle, revive)
        self.policy = policy
        self._build = build
        store = self.store
        contents = store.stored
        restored = build.Restored(
            contents.hard_state,
            (contents.start, contents.start_term),
            store.info,
            voters=voters,
            memory_bytes=policy.settings.memory_bytes,
        )
        restored.add(contents.entries)
        self.engine: Any = build.Engine(
            host.name, restored, policy.settings, Random(host.random.getrandbits(60))
        )
        kind = policy.machine
        self.machine: Any = kind.load(store.picture.data) if store.picture else kind()
        oracle.born(self)
        self._replay()
        self._snapshot_at = self.machine.position
        self._saving = False
        self._proposed: dict[int, tuple[int, str, int]] = {}
        self._pieces: dict[str, tuple[SnapshotInfo, list[bytes]]] = {}
        self._incoming: list[bytes] = []
        self._begin()

    def _replay(self) -> None:
        """Bring the state to where the engine says that it was given everything."""
        given = self.engine.log.given
        for entry in self.store.read(self.machine.position + 1, given):
            self.machine.apply(entry.position, self._build.command_of(entry.data))
            self._oracle.applied(self, entry)
        if self.machine.position != given:
            raise AssertionError(
                f"{self.host.name} finds its state at {self.machine.position}, and {given} was given"
            )

    # ---- what happens to it

    def _step(self, sender: str, message: Any) -> None:
        if self.policy.as_bytes:
            message = self._build.decode(message)
        self.engine.step(sender, message)

    def act(self, call: Callable[[Any], object]) -> bool:
        """Have an operator do something with the engine; whether it was not refused."""
        self._pass_time()
        done = True
        try:
            call(self.engine)
        except self._build.Refused:
            done = False
        self._after()
        return done

    # ---- what it does

    def _say(self, ready: Any) -> None:
        for to, message in ready.messages:
            self._oracle.says(self, to, message)
            self.host.send(to, self._build.encode(message) if self.policy.as_bytes else message)
        if ready.chunk is not None:
            self._take_piece(ready.chunk)

    def _do(self, ready: Any) -> None:
        if ready.snapshot is not None:
            self._install(ready.snapshot)
        for entry in ready.committed:
            self._apply(entry)
        for state in ready.reads:
            self._read_state(state)
        for fetch in ready.fetches:
            self._soon(partial(self._fetch, fetch))
        for wanted in ready.chunks_wanted:
            self._soon(partial(self._give_piece, wanted))
        if ready.committed or ready.snapshot or ready.reads:
            self._answer_reads()

    def _apply(self, entry: Any) -> None:
        data = self._build.command_of(entry.data)
        command, result = self.machine.apply(entry.position, data)
        self._oracle.applied(self, entry)
        proposed = self._proposed.pop(entry.position, None)
        if proposed is not None:
            term, client, call = proposed
            if term == entry.term:
                assert command is not None
                self.host.send(client, Answer(call, True, result))
            else:
                self.host.send(client, Answer(call, False, None, self.engine.leader))

    # ---- clients

    def _asked(self, client: str, request: Request) -> None:
        engine = self.engine
        try:
            if request.key:
                self._numbers += 1
                context = self._numbers
                engine.read_index(context, leased=request.leased)
                self._reads[context] = Reading(client, request.call, request.key)
            else:
                position = engine.propose([request.command])
                self._proposed[position] = (engine.term, client, request.call)
        except self._build.Refused as refused:
            self.host.send(client, Answer(request.call, False, None, refused.leader))

    # ---- snapshots

    def _rest(self) -> None:
        if self.machine.position - self._snapshot_at >= self.policy.snapshot_every:
            self.snapshot()

    def snapshot(self) -> None:
        """Store the state as it is, and let go of the log before it once that is durable."""
        position = self.machine.position
        if self._saving or self.engine.failed or position <= self.engine.log.start:
            return
        self._snapshot_at = position
        self._saving = self._save(
            self.engine.describe(position), self.machine.dump(), lambda: self._saved(position)
        )

    def _saved(self, position: int) -> None:
        self._saving = False
        self.engine.compact(max(0, position - self.policy.keep))

    def _give_piece(self, wanted: Any) -> None:
        picture, info = self.store.durable_picture, self.store.info
        if wanted.number == 0 and picture is not None and info is not None:
            size = self.policy.piece
            info = SnapshotInfo(position=picture.position, term=picture.term, about=picture.about)
            data = picture.data
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            self._pieces[wanted.to] = (info, pieces)
        kept = self._pieces.get(wanted.to)
        if kept is None or kept[0].position < wanted.at_least or wanted.number >= len(kept[1]):
            self.engine.report_snapshot(wanted.to, ok=False)
            return
        info, pieces = kept
        number = wanted.number
        self.engine.chunk_read(
            wanted.to, info, number, pieces[number], last=number == len(pieces) - 1
        )

    def _take_piece(self, chunk: Any) -> None:
        if chunk.number == 0:
            self._incoming = []
        self._incoming.append(chunk.data)
        if not chunk.last:
            self._soon(lambda: self.engine.chunk_stored(chunk.info.position, chunk.number))
            return

        self._save(
            chunk.info,
            b"".join(self._incoming),
            lambda: self.engine.chunk_stored(chunk.info.position, chunk.number),
        )

    def _install(self, info: SnapshotInfo) -> None:
        picture = self.store.picture
        assert picture is not None
        if picture.position < info.position:
            raise AssertionError(f"a snapshot at {info.position} is installed, and not stored")
        self.machine = self.policy.machine.load(picture.data)
        if self.machine.position != info.position:
            raise AssertionError(
                f"the snapshot at {info.position} holds a state at {self.machine.position}"
            )
        self._snapshot_at = info.position
        self._oracle.installed(self, info)

    def _fetch(self, fetch: Any) -> None:
        self.engine.fetched(fetch.to, self.store.read(fetch.first, fetch.last))
