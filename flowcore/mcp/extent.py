"""How much there is in JSON, before it is taken apart: whether it is text, how many values, how deep.

All of it is passes over bytes that run in C, where there is much over pieces that a core's cache holds, and
only as far as it takes to refuse.
"""

from __future__ import annotations

from array import array
from codecs import utf_8_decode
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from msgspec import DecodeError
from msgspec.json import format as format_json

from flowcore.mcp.codes import ParseError

MAX_DEPTH: Final = 128
"""How deeply arrays and objects may be nested in a message."""

LARGE: Final = 1 << 20
"""Bytes of a message from which on a wrong one is not read again to tell more about what is wrong."""

_IN_TEXTS = 10
"""How many times as many commas and brackets there may be with those in texts: to leave these out costs as
much as there are."""

_PIECE = 1 << 16
"""Bytes that are looked at together: so many stay in a core's cache."""

_BLOCK = 64
_EVEN = (b'"' * 256, b'"' * 16, b'""')
_AS_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # which closes which, the decoder checks
_Marks = tuple[tuple[bytes, ...], bytes]
"""Single bytes, and all others."""


def _marks(those: bytes) -> _Marks:
    return tuple(bytes((one,)) for one in those), bytes(set(range(256)) - set(those))


_COUNTED, _COUNTED_AND_TEXTS, _STRUCTURE = _marks(b",[{"), _marks(b'",[{'), _marks(b'"[]{}')


def check_text(data: bytes) -> None:
    """Raise ParseError if the bytes are not UTF-8. Piece by piece, so that nothing large is made of them."""
    view, at = memoryview(data), 0
    while at < len(data):
        end = at + _PIECE
        try:
            at += utf_8_decode(view[at:end], "strict", end >= len(data))[1]
        except UnicodeDecodeError as problem:
            place = at + problem.start
            raise ParseError(f"not UTF-8: {problem.reason} at byte {place}") from None


def count(data: bytes, mark: bytes) -> int:
    """How often a byte occurs, which costs little where it is rare."""
    return sum(
        data.count(mark, start, start + _PIECE)
        for start in range(0, len(data), _PIECE)
        if data.find(mark, start, start + _PIECE) >= 0
    )


def at_most(data: bytes, values: float) -> tuple[int, int]:
    """How many arrays and objects there are at most, and how many values: as many as there are bytes, where
    those are few. Raises ParseError for too many `values`."""
    if len(data) <= min(values, LARGE):
        return data.count(b"[") + data.count(b"{"), len(data)
    containers = counted = 0
    for marks in _only(_COUNTED, data):  # so that of too many only some are counted
        counted += len(marks)
        containers += len(marks) - marks.count(b",")
        if counted > values * _IN_TEXTS:
            raise ParseError(f"more than {values} values")
    if counted > values and _more_than(values, data):
        raise ParseError(f"more than {values} values")
    return containers, counted


def _more_than(values: float, data: bytes) -> bool:
    """Whether there are more commas and brackets than so many values have, without those in texts."""
    found, within = 0, False
    for marks in _only(_COUNTED_AND_TEXTS, _unescaped(data)):
        outside, within = _outside(marks, within)
        found += len(outside)
        if found > values:
            return True
    return False


def _outside(marks: bytes, within: bool = False) -> tuple[bytes, bool]:
    """Some marks without those in texts, and whether they end in one, as they begin `within` one or not."""
    for quotes in _EVEN:  # what follows them is as much within a text, or without, as it was
        marks = marks.replace(quotes, b"")
    parts = marks.split(b'"')
    return b"".join(parts[within::2]), within ^ (len(parts) % 2 == 0)


def too_deep(data: bytes, depth: int = MAX_DEPTH) -> bool:
    """Whether arrays and objects are nested more than `depth` levels; for valid JSON it is exact.

    Few brackets cannot nest deeply.
    """
    return data.count(b"[") + data.count(b"{") > depth and nests(data, depth)


def nests(data: bytes, depth: int) -> bool:
    """Whether valid JSON is nested more than `depth` levels. All but brackets is taken away first, and of
    these only those are counted one by one that may be too deep."""
    steps, level = _steps(data), 0
    for start in range(0, len(steps), _BLOCK):
        block = steps[start : start + _BLOCK]
        opened = block.count(b"\x01")
        if level + opened > depth and level + max(accumulate(array("b", block))) > depth:
            return True
        level += 2 * opened - len(block)
    return False


def lies_deep(data: bytes, depth: int) -> bool:
    """Whether JSON, right or wrong, is found to be nested more than `depth` levels by being laid out: each
    value on a line of its own, and as far from its left edge as it is deep. It costs as much as the lines are
    long, but nothing for what is escaped, which `nests` has to take away piece by piece."""
    try:
        lines = format_json(data, indent=1)
    except DecodeError:
        return False
    except RecursionError:
        return True
    edge, at = b"\n" + b" " * depth, lines.find(b"\n")
    while at >= 0:
        end = lines.find(b"\n", at + 1)
        if lines.startswith(edge, at):
            deeper = lines.startswith(b" ", at + len(edge))
            if deeper or lines[at:end].rstrip(b",").endswith((b"[]", b"{}")):
                return True
        at = end
    return False


def containers(data: bytes) -> int:
    """How many arrays and objects there are in valid JSON."""
    return _steps(data).count(b"\x01")


def _steps(data: bytes) -> bytes:
    """The brackets of JSON as steps into (1) and out of (-1) arrays and objects, without those in texts."""
    marks = b"".join(_only(_STRUCTURE, _unescaped(data)))
    return _outside(marks)[0].translate(_AS_STEPS)


def _only(marks: _Marks, data: bytes) -> Iterator[bytes]:
    """What there is of some marks in the data, piece by piece."""
    each, others = marks
    for start in range(0, len(data), _PIECE):
        end = start + _PIECE
        for mark in each:
            if data.find(mark, start, end) >= 0:
                yield data[start:end].translate(None, others)
                break


def _unescaped(data: bytes) -> bytes:
    """JSON without escaped quotes and backslashes: each quote that is left begins or ends a string."""
    if b"\\" not in data:
        return data
    return data.replace(b"\\\\", b"").replace(b'\\"', b"")
