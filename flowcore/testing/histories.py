"""Histories of clients as files: a line of JSON for each invocation, and one for each completion.

    {"at": 0.5, "client": "c1", "call": 7, "event": "invoke", "operation": "cas", "key": "x", "value": [1, 2]}
    {"at": 0.9, "client": "c1", "call": 7, "event": "ok", "result": true}

Lines stand in the order in which things happened; `at` is seconds, for people. `event` is `invoke`, or how
the call ended: `ok` with its `result`; `fail`, if it surely did nothing; `unknown`, if it may have been done,
or be done later, or never. A call without an end is unknown.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import IO, Any, Literal

import msgspec

from flowcore.testing.linearizability import Operation

End = Literal["ok", "fail", "unknown"]


class Line(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line of the file."""

    at: float
    client: str
    call: int
    event: Literal["invoke", "ok", "fail", "unknown"]
    operation: str = ""
    key: str = ""
    value: Any = None
    result: Any = None


class History:
    """What clients did, as it happens; written to a file while it grows, if there is one."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._lines: list[Line] = []
        self._calls = 0

    def invoke(
        self, at: float, client: str, operation: str, key: str = "", value: Any = None
    ) -> int:
        """A client begins a call; gives its number, by which `end` knows it."""
        self._calls += 1
        self._add(
            Line(
                at=at,
                client=client,
                call=self._calls,
                event="invoke",
                operation=operation,
                key=key,
                value=value,
            )
        )
        return self._calls

    def end(self, at: float, client: str, call: int, event: End, result: Any = None) -> None:
        """A call has ended."""
        self._add(Line(at=at, client=client, call=call, event=event, result=result))

    @property
    def lines(self) -> tuple[Line, ...]:
        """All so far."""
        return tuple(self._lines)

    def operations(self) -> list[Operation]:
        """What the checker takes: all calls but those that surely did nothing."""
        return operations_of(self._lines)

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        if self._file is not None:
            self._file.write(_encoder.encode(line) + b"\n")


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


def write_history(path: pathlib.Path, lines: Iterable[Line]) -> None:
    """Write a file."""
    with path.open("wb") as file:
        file.writelines(_encoder.encode(line) + b"\n" for line in lines)


def read_history(path: pathlib.Path) -> list[Operation]:
    """The operations in a file. Raises ValueError, with the line, for what is no history."""
    lines = []
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            try:
                lines.append(_decoder.decode(text))
            except msgspec.MsgspecError as error:
                raise ValueError(f"{path}:{number}: no line of a history: {error}") from None
    try:
        return operations_of(lines)
    except ValueError as error:
        raise ValueError(f"{path}:{error}") from None


def operations_of(lines: Iterable[Line]) -> list[Operation]:
    """The operations that lines tell of, in the order in which they began."""
    begun: dict[int, tuple[int, Line]] = {}
    ended: dict[int, tuple[int, Line]] = {}
    for place, line in enumerate(lines):
        known = begun if line.event == "invoke" else ended
        if line.call in known or (known is ended and line.call not in begun):
            what = "begins twice" if known is begun else "ends without a beginning, or twice"
            raise ValueError(f"{place + 1}: call {line.call} {what}")
        known[line.call] = (place, line)
    found = []
    for call, (place, line) in begun.items():
        end, last = ended.get(call, (None, None))
        if last is not None and last.event == "fail":
            continue
        surely = last is not None and last.event == "ok"
        found.append(
            Operation(
                name=line.operation,
                key=line.key,
                value=line.value,
                result=last.result if last is not None and surely else None,
                began=place,
                ended=end if surely else None,
                client=line.client,
                at=line.at,
            )
        )
    return found
