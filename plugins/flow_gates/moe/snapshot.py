"""A gate's state as bytes: MessagePack, arrays as their own bytes (little-endian), and a hash before it all.

Rows of U hold few values that are not zero at first: they are kept as places and values.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from flow_gates.sealing import sealed, unsealed
from flowcore.errors import DamagedState

FORM = "flowcore moe 2"


class State(msgspec.Struct, forbid_unknown_fields=True):
    """Everything that is kept."""

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
    weights: bytes
    words: dict[int, tuple[bytes, bytes]]
    """U by rows: places and values."""
    ewc: dict[str, bytes]
    ewc_points: int
    """Consolidations."""
    ewc_moves: bytes
    """How often each row moved in its interval so far."""
    examples: list[tuple[int, int, list[tuple[bytes, ...]]]]
    """By expert: row, lessons seen, and of each example vector, buckets, values, rivals, said."""
    means: dict[int, bytes]
    temperature: tuple[float, int, bytes]
    scope: tuple[float, float, int, bytes, bytes]
    track: tuple[int, float, float, int, bytes, dict[int, list[float]]]


def packed(state: State) -> bytes:
    """The state as bytes; the same state, the same bytes."""
    return sealed(msgspec.msgpack.encode(state))


def unpacked(data: bytes, embedder: str, settings: str) -> State:
    """The state. Raises DamagedState, also for one of another embedder or other settings."""
    body = unsealed(data, "a moe gate")
    try:
        state = msgspec.msgpack.decode(body, type=State, strict=False)
    except msgspec.DecodeError as error:
        raise DamagedState(f"expected a snapshot of a moe gate: {error}") from error
    for what, expected, found in (
        ("form", FORM, state.form),
        ("embedder", embedder, state.embedder),
        ("settings", settings, state.settings),
    ):
        if expected != found:
            raise DamagedState(f"expected a snapshot with the {what} {expected!r}, not {found!r}")
    return state


def raw(array: npt.NDArray[Any]) -> bytes:
    """An array's values, little-endian."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def array(data: bytes, dtype: Any, *shape: int) -> npt.NDArray[Any]:
    """The array of such values, to be written to. Raises DamagedState if there are too few or too many."""
    found = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype)
    try:
        return found.reshape(shape)
    except ValueError:
        raise DamagedState(f"expected values for the shape {shape}, not {len(found)}") from None
