"""What a gate is given, checked before anything of it is used: no vector that is not finite gets further."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from flowcore.errors import WrongVector
from flowcore.routing import Expert, Query

if TYPE_CHECKING:
    from flowcore.routing import Vectors

_FLOAT32 = np.dtype(np.float32)
_CLOSE = 1e-4
"""How far the square of a length may be from 1 to count as 1."""
_SHORTEST = 1e-12
"""A vector that is shorter says nothing, as zeros do."""


def checked_vector(vector: Vectors, dimensions: int, of: str) -> Vectors:
    """A single vector as float32 of shape (dimensions,) and length one, or all zeros.

    `of` says whose it is, for the error. Raises WrongVector.
    """
    given = np.asarray(vector)
    if given.shape == (dimensions,) and given.dtype == _FLOAT32:
        square = float(np.vdot(given, given))  # which overflows without a warning, unlike `dot`
        if abs(square - 1.0) < _CLOSE:
            return given  # as embedders give them: nothing to do
    if given.shape != (dimensions,):
        raise WrongVector(f"expected {dimensions} dimensions {of}, not the shape {given.shape!r}")
    scaled: Vectors = _scaled(given[np.newaxis], of)[0]
    return scaled


def checked_expert(expert: Expert, dimensions: int) -> Vectors:
    """An expert's vectors as float32 of shape (texts, dimensions), each of length one or all zeros.

    Raises WrongVector.
    """
    of = f"of expert {expert.name!r}"
    given = np.asarray(expert.vectors)
    if given.shape != (len(expert.texts), dimensions):
        raise WrongVector(
            f"expected {len(expert.texts)} vectors of {dimensions} dimensions {of},"
            f" not the shape {given.shape!r}"
        )
    return _scaled(given, of)


def checked_query(query: Query, k: int, dimensions: int) -> Vectors:
    """A query's vector, of length one or all zeros. Raises WrongVector, and ValueError for a k below 1."""
    if k < 1:
        raise ValueError(f"expected k of at least 1, not {k!r}")
    return checked_vector(query.vector, dimensions, "of the query")


def finite(number: float, otherwise: float) -> float:
    """The number, or another one if it is infinite or none at all."""
    return number if math.isfinite(number) else otherwise


def _scaled(given: Vectors, of: str) -> Vectors:
    """Rows of length one; zeros stay zeros."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = given.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if not np.isfinite(lengths).all():
        raise WrongVector(f"expected finite values in the vectors {of}")
    scale = np.where(lengths > _SHORTEST, lengths, np.inf)
    return (rows / scale[:, np.newaxis]).astype(np.float32)
