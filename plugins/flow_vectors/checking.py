"""What an index can take: vectors of its space, numbers that name them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from flowcore.errors import RoutingError, WrongVector
from flowcore.routing import Space

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_FLOAT32 = np.dtype(np.float32)
LONGEST = 1e18
"""The greatest length of a vector where length counts: its square, times four, is still a float32."""
_BLOCK = 2048
_ONE = 3e-7
"""What the square of a length of one may be off by, as a float32 of it is."""
_LEAST_SQUARE, _MOST_SQUARE = 1e-20, 1e20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def checked_name(name: str) -> str:
    """The name of an index, if it is one. Raises RoutingError."""
    if not _NAME.fullmatch(name):
        raise RoutingError(
            f"{name!r:.100} is no name of an index: letters, digits, '_' and '-', 64 at most"
        )
    return name


def checked(ids: Ids, vectors: Vectors, space: Space) -> tuple[Ids, Vectors]:
    """Copies of both as an index keeps them: int64 (n,), float32 (n, dimensions), of length one under the
    metric `cosine`. Raises WrongVector."""
    ids = checked_ids(ids)
    vectors = _numbers(vectors)
    if vectors.ndim != 2 or vectors.shape != (len(ids), space.identity.dimensions):
        raise WrongVector(
            f"vectors of shape {vectors.shape} for {len(ids)} ids,"
            f" ({len(ids)}, {space.identity.dimensions}) expected"
        )
    if len(np.unique(ids)) != len(ids):
        values, counts = np.unique(ids, return_counts=True)
        raise WrongVector(f"id {int(values[counts > 1][0])} is given twice")
    return ids, _fitting(vectors, space, lambda row: f"the vector of id {int(ids[row])}")


def checked_ids(ids: Ids) -> Ids:
    """The ids as a new array. Raises WrongVector for what is no id."""
    given = np.asarray(ids)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise WrongVector(
            f"ids of shape {given.shape} and type {given.dtype}, whole numbers (n,) expected"
        )
    if given.dtype.kind == "u" and given.size and int(given.max()) > np.iinfo(np.int64).max:
        raise WrongVector(f"id {int(given.max())} is too great, 63 bits at most")
    made = given.astype(np.int64)
    if made.size and int(made.min()) < 0:
        raise WrongVector(f"id {int(made.min())} is negative")
    return made


def checked_query(vector: Vectors, space: Space) -> Vectors:
    """A single vector to search for, as those that are kept: the same array, if it is so already.

    Raises WrongVector.
    """
    vector = _numbers(vector)
    if vector.shape != (space.identity.dimensions,):
        raise WrongVector(
            f"a vector of shape {vector.shape}, ({space.identity.dimensions},) expected"
        )
    if space.metric == "cosine":
        square = float(vector.dot(vector))
        if -_ONE < square - 1 < _ONE:
            return vector
        if _LEAST_SQUARE < square < _MOST_SQUARE:  # finite, and of a length that float32 can tell
            quick: Vectors = vector * np.float32(1 / math.sqrt(square))
            return quick
    row: Vectors = _fitting(vector[np.newaxis], space, lambda row: "the vector")[0]
    return row


def _numbers(vectors: Any) -> Vectors:
    if type(vectors) is np.ndarray and vectors.dtype is _FLOAT32:
        return vectors
    given = np.asarray(vectors)
    if given.dtype.kind not in "fiu":
        raise WrongVector(f"a vector of type {given.dtype}, numbers expected")
    if given.dtype == np.float32:
        return given
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused as such
        return given.astype(np.float32)


def _fitting(vectors: Vectors, space: Space, which: Any) -> Vectors:
    """The same, contiguous, as a copy. Raises WrongVector."""
    made = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]

        def name(row: int, start: int = start) -> str:
            return str(which(start + row))

        # a sum is finite only if all of it is, and costs less than to look at each
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
        if not np.isfinite(lengths).all():
            row = int(np.argmin(np.isfinite(lengths)))
            wrong = block[row][~np.isfinite(block[row])]
            raise WrongVector(f"{name(row)} has {float(wrong[0])!r} in it, finite numbers expected")
        if space.metric == "cosine":
            if not lengths.all():
                row = int(np.argmin(lengths))
                raise WrongVector(f"{name(row)} is all zeros, which has no direction for `cosine`")
            np.divide(
                block, lengths[:, np.newaxis], out=made[start : start + _BLOCK], casting="same_kind"
            )
            continue
        if lengths.max() > LONGEST:
            row = int(np.argmax(lengths))
            raise WrongVector(
                f"{name(row)} is {lengths[row]:.3g} long, at most {LONGEST:g} expected"
            )
        made[start : start + _BLOCK] = block
    return made
