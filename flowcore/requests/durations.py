"""How long requests took, by agent, method, tool and outcome. Sans-IO.

Tools are those that the agent lists: what a client asks for that is none counts as `OTHER`, so that nobody
makes series by asking for what does not exist. The first `MOST` that are listed have series of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from flowcore.telemetry import Histogram, Reading, histogram, total

MOST = 2_000
OTHER = "_other"
"""Stands for a tool that is not listed, one too many, and a method that is not known."""

METHODS = frozenset(
    {
        "tools/call",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "completion/complete",
        "logging/setLevel",
    }
)
"""What agents are asked to do."""
OUTCOMES = ("result", "error", "cancelled", "expired")

DURATION = histogram(
    "flowcore.request.duration",
    "s",
    "Requests that have ended, from their being accepted. A request that another node does counts at both.",
    "agent",
    "method",
    "tool",
    "outcome",
)

Series = list[Histogram | None]
"""One histogram for each of OUTCOMES, where there was such an outcome."""


class RequestDurations:
    """Histograms, each made when there is something for it."""

    def __init__(self, listed: Callable[[str, str, str], bool]) -> None:
        """`listed(agent, method, name)` tells whether an agent has such a tool or prompt."""
        self._listed = listed
        self._series: dict[tuple[str, str, str], Series] = {}
        self._own = 0

    def record(self, agent: str, method: str, name: str, outcome: int, seconds: float) -> None:
        """A request has ended; `outcome` is its place in OUTCOMES."""
        series = self._series.get((agent, method, name))
        if series is None:
            series = self._find(agent, method, name)
        kept = series[outcome]
        if kept is None:
            kept = series[outcome] = Histogram()
        kept.record(seconds)

    def _find(self, agent: str, method: str, name: str) -> Series:
        if method not in METHODS:
            method = OTHER
        if method not in ("tools/call", "prompts/get"):
            name = ""  # an URI, or nothing
        elif self._own >= MOST or not self._listed(agent, method, name):
            name = OTHER
        key = (agent, method, name)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = [None, None, None, None]
            self._own += name not in ("", OTHER)
        return found

    def all(self) -> Histogram:
        """All of them as one."""
        return total(
            kept for series in self._series.values() for kept in series if kept is not None
        )

    def parts(self, at_once: int = 50) -> Iterator[Callable[[], Iterator[Reading]]]:
        """Readings of all series, some at a time."""
        items = list(self._series.items())
        for start in range(0, len(items), at_once):
            yield partial(_read, items[start : start + at_once])


def _read(items: list[tuple[tuple[str, str, str], Series]]) -> Iterator[Reading]:
    for (agent, method, name), series in items:
        for outcome, kept in zip(OUTCOMES, series, strict=True):
            if kept is not None:
                yield DURATION.of(kept.distribution(), agent, method, name, outcome)
