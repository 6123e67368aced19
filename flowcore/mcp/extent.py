"""How much there is in JSON, before it is taken apart: whether it is text, how many values, how deep.

Nothing here looks at single bytes. All of it is passes that run in C, over pieces that a core's cache holds,
and only as far as it takes to refuse: a pass over 16 MB takes some milliseconds.
"""

from __future__ import annotations

import math
from array import array
from binascii import a2b_qp
from codecs import utf_8_decode
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from msgspec import DecodeError, Raw
from msgspec.json import Decoder

from flowcore.mcp.codes import ParseError

MAX_DEPTH: Final = 128
"""How deeply arrays and objects may be nested in a message."""

LARGE: Final = 1 << 20
"""Bytes of a message from which on a wrong one is not read again to tell more about what is wrong."""

_PIECE = 1 << 16
"""Bytes that are looked at together: so many stay in a core's cache."""
_BLOCK = 64
_decode_raw = Decoder(Raw).decode
_EACH = 8
"""Marks for each quote among them up to which it pays to look for texts that have none."""

_MARKS = b'",:[]{}'
_ESCAPES = b"bfnrtu/"
"""What may follow a backslash, besides a quote and a backslash (RFC 8259, section 7)."""


def _but(those: bytes) -> bytes:
    return bytes(set(range(256)) - set(those))


_NO_MARKS, _NO_PARTS = _but(_MARKS), _but(_MARKS + b"\\" + _ESCAPES)
# In quoted-printable text `=` escapes as a backslash does here: `==` is one sign, and a line break behind one
# is taken away with it. So quotes are written as line breaks, and those are left that begin or end a text.
_AS_LINES = bytes.maketrans(b'"\\' + _ESCAPES, b"\n=" + b"." * len(_ESCAPES))
_AS_QUOTES = bytes.maketrans(b"\n", b'"')
_AS_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # which closes which, the decoder checks


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


def check_extent(data: bytes, *, depth: int, values: float, escapes: float) -> None:
    """Raise ParseError if JSON has more `values` (by its commas, colons and opening brackets outside of
    texts) or `escapes` (by its backslashes), or arrays and objects nested more than `depth` levels.

    For valid JSON it is exact. Where values are bounded, a member's name of more than 64 KiB is refused too,
    where it is seen: it would be read before it is found to be too long.
    """
    if len(data) <= min(values, escapes, LARGE) and _openers(data) <= depth:
        return  # few brackets cannot nest deeply
    found = level = 0
    for outside in _structure(data, values, escapes):
        steps = outside.translate(_AS_STEPS, b",:")
        opened = steps.count(b"\x01")
        found += len(outside) - len(steps) + opened
        if found > values:
            raise ParseError(f"more than {values} values")
        if level + opened > depth and _climbs(steps, depth - level):
            raise ParseError(f"nested more than {depth} levels deep")
        level += 2 * opened - len(steps)


def too_deep(data: bytes, depth: int = MAX_DEPTH) -> bool:
    """Whether arrays and objects are nested more than `depth` levels; for valid JSON it is exact."""
    try:
        check_extent(data, depth=depth, values=math.inf, escapes=math.inf)
    except ParseError:
        return True
    return False


def containers(data: bytes) -> int:
    """How many arrays and objects there are in valid JSON."""
    return sum(_openers(outside) for outside in _structure(data))


def _openers(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")


def _climbs(steps: bytes, room: int) -> bool:
    """Whether steps up (1) and down (-1) lead to more than `room` levels. They are gone one by one only where
    there are many up."""
    for start in range(0, len(steps), _BLOCK):
        block = steps[start : start + _BLOCK]
        opened = block.count(b"\x01")
        if opened > room and max(accumulate(array("b", block))) > room:
            return True
        room -= 2 * opened - len(block)
    return False


def _structure(data: bytes, values: float = math.inf, escapes: float = math.inf) -> Iterator[bytes]:
    """The commas, colons and brackets of JSON, without those in texts, piece by piece.

    Raises ParseError for more texts than so many values can be and have as names, a long name, or too many
    backslashes.
    """
    within, long, quotes, backslashes = False, False, 0, 0
    for piece in _pieces(data):
        escaping = b"\\" in piece
        if escaping:
            backslashes += piece.count(b"\\")
            if backslashes > escapes:
                raise ParseError(f"more than {escapes} backslashes")
        if within and (b'"' not in piece or (escaping and _is_text(piece))):
            long = True
            continue
        if escaping:
            parts = piece.translate(_AS_LINES, _NO_PARTS)
            marks = a2b_qp(parts).translate(_AS_QUOTES, b"=.")
        elif any(mark in piece for mark in _MARKS):
            marks = piece.translate(None, _NO_MARKS)
        else:
            continue
        here = marks.count(b'"')
        quotes += here
        if quotes > 2 * values + 2:
            raise ParseError(f"more than {values} values")
        if _EACH * here > len(marks):
            marks = marks.replace(b'""', b"")  # what follows is as much within a text as it was
        texts = marks.split(b'"')  # every other
        if outside := b"".join(texts[within::2]):
            if long and outside.startswith(b":") and values < math.inf:
                raise ParseError(f"a name has more than {_PIECE} bytes")
            long = False
            yield outside
        within ^= len(texts) % 2 == 0


def _is_text(piece: bytes) -> bool:
    """Whether this is the inside of a text. The decoder tells that faster than quotes can be told apart."""
    try:
        _decode_raw(b'"%b"' % piece)
    except DecodeError:
        return False
    return True


def _pieces(data: bytes) -> Iterator[bytes]:
    """The data in pieces, none of which ends between a backslash and what that escapes."""
    start = 0
    while start < len(data):
        piece = data[start : start + _PIECE]
        if piece.endswith(b"\\") and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = data[start : start + _PIECE + 1]
        yield piece
        start += len(piece)
