"""What a router counts for whoever watches it: choices, confidence, regret. Sans-IO."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flowcore.telemetry import Histogram, Spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowcore.routing.routes import Route


class Telling:
    """Counted by route, and by lesson."""

    def __init__(self) -> None:
        self.took = Histogram()
        self.confidence = Spread()
        self.chosen: Counter[str] = Counter()
        """How often each agent had the first expert."""
        self.judged = 0
        self.regret = 0.0

    def routed(self, route: Route, seconds: float) -> None:
        """A text was routed."""
        self.took.record(seconds)
        if route.ranked:
            first = route.ranked[0]
            self.chosen[first.agent] += 1
            self.confidence.record(first.probability)

    def learned(
        self, ranked: Mapping[str, float], expert: str, reward: float, *, exclusive: bool
    ) -> None:
        """How an expert of a route was: what the first one has missed by it.

        Of the first itself, what it lacks of a reward of 1. Of another that was named as right, all that this
        one got, for the first was wrong then. Of another that was merely tried, nothing is known.
        """
        first = next(iter(ranked), None)
        if expert == first:
            missed = 1.0 - reward
        elif first is not None and exclusive and reward > 0.0:
            missed = reward
        else:
            return
        self.judged += 1
        self.regret += missed
