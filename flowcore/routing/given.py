"""A lesson as it is given: what the gate follows, and what later requests are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from flowcore.envelope import Owner
from flowcore.routing.following import ROUTES
from flowcore.routing.interfaces import Lesson

if TYPE_CHECKING:
    from flowcore.state import Feedback, PutPattern


@attrs.frozen(kw_only=True)
class Given:
    """A lesson, who gives it, and what about."""

    lesson: Lesson
    owner: Owner
    source: str = "explicit"
    """`explicit`, a person or a client; `implicit`, the outcome itself."""
    request: str = ""
    """The route that it is about; empty: none."""
    time: float | None = None
    """When it was learned, seconds since 1970; None: now."""

    def _vector(self) -> bytes:
        return self.lesson.vector.astype("<f4").tobytes()

    def feedback(self, embedder: str) -> Feedback:
        """What the gate follows."""
        from flowcore.state import Feedback

        return Feedback(
            request=self.request,
            source=self.source,
            text=self.lesson.text,
            vector=self._vector(),
            embedder=embedder,
            expert=self.lesson.expert,
            reward=self.lesson.reward,
            propensity=self.lesson.propensity,
            exclusive=self.lesson.exclusive,
            weight=self.lesson.weight,
            owner=self.owner,
        )

    def pattern(self, embedder: str) -> PutPattern:
        """What later requests are compared with."""
        from flowcore.state import PutPattern

        return PutPattern(
            namespace=ROUTES,
            text=self.lesson.text,
            vector=self._vector(),
            embedder=embedder,
            expert=self.lesson.expert,
            reward=self.lesson.reward,
            weight=self.lesson.weight,
            time=self.time,
            owner=self.owner,
        )
