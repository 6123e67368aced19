"""The states of an agent, and which may follow which."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """An agent's state. Only the agent's own lifecycle changes it.

    idle and busy agents take calls; a paused one takes none until it is resumed, but ends those it has;
    a draining one ends those it has and then stops; a failed one is tried again with back-off.
    """

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    PAUSED = "paused"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"

    def __init__(self, value: str) -> None:
        self.available = value in ("idle", "busy")
        """Whether a call may be given to the agent now."""

    # by identity: an enum hashes its name, and every call asks about states
    __hash__ = object.__hash__


FOLLOWS: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.IDLE, State.FAILED, State.DRAINING, State.PAUSED}),
    State.IDLE: frozenset({State.BUSY, State.PAUSED, State.DRAINING, State.FAILED, State.STARTING}),
    State.BUSY: frozenset({State.IDLE, State.PAUSED, State.DRAINING, State.FAILED, State.STARTING}),
    State.PAUSED: frozenset({State.IDLE, State.BUSY, State.DRAINING, State.FAILED, State.STARTING}),
    State.FAILED: frozenset({State.STARTING, State.DRAINING, State.STOPPED}),
    State.DRAINING: frozenset({State.STOPPED}),
    State.STOPPED: frozenset({State.STARTING}),
}
