"""A shelf: the vectors of some of the patterns, and what must be known of each without asking the store.

Of a pattern that is found by its vector, a search wants to know at once whose namespace it is in, how old
it is, whom it speaks for and how strongly. That stands here in arrays, 28 bytes a pattern, in order of ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from flowcore.routing.interfaces import Near, VectorIndex

if TYPE_CHECKING:
    from flowcore.routing.interfaces import Ids, Mask, Vectors
    from flowcore.state import Pattern

_LEAST = 1024
_LONGEST_TEXT = 200
_MOST_WEIGHT = 3.0
"""What one pattern counts at most, however often it was said."""


@attrs.frozen(kw_only=True)
class Facts:
    """What is known of a pattern."""

    id: int
    namespace: str
    expert: str
    weight: float
    """Above 0 for what was right, below 0 for what was wrong."""
    time: float

    @classmethod
    def of(cls, pattern: Pattern) -> Facts:
        """Those of a pattern."""
        weight = min(pattern.weight, _MOST_WEIGHT) * (2 * pattern.reward - 1)
        return cls(
            id=pattern.id,
            namespace=pattern.namespace,
            expert=pattern.expert,
            weight=weight,
            time=pattern.time,
        )


class Codes:
    """Texts by number, as far as there are few different ones."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.texts: list[str] = []

    def number(self, text: str) -> int:
        """The number of a text, which is given one if it is new."""
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return number

    def find(self, text: str) -> int:
        """The number of a text, -1 if it has none."""
        return self._numbers.get(text, -1)


class Shelf:
    """One vector index, and the facts of what is in it."""

    def __init__(self, index: VectorIndex, texts: int = 0) -> None:
        """`texts` is how many texts are at hand without asking the store."""
        import numpy as np

        self.index = index
        self._texts: dict[int, str] = {}
        self._most_texts = texts
        self._np = np
        self._names = Codes()
        self._kind = np.dtype(
            [("id", "i8"), ("space", "i4"), ("expert", "i4"), ("weight", "f4"), ("time", "f8")]
        )
        self._table = np.zeros(_LEAST, self._kind)
        self._count = 0
        self.revision = 0
        """Grows with every change."""

    @property
    def memory(self) -> int:
        """Bytes of the facts and of the index's own."""
        return int(self._table.nbytes) + self.index.memory

    # ---- on disk

    def kept(self) -> dict[str, Any]:
        """The facts, to be kept with the index."""
        return {"names": self._names.texts, "table": self._table[: self._count].tobytes()}

    def restore(self, kept: dict[str, Any]) -> None:
        """Have the facts that were kept."""
        self._names = Codes()
        for text in kept["names"]:
            self._names.number(text)
        table = self._np.frombuffer(kept["table"], self._kind)
        self._count = len(table)
        self._table = self._np.zeros(max(_LEAST, self._count), self._kind)
        self._table[: self._count] = table

    # ---- changes

    def note(self, facts: Sequence[Facts]) -> None:
        """Know these of patterns; those that are known already are replaced. In any order."""
        for one in sorted(facts, key=lambda one: one.id):
            row = (
                one.id,
                self._names.number(one.namespace),
                self._names.number(one.expert),
                one.weight,
                one.time,
            )
            at = self._place(one.id)
            if at is None:
                at = self._room(one.id)
            self._table[at] = row
        self.revision += 1

    async def put(self, patterns: Sequence[Pattern]) -> None:
        """Take in patterns; those without a vector are known, and not found."""
        np = self._np
        self.note([Facts.of(one) for one in patterns])
        self.remember(patterns)
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
            await self.index.remove(self._np.array(ids, self._np.int64))
            self.revision += 1

    async def clear(self) -> None:
        """Let go of all."""
        await self.index.clear()
        self._count = 0
        self._texts.clear()
        self.revision += 1

    def _place(self, id_: int) -> int | None:
        ids = self._table["id"][: self._count]
        at = int(self._np.searchsorted(ids, id_))
        return at if at < self._count and ids[at] == id_ else None

    def _room(self, id_: int) -> int:
        """The row for a new id; ids mostly come in order, so it is nearly always the last."""
        if self._count == len(self._table):
            self._table = self._np.resize(self._table, 2 * self._count)
        ids = self._table["id"][: self._count]
        at = int(self._np.searchsorted(ids, id_))
        self._table[at + 1 : self._count + 1] = self._table[at : self._count].copy()
        self._count += 1
        return at

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
        ids = self._table["id"][: self._count]
        at = self._np.searchsorted(ids, hits.ids)
        at = at[ids[self._np.minimum(at, max(self._count - 1, 0))] == hits.ids]
        rows = self._table[at]
        names = self._names.texts
        return tuple(
            Near(id=id_, expert=names[expert], similarity=score, weight=weight)
            for id_, expert, weight, score in zip(
                rows["id"].tolist(),
                rows["expert"].tolist(),
                rows["weight"].tolist(),
                hits.scores.tolist(),
                strict=True,
            )
        )

    def text(self, id_: int) -> str | None:
        """The text of a pattern, if it is remembered."""
        return self._texts.get(id_)

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
        space = None if namespace is None else self._names.find(namespace)
        np, count = self._np, self._count
        table = self._table

        def where(ids: Ids) -> Mask:
            known = table["id"][:count]
            at = np.minimum(np.searchsorted(known, ids), max(count - 1, 0))
            fits: Any = known[at] == ids if count else np.zeros(len(ids), bool)
            rows = table[at]
            if space is not None:
                fits = fits & (rows["space"] == space)
            if since is not None:
                fits = fits & (rows["time"] >= since)
            if until is not None:
                fits = fits & (rows["time"] < until)
            return fits  # type: ignore[no-any-return]

        return where
