"""Patterns out and in: as plain objects, a page at a time, for a file of JSON lines.

Vectors do not travel: whoever takes patterns in embeds their texts by its own embedder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from flowcore.errors import InvalidArguments
from flowcore.routing.following import ROUTES, Following
from flowcore.routing.interfaces import Embedder, Lesson
from flowcore.routing.learning import Given, Learning
from flowcore.routing.memory import Memory

if TYPE_CHECKING:
    from flowcore.state import Pattern, State

PAGE = 500
"""Patterns that go out, or come in, at once."""


class Line(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A pattern as it travels: one line of a file."""

    namespace: str
    text: str
    key: str | None = None
    value: Any = None
    expert: str = ""
    """Whom the text was for, in the namespace of routes."""
    reward: float = 1.0
    weight: float = 1.0
    time: float | None = None
    """When it was learned, seconds since 1970."""
    expires: float | None = None
    owner: tuple[str, str] = ("", "")


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

    async def out(self, namespace: str | None = None, cursor: str | None = None) -> dict[str, Any]:
        """A page of patterns, of one namespace or all; `cursor`: where the next begins, None at the end."""
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
        return {"patterns": [_line(one) for one in page.patterns], "cursor": after}

    async def _namespaces(self) -> list[str]:
        return sorted((await self._state.counts()).namespaces)

    async def take(self, lines: Sequence[Line], now: float) -> int:
        """Take patterns in, all of them or none of those that are refused; how many. `now` is the time.

        Those of routes are lessons. Raises InvalidArguments naming the first that is wrong, TooLarge,
        QuotaExceeded, OtherEmbedder, EmbeddingFailed.
        """
        if len(lines) > PAGE:
            raise InvalidArguments(f"expected at most {PAGE} patterns at once, not {len(lines)}")
        self._memory.check_embedder()
        for number, line in enumerate(lines):
            try:
                self._memory.check_text(line.text)
                if line.namespace == ROUTES and not line.expert:
                    raise InvalidArguments("expected the expert that it was for")
            except InvalidArguments as error:
                raise InvalidArguments(f"patterns[{number}]: {error.message}") from None
        kept = [one for one in lines if one.expires is None or one.expires > now]
        vectors = await self._embedder.embed([one.text for one in kept])
        lessons, patterns = [], []
        for line, vector in zip(kept, vectors, strict=True):
            if line.namespace == ROUTES:
                lessons.append(_lesson(line, vector))
            else:
                patterns.append(self._pattern(line, vector, now))
        if lessons:
            await self._learning.give(*lessons)
        if patterns:
            from flowcore.state import PutPatterns

            stored = await self._state.do(PutPatterns(tuple(patterns)))
            await self._following.wait_followed(stored.position)
        return len(kept)

    def _pattern(self, line: Line, vector: Any, now: float) -> Any:
        from flowcore.state import PutPattern

        return PutPattern(
            namespace=line.namespace,
            key=line.key,
            text=line.text,
            value=None if line.value is None else msgspec.json.encode(line.value),
            vector=vector.astype("<f4").tobytes(),
            embedder=str(self._embedder.identity),
            expert=line.expert,
            reward=line.reward,
            weight=line.weight,
            time=line.time,
            ttl=None if line.expires is None else line.expires - now,
            owner=line.owner,
        )


def _line(one: Pattern) -> dict[str, Any]:
    line = Line(
        namespace=one.namespace,
        text=one.text,
        key=None if one.namespace == ROUTES else one.key,
        value=None if one.value is None else msgspec.json.decode(one.value),
        expert=one.expert,
        reward=one.reward,
        weight=one.weight,
        time=one.time,
        expires=one.expires,
        owner=one.owner,
    )
    made: dict[str, Any] = msgspec.to_builtins(line)
    return made


def _lesson(line: Line, vector: Any) -> Given:
    lesson = Lesson(
        text=line.text,
        vector=vector,
        expert=line.expert,
        reward=line.reward,
        weight=line.weight,
    )
    return Given(lesson=lesson, owner=line.owner, time=line.time)
