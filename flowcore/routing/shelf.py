"""A shelf: the vectors of some of the patterns, what is known of each, and some of their texts.

What a search must know of a pattern that is found by its vector is in `facts.py`; the rest is in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from flowcore.routing.facts import Facts, FactTable
from flowcore.routing.interfaces import Near, VectorIndex

if TYPE_CHECKING:
    from flowcore.routing.interfaces import Ids, Mask, Vectors
    from flowcore.state import Pattern

_AT_ONCE = 100
"""Patterns that are noted without others having their turn: less than a millisecond."""
_LONGEST_TEXT = 200


class Shelf:
    """One vector index, and the facts of what is in it."""

    def __init__(self, index: VectorIndex, texts: int = 0) -> None:
        """`texts` is how many texts are at hand without asking the store."""
        import numpy as np

        self.index = index
        self._texts: dict[int, str] = {}
        self._most_texts = texts
        self._np = np
        self._facts = FactTable()
        self.revision = 0
        """Grows with every change."""

    @property
    def memory(self) -> int:
        """Bytes of the facts and of the index's own."""
        return self._facts.memory + self.index.memory

    # ---- on disk

    def kept(self) -> dict[str, Any]:
        """The facts, to be kept with the index; may be asked for in a thread while nothing is changed."""
        return self._facts.kept()

    def restore(self, kept: dict[str, Any]) -> None:
        """Have the facts that were kept."""
        self._facts.restore(kept)

    # ---- changes

    def note(self, facts: Sequence[Facts]) -> None:
        """Know these of patterns; those that are known already are replaced. In any order."""
        self._facts.note(facts)
        self.revision += 1

    async def put(self, patterns: Sequence[Pattern]) -> None:
        """Take in patterns; those without a vector are known, and not found."""
        np = self._np
        for start in range(0, len(patterns), _AT_ONCE):
            some = patterns[start : start + _AT_ONCE]
            self.note([Facts.of(one) for one in some])
            self.remember(some)
            await trio.lowlevel.checkpoint()
        found = [one for one in patterns if one.vector]
        bare = [one.id for one in patterns if not one.vector]
        if bare:
            await self.index.remove(np.array(bare, np.int64))
        if found:
            vectors = np.frombuffer(b"".join(one.vector for one in found), "<f4")
            whole = vectors.reshape(len(found), -1)
            says = whole.any(axis=1)  # a text that says nothing to the embedder has no direction
            ids = np.array([one.id for one in found], np.int64)
            if not says.all():
                await self.index.remove(ids[~says])
            if says.any():
                await self.index.add(ids[says], whole[says])

    async def remove(self, ids: Sequence[int]) -> None:
        """Let go of patterns."""
        for id_ in ids:
            self._texts.pop(id_, None)
        if ids:
            gone = self._np.array(ids, self._np.int64)
            await self.index.remove(gone)
            self._facts.remove(gone)
            if self._facts.sparse:
                await trio.to_thread.run_sync(self._facts.tidy)
            self.revision += 1

    async def clear(self) -> None:
        """Let go of all."""
        await self.index.clear()
        self._facts.clear()
        self._texts.clear()
        self.revision += 1

    # ---- searches

    async def search(
        self,
        vector: Vectors,
        k: int,
        *,
        namespace: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[tuple[int, float]]:
        """(id, score) of the patterns nearest to a vector, best first."""
        if k < 1 or not vector.any():
            return []
        where = self._where(namespace, since, until)
        hits = await self.index.search(vector, k, where)
        return list(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True))

    async def near(self, vector: Vectors, k: int) -> tuple[Near, ...]:
        """The nearest patterns, as a gate is shown them."""
        if k < 1 or not vector.any():
            return ()
        hits = await self.index.search(vector, k)
        known = self._facts.now
        at, there = known.rows(hits.ids)
        ids, scores = hits.ids, hits.scores
        if not there.all():  # it was removed since
            at, ids, scores = at[there], ids[there], scores[there]
        names = self._facts.names.texts
        return tuple(
            Near(id=id_, expert=names[expert], similarity=score, weight=weight)
            for id_, expert, weight, score in zip(
                ids.tolist(),
                known.experts.take(at).tolist(),
                known.weights.take(at).tolist(),
                scores.tolist(),
                strict=True,
            )
        )

    def text(self, id_: int) -> str | None:
        """The text of a pattern, if it is remembered."""
        return self._texts.get(id_)

    def latest(self) -> Ids:
        """The ids of the patterns that came last, as many as texts may be at hand."""
        ids = self._facts.now.ids
        return ids[max(0, len(ids) - self._most_texts) :]

    def remember(self, patterns: Sequence[Pattern]) -> None:
        """Have the texts of patterns at hand; where there are too many, the first are forgotten."""
        for one in patterns:
            self._texts[one.id] = one.text[:_LONGEST_TEXT]
        while len(self._texts) > self._most_texts:
            del self._texts[next(iter(self._texts))]

    def _where(
        self, namespace: str | None, since: float | None, until: float | None
    ) -> Callable[[Ids], Mask] | None:
        if namespace is None and since is None and until is None:
            return None
        space = None if namespace is None else self._facts.names.find(namespace)
        known = self._facts.now

        def where(ids: Ids) -> Mask:
            at, fits = known.rows(ids)
            if not len(known.ids):
                return fits
            if space is not None:
                fits &= known.spaces[at] == space
            if since is not None:
                fits &= known.times[at] >= since
            if until is not None:
                fits &= known.times[at] < until
            return fits

        return where
