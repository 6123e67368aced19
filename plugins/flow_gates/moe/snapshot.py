"""A gate's state as bytes: pieces with their lengths, and a hash before it all.

A piece is MessagePack, or an array's own bytes (little-endian). They are written one after the other by a
thread that gives way between them, so that a gate of any size is kept without the event loop noticing.
Rows of U hold few values that are not zero at first: they are kept as places and values.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from io import BytesIO
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from flowcore.errors import DamagedState
from flowcore.routing import give_way

FORM = "flowcore moe 2"
Kind = TypeVar("Kind")

_DIGEST = 16
_LENGTH = 4


class State(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept, but for what there is much of."""

    form: str
    embedder: str
    settings: str
    """A hash of the settings on which the form of the rest depends."""
    names: list[str]
    gone: dict[str, int]
    lessons: int
    taught: dict[int, int]
    drawn: int
    active: list[int]
    ewc_points: int
    """Consolidations."""
    ewc_moves: bytes
    """How often each row moved in its interval so far."""
    means: dict[int, bytes]
    temperature: tuple[float, int, bytes]
    scope: tuple[float, float, int, bytes, bytes]
    track: tuple[int, float, float, int, bytes, dict[int, list[float]]]
    worded: int
    """Rows of U that follow."""
    exemplary: int
    """Experts of which examples follow."""
    practised: int = 0
    """Lessons that were learned again."""
    mapped: bool = False
    """Whether the map of a metric follows, and the sums of examples, last of all."""


class Row(msgspec.Struct, forbid_unknown_fields=True, array_like=True):
    """A row of U: the places where it is not zero, and its values."""

    row: int
    places: bytes
    values: bytes


class Examples(msgspec.Struct, forbid_unknown_fields=True, array_like=True):
    """What is kept of one expert's lessons."""

    row: int
    seen: int
    examples: list[tuple[bytes, ...]]
    """Of each vector, buckets, values, rivals, said."""


class Writer:
    """Puts pieces together."""

    def __init__(self) -> None:
        self._whole = BytesIO()
        self._digest = blake2b(digest_size=_DIGEST)
        self._whole.write(bytes(_DIGEST))

    def put(self, piece: bytes) -> None:
        """The next piece."""
        for part in (len(piece).to_bytes(_LENGTH, "little"), piece):
            self._whole.write(part)
            self._digest.update(part)
        give_way()

    def done(self) -> bytes:
        """All of it."""
        self._whole.seek(0)
        self._whole.write(self._digest.digest())
        return self._whole.getvalue()


class Reader:
    """The pieces of a snapshot, in their order. Raises DamagedState for one that is not as it was made."""

    def __init__(self, data: bytes, embedder: str, settings: str) -> None:
        self._pieces = _pieces(data)
        self.state = self.take(State)
        for what, expected, found in (
            ("form", FORM, self.state.form),
            ("embedder", embedder, self.state.embedder),
            ("settings", settings, self.state.settings),
        ):
            if expected != found:
                raise DamagedState(
                    f"expected a snapshot with the {what} {expected!r}, not {found!r}"
                )

    def raw(self) -> memoryview:
        """The next piece as it is."""
        piece = next(self._pieces, None)
        if piece is None:
            raise DamagedState("expected more of a snapshot of a moe gate")
        return piece

    def take(self, kind: type[Kind]) -> Kind:
        """The next piece, decoded."""
        try:
            return msgspec.msgpack.decode(self.raw(), type=kind, strict=False)
        except msgspec.DecodeError as error:
            raise DamagedState(f"expected a snapshot of a moe gate: {error}") from error


def _pieces(data: bytes) -> Iterator[memoryview]:
    whole = memoryview(data)
    digest = blake2b(digest_size=_DIGEST)
    for start in range(_DIGEST, len(data), 1 << 20):
        digest.update(whole[start : start + (1 << 20)])
        give_way()
    if len(data) < _DIGEST or digest.digest() != whole[:_DIGEST]:
        raise DamagedState("expected a snapshot of a moe gate, as it was made; this one is damaged")
    at = _DIGEST
    while at < len(data):
        start = at + _LENGTH
        at = start + int.from_bytes(whole[at:start], "little")
        if at > len(data):
            raise DamagedState("expected more of a snapshot of a moe gate")
        give_way()
        yield whole[start:at]


def raw(array: npt.NDArray[Any]) -> bytes:
    """An array's values, little-endian."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def array(data: bytes | memoryview, dtype: Any, *shape: int) -> npt.NDArray[Any]:
    """The array of such values, to be written to. Raises DamagedState if there are too few or too many."""
    try:
        found = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype)
        return found.reshape(shape)
    except ValueError:
        raise DamagedState(
            f"expected values for the shape {shape}, not {len(data)} bytes"
        ) from None
