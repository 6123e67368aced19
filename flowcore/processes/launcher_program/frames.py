"""The frames that flowcore and its launcher send each other.

Both ways: little-endian u32 length of what follows, u8 operation, u32 number of the process, payload.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

SPAWN = 1
"""To the launcher: start a process. Payload: NUL-joined working directory, number of arguments, arguments,
NAME=VALUE pairs; with three file descriptors, its stdin, stdout and stderr."""
SIGNAL = 2
"""To the launcher: send a signal (u8) to the process and everything of it."""
END = 3
"""To the launcher: let nothing of the process be left: SIGTERM, and SIGKILL after the grace (f64 seconds)."""
READY = 4
STARTED = 5
"""From the launcher: the program runs. Payload: u32 process id."""
FAILED = 6
"""From the launcher: it does not. Payload: u8 step at which it failed, u32 errno."""
EXITED = 7
"""From the launcher: i32 wait status."""
GONE = 8
"""From the launcher: asked to END, nothing of the process is left; its number is forgotten."""
TEMPLATE = 9
"""To the launcher: SPAWN a process that forks others (see `flowcore.processes.template_program`). It is given
the number of its channel as a last argument more."""
FORK = 10
"""To the launcher: start a process by a fork of a template. Payload: u32 number of the template, and the
mark; with three file descriptors."""

STEP_FORK, STEP_DIRECTORY, STEP_EXECUTE, STEP_INTERPRETER, STEP_TEMPLATE = range(5)

MARK = "FLOWCORE_PROCESS"

_HEAD = struct.Struct("<IBI")
FAILURE = struct.Struct("<BI")
PID = struct.Struct("<I")


def mark_of(marker: str, number: int) -> str:
    """What a process has as MARK in its environment; for one marker always of the same length."""
    return f"{marker}.{number:010d}"


def frame(operation: int, number: int, payload: bytes = b"") -> bytes:
    """One frame as bytes."""
    return _HEAD.pack(len(payload) + 5, operation, number) + payload


def take_frames(buffer: bytearray) -> Iterator[tuple[int, int, bytes]]:
    """Take the complete frames off the front of a buffer: operation, number, payload."""
    while len(buffer) >= _HEAD.size:
        length, operation, number = _HEAD.unpack_from(buffer)
        if len(buffer) < length + 4:
            return
        payload = bytes(buffer[_HEAD.size : length + 4])
        del buffer[: length + 4]
        yield operation, number, payload


def spawn_payload(directory: bytes, arguments: list[bytes], environment: list[bytes]) -> bytes:
    """The payload of SPAWN. None of the parts may hold a NUL."""
    return b"\0".join([directory, b"%d" % len(arguments), *arguments, *environment])


def spawn_parts(  # pragma: no cover - only a fork looks into it
    payload: bytes,
) -> tuple[bytes, list[bytes], dict[bytes, bytes]]:
    """The parts of such a payload: working directory, arguments, environment."""
    directory, count, *rest = payload.split(b"\0")
    pairs = (pair.partition(b"=") for pair in rest[int(count) :])
    return directory, rest[: int(count)], {name: value for name, _, value in pairs}
