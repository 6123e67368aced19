"""When a failed request is tried again: only where it is safe, later each time, within a budget. Sans-IO."""

from __future__ import annotations

import random

from flowcore.agents.catalog import Tool
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    OutcomeUnknown,
    Overloaded,
    UpstreamFailure,
)
from flowcore.requests.settings import RetrySettings

_PASSING = (AgentUnavailable, OutcomeUnknown, Overloaded, UpstreamFailure)
"""Failures that another attempt may not meet again."""


class Retries:
    """The budget of a node, and the waits between attempts (full jitter: Brooker 2015)."""

    def __init__(self, settings: RetrySettings, chance: random.Random) -> None:
        self._settings = settings
        self._random = chance
        self._tokens = 10.0

    def accepted(self) -> None:
        """A request was accepted: it earns its share of a retry, up to a hundred saved."""
        self._tokens = min(100.0, self._tokens + self._settings.budget)

    def wait(self, error: CallError, tool: Tool | None, attempt: int) -> float | None:
        """Seconds to wait before attempt number `attempt` (from 2), or None if there is to be none.

        Safe is what never began, and what the tool declares read-only or idempotent.
        """
        if attempt > self._settings.attempts or not isinstance(error, _PASSING):
            return None
        repeatable = tool is not None and (tool.read_only or tool.idempotent)
        if (error.began and not repeatable) or isinstance(error, DeadlineExceeded):
            return None
        if self._tokens < 1:
            return None
        self._tokens -= 1
        longest = min(
            self._settings.cap, self._settings.base * self._settings.factor ** (attempt - 2)
        )
        return max(self._random.uniform(0, longest), error.retry_after or 0.0)
