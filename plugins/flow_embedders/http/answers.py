"""What an endpoint's answer holds: vectors that were looked at, or a failure. Sans-IO."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from flowcore.errors import EmbeddingFailed

if TYPE_CHECKING:
    from flowcore.routing import Vectors

_EXCERPT = 300
"""Characters of an unsuccessful answer that are shown."""
_AGAIN = frozenset({408, 425, 429})
"""Statuses below 500 that another attempt may not meet (RFC 9110, RFC 6585, RFC 8470)."""


class Unsuccessful(EmbeddingFailed):
    """A request failed. `again` tells whether another attempt may do better, `after` when."""

    def __init__(self, message: str, *, again: bool, after: float = 0.0) -> None:
        super().__init__(message)
        self.again = again
        self.after = after
        """Seconds that the endpoint asks to be left alone."""


class _Item(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


_decoder = msgspec.json.Decoder(_Answer)


def question(model: str, texts: Sequence[str], dimensions: int | None) -> bytes:
    """The body of a request; `dimensions` only where the model is to be asked for so many."""
    asked: dict[str, object] = {"model": model, "input": texts, "encoding_format": "float"}
    if dimensions is not None:
        asked["dimensions"] = dimensions
    return msgspec.json.encode(asked)


def vectors(body: bytes, count: int, dimensions: int) -> Vectors:
    """Shape (count, dimensions), of length one, in the order of the texts. Raises Unsuccessful."""
    try:
        items = _decoder.decode(body).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(f"is not what an embeddings endpoint answers: {error}") from None
    if len(items) != count:
        raise _broken(f"has {len(items)} vectors for {count} texts")
    made = np.zeros((count, dimensions), np.float64)
    seen = set()
    for item in items:
        if not 0 <= item.index < count or item.index in seen:
            raise _broken(f"has the index {item.index} twice, or it is none of {count} texts")
        seen.add(item.index)
        if len(item.embedding) != dimensions:
            raise _broken(
                f"has a vector of {len(item.embedding)} dimensions, not the {dimensions} that are configured"
            )
        made[item.index] = item.embedding
    # by the greatest first, so that no square is too great for a float, or too small
    greatest = np.abs(made).max(axis=1, keepdims=True, initial=0.0)
    if not np.isfinite(greatest).all():
        raise _broken("has a value that is not finite")
    if not greatest.all():
        row = int(np.flatnonzero(greatest == 0)[0])
        raise _broken(
            f"has nothing but zeros for text {row + 1} of {count}, which are near to nothing:"
            " a vector with a direction was expected"
        )
    made /= greatest
    scaled: Vectors = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def _broken(what: str) -> Unsuccessful:
    return Unsuccessful(f"the answer {what}", again=False)


def refused(status: int, body: bytes, retry_after: str | None, now: float) -> Unsuccessful:
    """What an answer that is not of the 200s means; `now` is the wall clock's time."""
    excerpt = " ".join(body[: 4 * _EXCERPT].decode("utf-8", "replace").split())
    shown = "".join(character if character.isprintable() else "?" for character in excerpt)
    said = f": {shown[:_EXCERPT]}" if shown else ""
    return Unsuccessful(
        f"the endpoint answered {status}{said}",
        again=status >= 500 or status in _AGAIN,
        after=_seconds(retry_after, now),
    )


def _seconds(value: str | None, now: float) -> float:
    """Retry-After in seconds, as RFC 9110 section 10.2.3 has it: a number, or a date; 0 for anything else."""
    if value is None:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, TypeError):
        return 0.0
    return max(0.0, at - now) if math.isfinite(at) else 0.0
