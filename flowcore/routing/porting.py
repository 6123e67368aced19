"""Patterns out and in: a page at a time, for a file of JSON lines.

A line that brings a vector of this node's embedder keeps it; of any other, the text is embedded anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from flowcore.errors import InvalidArguments
from flowcore.routing.following import ROUTES, Following
from flowcore.routing.given import Given
from flowcore.routing.interfaces import Embedder, Lesson
from flowcore.routing.learning import Learning
from flowcore.routing.memory import Memory

if TYPE_CHECKING:
    from flowcore.state import PatternLine, PutPattern, State

PAGE = 500
"""Patterns that go out, or come in, at once."""


class Porting:
    """Takes patterns out of a node's memory, and in."""

    def __init__(
        self,
        state: State,
        embedder: Embedder,
        memory: Memory,
        following: Following,
        learning: Learning,
    ) -> None:
        self._state = state
        self._embedder = embedder
        self._memory = memory
        self._following = following
        self._learning = learning

    async def out(
        self, namespace: str | None = None, cursor: str | None = None, *, vectors: bool = False
    ) -> dict[str, Any]:
        """A page of patterns, of one namespace or all; `cursor`: where the next begins, None at the end."""
        from flowcore.state import line_of

        spaces = [namespace] if namespace is not None else await self._namespaces()
        place, _, inner = (cursor or "0:").partition(":")
        if not place.isdigit() or int(place) > len(spaces):
            raise InvalidArguments(f"cursor: expected one that a page gave, not {cursor!r:.80}")
        if int(place) == len(spaces):
            return {"patterns": [], "cursor": None}
        at = int(place)
        page = await self._state.list_patterns(spaces[at], cursor=inner or None, limit=PAGE)
        if page.cursor is not None:
            after: str | None = f"{at}:{page.cursor}"
        else:
            after = f"{at + 1}:" if at + 1 < len(spaces) else None
        return {
            "patterns": [line_of(one, vector=vectors) for one in page.patterns],
            "cursor": after,
        }

    async def _namespaces(self) -> list[str]:
        return sorted((await self._state.counts()).namespaces)

    async def take(self, lines: Sequence[PatternLine], now: float) -> int:
        """Take patterns in, all of them or none of those that are refused; how many. `now` is the time.

        Those of routes are lessons. Raises InvalidArguments naming the first that is wrong, TooLarge,
        QuotaExceeded, OtherEmbedder, EmbeddingFailed.
        """
        from flowcore.state import PutPatterns

        if len(lines) > PAGE:
            raise InvalidArguments(f"expected at most {PAGE} patterns at once, not {len(lines)}")
        self._memory.check_embedder()
        found = [self._checked(number, line, now) for number, line in enumerate(lines)]
        patterns = await self._embedded([one for one in found if one is not None])
        lessons = [_lesson(one) for one in patterns if one.namespace == ROUTES]
        others = tuple(one for one in patterns if one.namespace != ROUTES)
        if lessons:
            await self._learning.give(*lessons)
        if others:
            stored = await self._state.do(PutPatterns(others))
            await self._following.wait_followed(stored.position)
        return len(patterns)

    def _checked(self, number: int, line: PatternLine, now: float) -> PutPattern | None:
        from flowcore.state import pattern_of

        try:
            self._memory.check_text(line.text)
            if line.namespace == ROUTES and not line.expert:
                raise InvalidArguments("expected the expert that it was for")
            return pattern_of(line, now)
        except InvalidArguments as error:
            raise InvalidArguments(f"patterns[{number}]: {error.message}") from None

    async def _embedded(self, patterns: Sequence[PutPattern]) -> list[PutPattern]:
        """The patterns with vectors of this node's embedder."""
        ours = str(self._embedder.identity)
        size = 4 * self._embedder.identity.dimensions
        strange = [one for one in patterns if one.embedder != ours or len(one.vector) != size]
        vectors = iter(await self._embedder.embed([one.text for one in strange]))
        anew = {
            id(one): msgspec.structs.replace(
                one, vector=next(vectors).astype("<f4").tobytes(), embedder=ours
            )
            for one in strange
        }
        return [anew.get(id(one), one) for one in patterns]


def _lesson(one: PutPattern) -> Given:
    import numpy as np

    lesson = Lesson(
        text=one.text,
        vector=np.frombuffer(one.vector, "<f4"),
        expert=one.expert,
        reward=one.reward,
        weight=one.weight,
    )
    return Given(lesson=lesson, owner=one.owner, time=one.time)
