"""The state machine of the simulation: registers and lists, and sessions in which nothing is done twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Self

import msgspec

from flowcore.testing import Operation, Register


class Command(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a client wants, as bytes in the log."""

    client: str
    sequence: int
    name: str
    key: str
    value: Any = None


_encode = msgspec.msgpack.Encoder().encode
_command = msgspec.msgpack.Decoder(Command).decode


def encode(command: Command) -> bytes:
    """As it stands in the log."""
    return _encode(command)


class Machine:
    """Commands in order in, results out; the same on every server."""

    def __init__(self) -> None:
        self.position = 0
        self.values: dict[str, Any] = {}
        self.sessions: dict[str, tuple[int, Any]] = {}
        """The last sequence number of each client, and its result: a client does one thing at a time."""

    def apply(self, position: int, data: bytes) -> tuple[Command | None, Any]:
        """The command and its result; for a repeated one the result it had."""
        if position != self.position + 1:
            raise AssertionError(f"entry {position} is applied after {self.position}")
        self.position = position
        if not data:
            return None, None
        command = _command(data)
        last, result = self.sessions.get(command.client, (0, None))
        if command.sequence > last:
            result = self._do(command)
            self.sessions[command.client] = (command.sequence, result)
        elif command.sequence < last:
            result = "forgotten"  # nobody waits for it any more
        return command, result

    def read(self, key: str) -> Any:
        return self.values.get(key)

    def _do(self, command: Command) -> Any:
        key, value = command.key, command.value
        found = self.values.get(key)
        match command.name:
            case "write":
                self.values[key] = value
                return None
            case "cas":
                if found != value[0]:
                    return False
                self.values[key] = value[1]
                return True
            case "append":
                self.values[key] = [*(found or ()), value]
                return len(self.values[key])
        return found

    def dump(self) -> bytes:
        """All of it, for a snapshot."""
        return _encode((self.position, sorted(self.values.items()), sorted(self.sessions.items())))

    @classmethod
    def load(cls, data: bytes) -> Self:
        """As it was dumped."""
        machine = cls()
        machine.position, values, sessions = msgspec.msgpack.decode(data)
        machine.values = dict(values)
        machine.sessions = {name: (last, result) for name, (last, result) in sessions}
        return machine


class Values(Register):
    """What the checker of linearizability thinks the machine is: registers, and lists to append to."""

    def apply(self, state: Any, operation: Operation) -> tuple[Any, Hashable]:
        if operation.name == "append":
            following = (*(state or ()), operation.value)
            return len(following), following
        if operation.name == "read":
            return (list(state) if isinstance(state, tuple) else state), state
        return super().apply(state, operation)
