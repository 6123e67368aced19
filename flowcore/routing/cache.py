"""Vectors of texts that were asked for lately, so that none is made twice."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from flowcore.routing.interfaces import Vectors

_KEPT_WHOLE = 256
"""Characters of the longest text that is its own key; a longer one is known by its hash."""
_ENTRY = 250
"""Bytes that an entry takes besides its key and its vector's values."""
_AT_ONCE = 128
"""Texts that are looked up or kept without others having their turn: half a millisecond."""


class VectorCache:
    """The vectors of the texts that were asked for last, in so many bytes. Not for threads."""

    def __init__(self, size: int) -> None:
        """`size` is the most it holds, in bytes, counting keys and vectors; 0 for nothing."""
        self._size = size
        self._vectors: OrderedDict[str | bytes, tuple[Vectors, int]] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    async def through(
        self,
        texts: Sequence[str],
        dimensions: int,
        make: Callable[[list[str]], Awaitable[Vectors]],
    ) -> Vectors:
        """One vector a text, shape (n, dimensions): what is here from here, all else from `make`, each once.

        `make` is given texts, none twice, and gives a vector for each. What it raises is raised.
        """
        if len(texts) == 1:
            return await self._one(texts[0], make)
        import numpy as np

        made = np.empty((len(texts), dimensions), np.float32)
        missing: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            if row % _AT_ONCE == _AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            vector = self._get(text)
            if vector is None:
                missing.setdefault(text, []).append(row)
            else:
                made[row] = vector
        self._hits += len(texts) - len(missing)
        self._misses += len(missing)
        if missing:
            vectors = await make(list(missing))
            pairs = tuple(zip(missing.items(), vectors, strict=True))  # none is kept if some lack
            for at, ((text, rows), vector) in enumerate(pairs):
                if at % _AT_ONCE == _AT_ONCE - 1:
                    await trio.lowlevel.checkpoint()
                made[rows] = vector
                self._put(text, vector)
        return made

    async def _one(self, text: str, make: Callable[[list[str]], Awaitable[Vectors]]) -> Vectors:
        """The vector of a single text, as a request has it: shape (1, dimensions), the caller's own."""
        vector = self._get(text)
        if vector is not None:
            self._hits += 1
            return vector.reshape(1, -1).copy()
        self._misses += 1
        made = await make([text])
        (vector,) = made
        self._put(text, vector)
        return made

    def _get(self, text: str) -> Vectors | None:
        if not self._vectors:
            return None
        key = _key(text)
        found = self._vectors.get(key)
        if found is None:
            return None
        self._vectors.move_to_end(key)
        return found[0]

    def _put(self, text: str, vector: Vectors) -> None:
        key = _key(text)
        size = sys.getsizeof(key) + vector.nbytes + _ENTRY
        if size > self._size or key in self._vectors:
            return
        self._vectors[key] = vector.copy(), size  # a copy: a row would hold on to its whole batch
        self._bytes += size
        while self._bytes > self._size:
            _, (_, freed) = self._vectors.popitem(last=False)
            self._bytes -= freed

    def status(self) -> dict[str, Any]:
        """How much it holds, and how often it had what was asked for."""
        return {
            "entries": len(self._vectors),
            "bytes": self._bytes,
            "size": self._size,
            "hits": self._hits,
            "misses": self._misses,
        }


def _key(text: str) -> str | bytes:
    if len(text) <= _KEPT_WHOLE:
        return text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()
