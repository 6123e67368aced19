"""What the hard state has to tell as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from flowcore.state.state import State
from flowcore.telemetry import Reading, counter, gauge

POSITION = gauge(
    "flowcore.state.position", "{entry}", "The last entry of the log that was applied here."
)
DURABLE = gauge(
    "flowcore.state.durable_position",
    "{entry}",
    "The last one of which the effect is on this node's disk.",
)
PATTERNS = gauge("flowcore.state.patterns", "{pattern}", "Patterns of shared memory.")
SIZE = gauge("flowcore.state.size", "By", "What patterns and lessons take, as the limits count it.")
DISK = gauge("flowcore.state.disk", "By", "The state's file.")
REMOVED = counter(
    "flowcore.state.removed", "{pattern}", "Patterns that had to go to keep the limits."
)
COMMANDS = counter("flowcore.state.commands", "{command}", "Commands that were applied.")
REFUSED = counter(
    "flowcore.state.refused", "{command}", "Commands that were applied, and refused by the state."
)
WAITING = gauge(
    "flowcore.state.waiting", "{command}", "This node's commands that wait to be applied."
)
TROUBLE = gauge(
    "flowcore.state.trouble", "{state}", "1 while nothing can be written, or the file is damaged."
)


def measure(state: State) -> Iterator[Reading]:
    """Its readings."""
    status = state.status()
    yield POSITION.of(status["position"])
    yield DURABLE.of(status["durable_position"])
    yield PATTERNS.of(status["patterns"])
    yield SIZE.of(status["bytes"])
    yield DISK.of(status["disk"])
    yield REMOVED.of(status["removed"])
    yield COMMANDS.of(status["commands"])
    yield REFUSED.of(status["refused"])
    yield WAITING.of(status["waiting"])
    yield TROUBLE.of(int(bool(status["trouble"])))
