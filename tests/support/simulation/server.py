"""What a server is whatever its engine: ticks, a disk, a state machine, and clients that wait for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from flowcore.state import SnapshotInfo
from flowcore.testing import Host
from support.simulation.client import Answer, Request
from support.simulation.store import Store

TICK = 0.05
"""Seconds of a tick."""


class Reading(NamedTuple):
    """A client that waits for a read index, and then for the state."""

    client: str
    call: int
    key: str


class Server:
    """One life of a server. What is an engine's own stands in what derives from it.

    The engine has `tick`, `ready`, `persisted`, `disk_failed` and `failed`; the oracle has `look`,
    after whatever happens, and `writes` and `wrote`, before and after a write.
    """

    engine: Any
    machine: Any
    """The state machine."""

    def __init__(self, host: Host, oracle: Any, revive: Callable[[str], None]) -> None:
        """`revive` starts the node again, some time after its disk has failed. Raises UntrustedFile."""
        self.host = host
        self.store = Store(host)
        self._oracle = oracle
        self._revive = revive
        self._reads: dict[int, Reading] = {}
        """By context, those of which the engine has not said yet where they are."""
        self._waiting: list[tuple[int, Reading]] = []
        """Those that wait for the state to come to a position."""
        self._numbers = 0
        self._later: dict[str, Callable[[], None]] = {}
        self._ticks = 0

    def _begin(self) -> None:
        """The engine and the state are there: go."""
        self._ticks = int(self.host.monotonic / TICK)
        self.host.timer("tick", TICK)
        self._after()

    # ---- what is an engine's own

    def _step(self, sender: str, message: Any) -> None:
        """Another server's message."""
        raise NotImplementedError

    def _asked(self, client: str, request: Request) -> None:
        """A client's."""
        raise NotImplementedError

    def _do(self, ready: Any) -> None:
        """All that the engine wants done but its write, which is begun already."""
        raise NotImplementedError

    def _say(self, ready: Any) -> None:
        """Send the messages of it, before its write begins."""
        raise NotImplementedError

    def _rest(self) -> None:
        """There is nothing more to do."""

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
            self._step(sender, message)
        self._after()

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

    def _pump(self) -> None:
        engine, host = self.engine, self.host
        while host.alive and (ready := engine.ready()):
            if ready.write is not None:
                self._oracle.writes(self, ready.write)
            self._oracle.look(self)
            self._say(ready)
            if ready.write is not None:
                self._write(ready.write)
            self._do(ready)
        if host.alive:
            self._rest()

    def _soon(self, call: Callable[[], None]) -> None:
        """Do something after the time that a disk needs to read."""
        self._numbers += 1
        timer = f"later {self._numbers}"
        self._later[timer] = call
        self.host.timer(timer, self.host.random.uniform(0.0, 0.01))

    # ---- the disk

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

    def _save(self, info: SnapshotInfo, data: bytes, then: Callable[[], None]) -> bool:
        """Store a snapshot, and then do something, if it went well; whether it has begun."""

        def done(error: OSError | None) -> None:
            self._pass_time()
            if error is not None:
                self._disk_failed(error)
            elif not self.engine.failed:
                then()
            self._after()

        try:
            self.store.save(info, data, done)
        except OSError as error:
            self._disk_failed(error)
            return False
        return True

    def _disk_failed(self, error: OSError) -> None:
        """Say so, hand over what there is to hand over, and start again after a while."""
        if self.engine.failed:
            return
        self.engine.disk_failed(str(error))
        self._later["stop"] = lambda: self._stop(str(error))
        self.host.timer("stop", 0.2)

    def _stop(self, why: str) -> None:
        self.host.stop(why)
        self._revive(self.host.name)

    # ---- reads

    def _read_state(self, state: Any) -> None:
        """The engine has said where a read is: from there on the state may answer."""
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
