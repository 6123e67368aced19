"""What a node of bft has to tell as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flow_consensus.measures import of_engine
from flowcore.telemetry import Histogram, Reading, counter, gauge, histogram

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HEIGHT = gauge("flowcore.bft.height", "{block}", "The block that is being agreed on.")
VIEW = gauge("flowcore.bft.view", "{view}", "The view that this node is in.")
VIEWS = counter(
    "flowcore.bft.view_changes", "{view}", "Views that ended without a block, for this node."
)
ACCUSED = gauge(
    "flowcore.bft.accused", "{node}", "Nodes of which there is evidence that they lied."
)
VOTERS = gauge("flowcore.bft.voters", "{node}", "Nodes whose votes count.")
MESSAGES = counter("flowcore.bft.messages", "{message}", "Messages to others.", "outcome")
REFUSED = counter(
    "flowcore.bft.messages_refused", "{message}", "Messages that were none, or not due.", "reason"
)
SIGNATURES = counter("flowcore.bft.signatures", "{signature}", "Signatures that were checked.")
SNAPSHOT = histogram(
    "flowcore.bft.snapshot.duration", "s", "Snapshots made, and taken from others.", "direction"
)


def of_bft(
    status: Mapping[str, Any], took: Histogram, made: Histogram, taken: Histogram
) -> Iterator[Reading]:
    """The readings of a node, by its status."""
    yield from of_engine(status, took)
    yield HEIGHT.of(status["height"])
    yield VIEW.of(status["view"])
    yield VIEWS.of(status["views"])
    yield ACCUSED.of(len(status["evidence"]))
    yield VOTERS.of(len(status["voters"]))
    yield MESSAGES.of(status["sent"], "sent")
    yield MESSAGES.of(status["unsent"], "unsent")
    yield REFUSED.of(status["bad_messages"], "malformed")
    for reason, count in status["refused_messages"].items():
        yield REFUSED.of(count, str(reason))
    yield SIGNATURES.of(status["signatures"])
    yield SNAPSHOT.of(made.distribution(), "made")
    yield SNAPSHOT.of(taken.distribution(), "taken")
