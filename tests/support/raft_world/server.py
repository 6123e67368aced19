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
from support.raft_world.store import Store
from support.simulation.client import Answer, Request

TICK = 0.05
"""Seconds of a tick."""


class Reading(NamedTuple):
    """A client that waits for a read index, and then for the state."""

    client: str
    call: int
    key: str


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


class Server:
    """One life of a server."""

    def __init__(
        self,
        host: Host,
        build: Build,
        policy: Policy,
        oracle: Oracle,
        voters: tuple[str, ...],
        revive: Callable[[str], None],
    ) -> None:
        self.host = host
        self.policy = policy
        self._build = build
        self._oracle = oracle
        self._revive = revive
        self.store = store = Store(host)
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
        self._reads: dict[int, Reading] = {}
        self._waiting: list[tuple[int, Reading]] = []
        self._numbers = 0
        self._later: dict[str, Callable[[], None]] = {}
        self._pieces: dict[str, tuple[SnapshotInfo, list[bytes]]] = {}
        self._incoming: list[bytes] = []
        self._ticks = int(host.monotonic / TICK)
        host.timer("tick", TICK)
        self._after()

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

    def on_timer(self, timer: str) -> None:
        if timer == "tick":
            self.host.timer("tick", TICK)
        else:
            self._later.pop(timer)()
        self._after()

    def on_message(self, sender: str, message: Any) -> None:
        self._pass_time()
        if isinstance(message, Request):
            self._asked(sender, message)
        else:
            if self.policy.as_bytes:
                message = self._build.decode(message)
            self.engine.step(sender, message)
        self._after()

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

    def _after(self) -> None:
        self._pass_time()
        self._pump()
        if self.host.alive:
            self._oracle.look(self)

    def _pass_time(self) -> None:
        """Tell the engine all ticks that have passed: a node that hung has missed some."""
        due = int(self.host.monotonic / TICK)
        while self._ticks < due:
            self._ticks += 1
            self.engine.tick()

    # ---- what it does

    def _pump(self) -> None:
        engine, host = self.engine, self.host
        while host.alive and (ready := engine.ready()):
            if ready.write is not None:
                self._oracle.writes(self, ready.write)
            self._oracle.look(self)
            for to, message in ready.messages:
                self._oracle.says(self, to, message)
                host.send(to, self._build.encode(message) if self.policy.as_bytes else message)
            if ready.chunk is not None:
                self._take_piece(ready.chunk)
            if ready.write is not None:
                self._write(ready.write)
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
        if host.alive:
            self._maybe_snapshot()

    def _soon(self, call: Callable[[], None]) -> None:
        """Do something after the time that a disk needs to read."""
        self._numbers += 1
        timer = f"later {self._numbers}"
        self._later[timer] = call
        self.host.timer(timer, self.host.random.uniform(0.0, 0.01))

    def _write(self, write: Any) -> None:
        try:
            self.store.write(write, lambda error: self._written(write, error))
        except OSError as error:
            self._disk_failed(error)

    def _written(self, write: Any, error: OSError | None) -> None:
        self._pass_time()
        if self.engine.failed:
            return
        if error is not None:
            self._disk_failed(error)
        else:
            self._oracle.wrote(self, write)
            self.engine.persisted(write.number)
        self._after()

    def _disk_failed(self, error: OSError) -> None:
        """Hand over, say so, and start again after a while."""
        if self.engine.failed:
            return
        self.engine.disk_failed(str(error))
        self._later["stop"] = lambda: self._stop(str(error))
        self.host.timer("stop", 0.2)

    def _stop(self, why: str) -> None:
        self.host.stop(why)
        self._revive(self.host.name)

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

    def _read_state(self, state: Any) -> None:
        reading = self._reads.pop(state.context)
        if state.position is None:
            self.host.send(reading.client, Answer(reading.call, False))
        else:
            self._waiting.append((state.position, reading))

    def _answer_reads(self) -> None:
        rest = []
        for position, reading in self._waiting:
            if self.machine.position >= position:
                result = self.machine.read(reading.key)
                self.host.send(reading.client, Answer(reading.call, True, result))
            else:
                rest.append((position, reading))
        self._waiting = rest

    # ---- snapshots

    def _maybe_snapshot(self) -> None:
        if self.machine.position - self._snapshot_at >= self.policy.snapshot_every:
            self.snapshot()

    def snapshot(self) -> None:
        """Store the state as it is, and let go of the log before it once that is durable."""
        position = self.machine.position
        if self._saving or self.engine.failed or position <= self.engine.log.start:
            return
        self._snapshot_at = position
        try:
            self.store.save(
                self.engine.describe(position),
                self.machine.dump(),
                lambda error: self._saved(position, error),
            )
        except OSError as error:
            self._disk_failed(error)
            return
        self._saving = True

    def _saved(self, position: int, error: OSError | None) -> None:
        self._pass_time()
        self._saving = False
        if error is not None:
            self._disk_failed(error)
        elif not self.engine.failed:
            self.engine.compact(max(0, position - self.policy.keep))
        self._after()

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

        def done(error: OSError | None) -> None:
            self._pass_time()
            if self.engine.failed:
                return
            if error is not None:
                self._disk_failed(error)
            else:
                self.engine.chunk_stored(chunk.info.position, chunk.number)
            self._after()

        try:
            self.store.save(chunk.info, b"".join(self._incoming), done)
        except OSError as error:
            self._disk_failed(error)

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
