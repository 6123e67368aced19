"""What consensus engines have in common to tell as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowcore.telemetry import Histogram, Reading, counter, gauge, histogram

COMMIT = gauge(
    "flowcore.consensus.commit", "{entry}", "Position of the last entry known to be committed."
)
LAST = gauge("flowcore.consensus.last", "{entry}", "Position of the last entry of this node's log.")
PROPOSALS = counter(
    "flowcore.consensus.proposals", "{command}", "Commands that were to be committed."
)
REFUSED = counter(
    "flowcore.consensus.refused", "{command}", "Commands refused since too many wait."
)
WAITING = gauge(
    "flowcore.consensus.waiting", "{command}", "Commands that wait to be put into the log."
)
BATCHES = counter("flowcore.consensus.batches", "{batch}", "Batches in which they were written.")
DURATION = histogram(
    "flowcore.consensus.commit.duration", "s", "Commands of this node, until they were committed."
)
STOPPED = gauge(
    "flowcore.consensus.stopped", "{node}", "1 while nothing can be written here, else 0."
)


def of_engine(status: Mapping[str, Any], took: Histogram) -> Iterator[Reading]:
    """The readings of an engine, by its status."""
    yield COMMIT.of(status["commit"])
    yield LAST.of(status["last"])
    yield PROPOSALS.of(status["proposals"])
    yield REFUSED.of(status["refused"])
    yield WAITING.of(status["waiting"])
    yield BATCHES.of(status["batches"])
    yield DURATION.of(took.distribution())
    yield STOPPED.of(int(bool(status["stopped"])))
