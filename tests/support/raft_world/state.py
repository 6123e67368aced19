"""The hard state's own machine in the place of the simulation's: patterns as registers, its sessions as ours.

Entries of the log become commands of the state when they are applied, by what is in them and in the state
alone. It is slower, so that only some runs have it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from flowcore.sqlite import open_database
from flowcore.state import Command as StateCommand
from flowcore.state import (
    Committed,
    Entry,
    OpenSession,
    PutPattern,
    PutPatterns,
    SessionOpened,
    Stored,
    Touch,
    encode_entry,
)
from flowcore.state.machine import Machine as HardState
from flowcore.state.schema import STATE
from flowcore.state.snapshot import Intake, frames
from support.simulation.machine import Command

SPACE = "simulation"
_command = msgspec.msgpack.Decoder(Command).decode


class StateMachine:
    """As `Machine` in machine.py, over `flowcore.state`."""

    def __init__(self) -> None:
        self.position = 0
        self._sessions: dict[str, tuple[int, int]] = {}
        """By client: its session, and the last sequence number."""
        self._connection = open_database(None, STATE, exclusive=False, synchronous="NORMAL")
        self._state = HardState(self._connection)

    def apply(self, position: int, data: bytes) -> tuple[Command | None, Any]:
        """The command and its result; for a repeated one the result it had."""
        if position != self.position + 1:
            raise AssertionError(f"entry {position} is applied after {self.position}")
        self.position = position
        if not data:
            return None, None
        command = _command(data)
        if command.client not in self._sessions:
            opened = self._do(OpenSession(command.client))
            assert isinstance(opened, SessionOpened)
            self._sessions[command.client] = (opened.session, 0)
        session, last = self._sessions[command.client]
        if command.sequence < last:
            return command, "forgotten"
        self._sessions[command.client] = (session, max(last, command.sequence))
        result = self._do(self._meant(command), session, command.sequence)
        return command, self._result(command, result)

    def read(self, key: str) -> Any:
        found = self._connection.execute(
            "SELECT value FROM patterns JOIN contents USING (id) WHERE namespace = ? AND key = ?",
            (SPACE, key),
        ).fetchone()
        return None if found is None else msgspec.json.decode(found[0])

    def _meant(self, command: Command) -> StateCommand:
        key, value = command.key, command.value
        now = self.read(key)
        if command.name == "append":
            value = [*(now or ()), value]
        elif command.name == "read" or (command.name == "cas" and now != value[0]):
            return Touch(())
        elif command.name == "cas":
            value = value[1]
        return PutPatterns(
            (PutPattern(namespace=SPACE, key=key, value=msgspec.json.encode(value)),)
        )

    def _result(self, command: Command, result: Any) -> Any:
        if command.name == "read":
            return self.read(command.key)
        if command.name == "cas":
            return isinstance(result, Stored)
        if command.name == "append":
            return self.read(command.key).index(command.value) + 1  # each is appended once
        return None

    def _do(self, command: StateCommand, session: int = 0, sequence: int = 0) -> Any:
        entry = Entry(time=0.0, session=session, sequence=sequence, command=command)
        (applied,) = self._state.apply([Committed(self._state.position + 1, encode_entry(entry))])
        return applied.result

    def dump(self) -> bytes:
        """All of it, for a snapshot: the state's own, and what this adds to it."""
        snapshot = b"".join(frames(self._connection))
        return msgspec.msgpack.encode((self.position, sorted(self._sessions.items()), snapshot))

    @classmethod
    def load(cls, data: bytes) -> StateMachine:
        """As it was dumped."""
        machine = cls()
        machine.position, sessions, snapshot = msgspec.msgpack.decode(data)
        machine._sessions = {name: (session, last) for name, (session, last) in sessions}
        intake = Intake(machine._connection)
        intake.feed(snapshot)
        intake.finish()
        machine._state = HardState(machine._connection)
        return machine
