"""A text as a sparse vector of hashed features.

The hashing trick (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009) over
words, pairs of neighbouring words, and runs of 3 to 5 characters within a word, whose ends are marked
(Bojanowski et al., "Enriching Word Vectors with Subword Information", 2017). CRC-32 is the hash, so that
every machine and every version of Python gives the same.

A text is hashed once. An embedder and a gate that ask for features of the same text, each with its own number
of buckets and weights, get both from the same hashes: buckets are the first bits of these.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from flowcore.text.letters import COMMON, FREQUENT, words

BUCKETS = 1 << 14
"""How many buckets there are unless it is said."""

_RUNS = (3, 4, 5)
_REMEMBERED = 24
"""Characters of the longest words whose hashes are remembered."""
_AT_HAND = 4_096
"""Characters of the longest texts whose hashes are at hand for whoever asks next."""
_FEW = 2_000
"""Hashes up to which sorting them is faster than counting in all buckets."""

_WORD, _PAIR, _BEGINNING, _SHORT, _LONG, _END = range(6)
_KINDS = 6
"""What a hash is of; as many more on top for those of a common word, and twice as many of a frequent one."""
_OF_PAIR = bytes([_PAIR])
_LENGTH = 4
"""Bytes of a hash."""


class Weights(NamedTuple):
    """What counts how much where a word counts 1, in 64ths, so that sums are exact in any order."""

    pairs: float = 1.0
    """Two words that follow each other."""
    beginnings: float = 0.5
    """A run of characters with which a word begins: what is left of it in other forms."""
    short: float = 0.5
    """A run of three within a word."""
    long: float = 0.5
    """A run of four or five within a word."""
    ends: float = 0.5
    """A run with which a word ends."""
    common: float = 1.0
    """A common word of English, and its runs, beside those of another."""
    frequent: float = 1.0
    """Another frequent word of English, and its runs."""


_USUAL = Weights()


class Features(NamedTuple):
    """A sparse vector of length one; empty for a text without a word."""

    buckets: npt.NDArray[np.int32]
    """Shape (n,), each once, in ascending order."""
    values: npt.NDArray[np.float32]
    """Shape (n,): the square root of how often each occurs, scaled to length one together."""


class _Hashes(NamedTuple):
    """What there is in a text: shape (n,) each."""

    hashes: npt.NDArray[np.uint32]
    """In ascending order where there are few."""
    kinds: npt.NDArray[np.uint8]
    """What each is the hash of: a word, a pair, a run, ..."""


def features(text: str, buckets: int = BUCKETS, weights: Weights = _USUAL) -> Features:
    """The features of a text. `buckets` is a power of two."""
    found = _at_hand(text) if len(text) <= _AT_HAND else _hashes_of(text)
    return _features(found, buckets, _table(weights))


class Counting:
    """The features of a text whose words come in parts: as `features` of the whole."""

    def __init__(self, buckets: int = BUCKETS, weights: Weights = _USUAL) -> None:
        self._buckets = buckets
        self._weights = _table(weights)
        self._hashes: list[bytes] = []
        self._kinds: list[bytes] = []
        self._before = 0

    def add(self, more: Iterable[str]) -> None:
        """Count the next words."""
        self._before = _add(more, self._before, self._hashes, self._kinds)

    def features(self) -> Features:
        """Those of all words so far."""
        return _features(_joined(self._hashes, self._kinds), self._buckets, self._weights)


def _add(more: Iterable[str], before: int, hashes: list[bytes], kinds: list[bytes]) -> int:
    """Hash the next words. `before` is how a pair with the word before begins, 0 for none; the next one."""
    for word in more:
        found = _hashed(word) if len(word) <= _REMEMBERED else _hash(word)
        encoded, own, own_kinds, begins = found
        hashes.append(own)
        kinds.append(own_kinds)
        if before:
            hashes.append(crc32(encoded, before).to_bytes(_LENGTH, "little"))
            kinds.append(_OF_PAIR)
        before = begins
    return before


def _hashes_of(text: str) -> _Hashes:
    hashes: list[bytes] = []
    kinds: list[bytes] = []
    _add(words(text), 0, hashes, kinds)
    return _joined(hashes, kinds)


_at_hand = functools.lru_cache(maxsize=128)(_hashes_of)


def _joined(hashes: list[bytes], kinds: list[bytes]) -> _Hashes:
    found = np.frombuffer(b"".join(hashes), "<u4")
    of = np.frombuffer(b"".join(kinds), np.uint8)
    if len(found) <= _FEW:
        order = found.argsort()
        found, of = found.take(order), of.take(order)
    return _Hashes(found, of)


@functools.lru_cache(maxsize=64)
def _table(weights: Weights) -> tuple[npt.NDArray[np.float64], bool]:
    """What each kind counts, shape (3 kinds,): of words that tell much, common ones, frequent ones.

    And whether there are any that count nothing.
    """
    own = np.array([1.0, weights.beginnings, weights.short, weights.long, weights.ends])
    parts = [factor * own for factor in (1.0, weights.common, weights.frequent)]
    table = np.concatenate([np.insert(part, _PAIR, weights.pairs) for part in parts])
    return table, not table.all()


def _features(
    found: _Hashes, buckets: int, weights: tuple[npt.NDArray[np.float64], bool]
) -> Features:
    table, some_nothing = weights
    hashes, counted = found.hashes, table.take(found.kinds)
    if some_nothing:
        some = counted.nonzero()[0]
        hashes, counted = hashes.take(some), counted.take(some)
    if not len(hashes):
        return Features(np.empty(0, np.int32), np.empty(0, np.float32))
    of = hashes >> np.uint32(33 - buckets.bit_length())
    if len(found.hashes) <= _FEW:
        new = np.empty(len(of), np.bool_)
        new[0] = True
        np.not_equal(of[1:], of[:-1], out=new[1:])
        starts = new.nonzero()[0]
        taken, counts = of.take(starts).astype(np.int32), np.add.reduceat(counted, starts)
    else:
        counts = np.bincount(of, counted, buckets)
        taken = counts.nonzero()[0].astype(np.int32)
        counts = counts.take(taken)
    # exact in any order, as are quotient and root by IEEE 754: rounded in one way everywhere
    values = np.sqrt(counts / np.add.reduce(counts))
    return Features(taken, values.astype(np.float32))


def _hash(word: str) -> tuple[bytes, bytes, bytes, int]:
    """A word as bytes; the hashes of it and of its runs, and what each is; how a pair begins."""
    encoded = word.encode("utf-8", "surrogatepass")
    marked = f"<{word}>"
    hashes, kinds = [crc32(b"w%b" % encoded)], [_WORD]
    for length in _RUNS:
        inside = _SHORT if length == _RUNS[0] else _LONG
        last = len(marked) - length
        for start in range(last + 1):
            run = marked[start : start + length]
            hashes.append(crc32(run.encode("utf-8", "surrogatepass")))
            kinds.append(_BEGINNING if start == 0 else _END if start == last else inside)
    more = _KINDS if word in COMMON else 2 * _KINDS if word in FREQUENT else 0
    packed = b"".join(one.to_bytes(_LENGTH, "little") for one in hashes)
    return encoded, packed, bytes(kind + more for kind in kinds), crc32(b"b%b " % encoded)


_hashed = functools.lru_cache(maxsize=8192)(_hash)
