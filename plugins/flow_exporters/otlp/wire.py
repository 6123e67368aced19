"""Protocol buffers, as far as OTLP needs them: fields to bytes.

https://protobuf.dev/programming-guides/encoding/. Written by hand, since an object for each field of each
span would cost more than all the rest of an export; tests read it with OpenTelemetry's own classes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from flowcore.telemetry import Attributes, Value

_VARINTS: Final = [bytes([number]) for number in range(128)]
_REMEMBERED: Final = 8192
_LONGEST_REMEMBERED: Final = 128
_FIXED = struct.Struct("<Q").pack
_SIGNED = struct.Struct("<q").pack
_DOUBLE = struct.Struct("<d").pack


def varint(number: int) -> bytes:
    """An unsigned number, or a negative one as 64 bits of two's complement."""
    if 0 <= number < 128:
        return _VARINTS[number]
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def key(field: int, kind: int) -> bytes:
    """What stands before a field: 0 varint, 1 eight bytes, 2 a length and so many bytes, 5 four bytes."""
    return varint(field << 3 | kind)


def part(before: bytes, data: bytes) -> bytes:
    """A text, bytes or a message after its key."""
    return before + varint(len(data)) + data


def text(before: bytes, said: str) -> bytes:
    """A text after its key; nothing for "". What is no Unicode is replaced."""
    return part(before, said.encode("utf-8", "replace")) if said else b""


def fixed(number: int) -> bytes:
    """An unsigned number of 64 bits."""
    return _FIXED(number)


def signed(number: int) -> bytes:
    """A signed number of 64 bits."""
    return _SIGNED(number)


def double(number: float) -> bytes:
    """A number of double precision."""
    return _DOUBLE(number)


def packed_fixed(numbers: Sequence[int]) -> bytes:
    """Unsigned numbers of 64 bits, one after the other."""
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def packed_double(numbers: Sequence[float]) -> bytes:
    """Numbers of double precision, one after the other."""
    return struct.pack(f"<{len(numbers)}d", *numbers)


# ---- AnyValue and KeyValue (opentelemetry/proto/common/v1/common.proto)

_STRING, _BOOL, _INT, _DOUBLE_KEY, _ARRAY = (
    *(key(1, 2), key(2, 0), key(3, 0)),
    *(key(4, 1), key(5, 2)),
)
_KEY, _VALUE = key(1, 2), key(2, 2)


def any_value(value: Value) -> bytes:
    """An AnyValue. A whole number beyond 64 bits is a text."""
    if isinstance(value, str):
        return part(_STRING, value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return _BOOL + _VARINTS[value]
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 63:
            return _INT + varint(value)
        return part(_STRING, str(value).encode())
    if isinstance(value, float):
        return _DOUBLE_KEY + _DOUBLE(value)
    return part(_ARRAY, b"".join(part(_KEY, any_value(one)) for one in value))


class Pairs:
    """Attributes as repeated KeyValue fields. What comes again and again is made once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Value, type], bytes] = {}

    def fields(self, before: bytes, attributes: Attributes) -> bytes:
        """Each attribute as a field with this key."""
        return b"".join(
            [part(before, self._pair(name, value)) for name, value in attributes.items()]
        )

    def _pair(self, name: str, value: Value) -> bytes:
        asked = (name, value, type(value))  # 1, 1.0 and True are equal, and not the same
        known = self._known.get(asked)
        if known is None:
            known = text(_KEY, name) + part(_VALUE, any_value(value))
            if len(known) <= _LONGEST_REMEMBERED:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[asked] = known
        return known


# ---- what a collector answers


def rejected(body: bytes) -> tuple[int, str]:
    """How many of a batch a collector did not take, and why (`partial_success` of its response).

    Raises ValueError for what is no such message.
    """
    for field, value in _fields(body):
        if field == 1 and isinstance(value, bytes):
            count, why = 0, ""
            for inner, said in _fields(value):
                if inner == 1 and isinstance(said, int):
                    count = said
                elif inner == 2 and isinstance(said, bytes):
                    why = said.decode("utf-8", "replace")
            return count, why
    return 0, ""


def _fields(data: bytes) -> Iterable[tuple[int, int | bytes]]:
    place = 0
    while place < len(data):
        head, place = _varint_at(data, place)
        field, kind = head >> 3, head & 7
        if not field:
            raise ValueError("a field of no number")
        if kind == 0:
            number, place = _varint_at(data, place)
            yield field, number
            continue
        if kind == 2:
            size, place = _varint_at(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if size > len(data) - place:
            raise ValueError("a field that ends after the message")
        yield field, data[place : place + size]
        place += size


def _varint_at(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while place < len(data) and shift < 70:
        octet = data[place]
        number |= (octet & 127) << shift
        place, shift = place + 1, shift + 7
        if octet < 128:
            return number, place
    raise ValueError("a number that does not end")
