"""What came of an agent's calls, counted."""

from __future__ import annotations

import enum

import attrs

from flowcore.agents.pool import PoolStatistics
from flowcore.telemetry import Durations, Histogram


class Came(enum.Enum):
    """What came of a call; `ok` is what that says of the worker: True, False, or nothing (None)."""

    SUCCEEDED = "succeeded", True
    """A result, whatever it says."""
    FAILED = "failed", True
    """An error that the request is to blame for, such as wrong arguments."""
    FAULTY = "faulty", False
    """An error that the worker is to blame for."""
    EXPIRED = "expired", False
    """Its deadline passed, while it waited or while it ran."""
    CANCELLED = "cancelled", None
    """The caller did not want it any more."""
    LOST = "lost", False
    """Its worker was gone before it ended."""
    REFUSED = "refused", None
    """It never began: the queue was full, or the agent not up."""

    def __init__(self, label: str, ok: bool | None) -> None:
        self.label = label
        self.ok = ok

    # by identity: hashing an enum by its name costs on every call
    __hash__ = object.__hash__


@attrs.frozen(kw_only=True)
class AgentStatistics:
    """What an agent has done since the flow opened.

    `calls` are all that came; what came of them is counted by `Came`; the rest is running or waiting.
    """

    calls: int
    running: int
    waiting: int
    succeeded: int
    failed: int
    faulty: int
    expired: int
    cancelled: int
    lost: int
    refused: int
    lives: int
    """How often it was opened."""
    crashes: int
    """How many workers failed, in all lives."""
    left_behind: int
    """What calls began and still goes on, now, though nobody waits for it."""
    retired: int
    """Workers that were replaced for that."""
    late: int
    """Answers that came when nobody waited for them any more, and were dropped."""
    durations: Durations
    """Of calls that ran to an end on a worker, from its being granted; in seconds."""
    pool: PoolStatistics | None
    """None while there is none."""


class Tally:
    """Counts calls by what came of them."""

    __slots__ = ("calls", "came", "crashes", "durations", "late", "left_behind", "lives", "retired")

    def __init__(self) -> None:
        self.calls = 0
        self.came = dict.fromkeys(Came, 0)
        self.durations = Histogram()
        self.lives = 0
        self.crashes = 0
        self.left_behind = 0
        self.retired = 0
        self.late = 0

    def refuse(self) -> None:
        """A call came that could not even wait."""
        self.calls += 1
        self.came[Came.REFUSED] += 1

    def statistics(self, pool: PoolStatistics | None) -> AgentStatistics:
        """All of it as it is now."""
        return AgentStatistics(
            calls=self.calls,
            running=pool.active if pool is not None else 0,
            waiting=pool.waiting if pool is not None else 0,
            **{came.label: count for came, count in self.came.items()},
            lives=self.lives,
            crashes=self.crashes,
            left_behind=self.left_behind,
            retired=self.retired,
            late=self.late,
            durations=self.durations.durations(),
            pool=pool,
        )
