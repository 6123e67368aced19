"""What an index did, measured: how long searches took, how much they found, what they fell back on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from flowcore.telemetry import Histogram, Reading, counter, gauge, histogram


@attrs.define(eq=False)
class Measures:
    """Counted on the event loop's thread."""

    seconds: Histogram = attrs.field(factory=Histogram)
    fallbacks: Counter[str] = attrs.field(factory=Counter)
    """How many searches, by what they fell back on."""
    usual: float = 2e-3
    """Seconds of a processor that half of the searches take lately: each longer one raises it, each shorter
    one lowers it, by a tenth. Some that take long for a reason of their own do not matter."""
    sampled: int = 0
    recalled: float = 0.0
    least: float | None = None
    lost: int = 0
    """Samples that were not taken since others were waiting, or had just taken their share of the time."""

    def searched(self, seconds: float, inside: float, fallbacks: Iterable[str] = ()) -> None:
        """A search took so long for its caller, and `inside` seconds of a processor."""
        self.seconds.record(seconds)
        self.usual *= 1.1 if inside > self.usual else 1 / 1.1
        for one in fallbacks:
            self.fallbacks[one] += 1

    def compared(self, recall: float) -> None:
        """A search was done again exactly: this share of what is right had been found."""
        self.sampled += 1
        self.recalled += recall
        self.least = recall if self.least is None else min(recall, self.least)

    def status(self) -> dict[str, Any]:
        """As plain data; times in seconds, None where nothing was measured."""
        durations = self.seconds.durations()
        return {
            "searches": durations.count,
            "seconds": {"p50": durations.p50, "p99": durations.p99, "longest": durations.longest},
            "recall": {
                "samples": self.sampled,
                "mean": self.recalled / self.sampled if self.sampled else None,
                "least": self.least,
                "skipped": self.lost,
            },
            "fallbacks": dict(self.fallbacks),
        }

    def readings(self, status: Mapping[str, Any], name: str) -> Iterator[Reading]:
        """The metrics of an index of this name, by its status."""
        yield VECTORS.of(status["count"], name)
        yield MEMORY.of(status["memory"], name)
        yield DISK.of(status["disk"], name)
        yield BUILDING.of(int(bool(status["building"])), name)
        yield SEARCHES.of(self.seconds.distribution(), name)
        yield SAMPLED.of(self.sampled, name)
        yield RECALLED.of(self.recalled, name)
        yield LEAST.of(self.least, name)
        for what, count in self.fallbacks.items():
            yield FALLBACKS.of(count, name, what)


VECTORS = gauge("flowcore.index.vectors", "{vector}", "Vectors of an index.", "index")
MEMORY = gauge(
    "flowcore.index.memory", "By", "Memory of its own; mapped files do not count.", "index"
)
DISK = gauge("flowcore.index.disk", "By", "What its files take.", "index")
BUILDING = gauge(
    "flowcore.index.building", "{index}", "1 while something of it is being built.", "index"
)
SEARCHES = histogram("flowcore.index.search.duration", "s", "Searches, for their callers.", "index")
SAMPLED = counter(
    "flowcore.index.recall.samples", "{search}", "Searches that were done again, exactly.", "index"
)
RECALLED = counter(
    "flowcore.index.recall.found",
    "{search}",
    "Of these the shares that had been found: divided by them, the recall.",
    "index",
)
LEAST = gauge("flowcore.index.recall.least", "1", "The least share that a sample found.", "index")
FALLBACKS = counter(
    "flowcore.index.fallbacks",
    "{search}",
    "Searches that fell back on another way.",
    "index",
    "what",
)


def recall(found: Any, exact: Any, worst: float) -> float:
    """The share of the exact scores that were reached, given what was found and the worst exact score.

    Compares scores, not ids: of several vectors that are equally near any may be found.
    """
    if not len(exact):
        return 1.0
    slack = 1e-5 * max(1.0, abs(worst))
    return min(1.0, sum(1 for score in found if score >= worst - slack) / len(exact))
