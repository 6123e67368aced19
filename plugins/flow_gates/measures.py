"""What gates have to tell as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowcore.telemetry import Reading, counter, gauge

LESSONS = gauge("flowcore.gate.lessons", "{lesson}", "Lessons that it has taken in.")
LOSS = gauge(
    "flowcore.gate.loss", "{nat}", "Cross entropy of late lessons before they were learned."
)
ACCURACY = gauge(
    "flowcore.gate.accuracy",
    "1",
    "How often the best expert was right, of late and over a long time.",
    "window",
)
FORGETTING = gauge(
    "flowcore.gate.forgetting",
    "1",
    "What was told right of old examples at its best, less what is now.",
)
DRIFT = gauge(
    "flowcore.gate.drift", "1", "One less the cosine between late lessons and those of a long time."
)
CALIBRATION = gauge(
    "flowcore.gate.calibration_error", "1", "How far probabilities are from what came true."
)
THRESHOLD = gauge("flowcore.gate.threshold", "{score}", "Below this a text is out of scope.")
CONSOLIDATIONS = gauge("flowcore.gate.consolidations", "{point}", "Points that EWC++ holds on to.")
REPLAYABLE = gauge("flowcore.gate.replayable", "{example}", "Examples that can be learned again.")
TRIED = counter("flowcore.gate.tried", "{route}", "Choices that were made to learn about them.")
PASSED_OVER = counter(
    "flowcore.gate.passed_over", "{route}", "Experts passed over since they were busy."
)


def of_moe(status: Mapping[str, Any]) -> Iterator[Reading]:
    """The readings of the gate that learns, by its status."""
    yield LESSONS.of(status["lessons"])
    yield LOSS.of(status["loss"])
    yield ACCURACY.of(status["accuracy"], "short")
    yield ACCURACY.of(status["accuracy_before"], "long")
    yield FORGETTING.of(status["forgetting"])
    yield DRIFT.of(status["drift"])
    yield CALIBRATION.of(status["calibration_error"])
    yield THRESHOLD.of(status["threshold"])
    yield CONSOLIDATIONS.of(status["consolidations"])
    yield REPLAYABLE.of(status["replayable"])
    yield TRIED.of(status["tried"])
    yield PASSED_OVER.of(status["passed_over"])
