"""Embedding anew: what another embedder has embedded gets vectors of this node's, from its text.

Lessons come first, then gates are told to be trained anew, then patterns: until the last of these is done
searches and routes are refused, so that whoever was stopped half-way is told to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from flowcore.routing.following import Following
from flowcore.routing.interfaces import Embedder
from flowcore.routing.learning import Learning

if TYPE_CHECKING:
    from flowcore.state import Lesson, State

_PAGE = 200
_ONCE = 64
"""Texts that are embedded, and whose vectors are one command, at once."""


@attrs.frozen(kw_only=True)
class Reembedded:
    """How many got new vectors, and whether that is all."""

    patterns: int
    lessons: int
    complete: bool


class Reembedding:
    """Gives vectors of this node's embedder to what has those of another."""

    def __init__(
        self, state: State, embedder: Embedder, following: Following, learning: Learning
    ) -> None:
        self._state = state
        self._embedder = embedder
        self._following = following
        self._learning = learning
        self._name = str(embedder.identity)
        self._alone = trio.Lock()
        self._begun = False
        self._looked = 0
        """Up to where in the state lessons were looked at."""
        self._due = False
        """Whether gates have yet to be told that there are new vectors."""
        self._told = 0
        """Where in the state they were told."""

    async def run(
        self,
        told: Callable[[int, int], None] | None,
        *,
        within: float,
        wait: bool,
    ) -> Reembedded:
        """As `Router.reembed`."""
        from flowcore.state import Retrain

        until = trio.current_time() + within
        async with self._alone:
            if not self._begun:
                self._begun, self._due = True, bool(self._following.foreign)
            lessons, ended = await self._lessons(until)
            self._due = self._due or lessons > 0
            patterns, complete = 0, False
            if ended:
                if self._due:
                    self._told = (await self._state.do(Retrain())).position
                    self._due = False
                patterns, complete = await self._patterns(until, told)
            self._begun = not complete
            if wait and complete:
                await self._learning.wait_trained(self._told)
            return Reembedded(patterns=patterns, lessons=lessons, complete=complete)

    async def _lessons(self, until: float) -> tuple[int, bool]:
        """How many lessons got new vectors, and whether there are no more."""
        from flowcore.state import ReembedFeedback

        count = 0
        while trio.current_time() < until:
            self._looked = max(self._looked, await self._state.oldest_feedback())
            page = await self._state.feedback_after(self._looked, _PAGE)
            strange = [one for one in page.lessons if self._is_strange(one)]
            for start in range(0, len(strange), _ONCE):
                some = strange[start : start + _ONCE]
                vectors = await self._vectors([one.text for one in some])
                items = tuple(zip((one.number for one in some), vectors, strict=True))
                await self._state.do(ReembedFeedback(self._name, items))
            count += len(strange)
            self._looked = page.position
            if page.complete:
                return count, True
        return count, False

    def _is_strange(self, one: Lesson) -> bool:
        return not one.retrains and one.embedder != self._name

    async def _patterns(
        self, until: float, told: Callable[[int, int], None] | None
    ) -> tuple[int, bool]:
        """How many patterns got new vectors, and whether there are no more."""
        from flowcore.state import Reembed, Tidy

        todo = sorted(self._following.foreign)
        count = 0
        for start in range(0, len(todo), _ONCE):
            if trio.current_time() >= until:
                return count, False
            some = todo[start : start + _ONCE]
            patterns = await self._state.patterns(some)
            vectors = await self._vectors([one.text for one in patterns])
            items = tuple(
                (one.id, one.version, vector) for one, vector in zip(patterns, vectors, strict=True)
            )
            # what is not there any more has expired, and goes when time passes
            made = await self._state.do(Reembed(self._name, items) if items else Tidy())
            await self._following.wait_followed(made.position)
            count += len(patterns)
            if told is not None:
                told(start + len(some), len(todo))
        return count, True

    async def _vectors(self, texts: Sequence[str]) -> list[bytes]:
        return [one.astype("<f4").tobytes() for one in await self._embedder.embed(texts)]
