"""When a failed request is tried again: only where it is safe, later each time, within a budget. Sans-IO."""

from __future__ import annotations

import random

from flowcore.agents.catalog import Tool
from flowcore.errors import AgentUnavailable, CallError, OutcomeUnknown, UpstreamFailure
from flowcore.requests.settings import RetrySettings

_PASSING = (AgentUnavailable, OutcomeUnknown, UpstreamFailure)
"""Failures that another attempt may not meet again. Overload is not one: its caller is told when to come
back, and coming back at once is what keeps an overload going."""

_MOST_TOKENS = 100.0
_FIRST_TOKENS = 10.0


class Retries:
    """The budget of a node, and the waits between attempts.

    The budget is a bucket of tokens: each request earns a part of one, each retry takes one (as in gRPC's
    retry throttling, proposal A6). Waits have full jitter (Brooker, "Exponential Backoff And Jitter", 2015),
    also after a time that the failure itself asks for: those who were told the same do not return together.
    """

    def __init__(self, settings: RetrySettings, chance: random.Random) -> None:
        self._settings = settings
        self._random = chance
        self._tokens = _FIRST_TOKENS
        self.denied = 0
        """Retries that would have been safe, and that the budget did not pay for."""

    @property
    def tokens(self) -> float:
        """How many retries the budget pays for now."""
        return self._tokens

    def retune(self, settings: RetrySettings) -> None:
        """Have these settings from now on; what is saved of the budget stays."""
        self._settings = settings

    def accepted(self) -> None:
        """A request got as far as the work: it earns its share of a retry, up to a hundred saved."""
        if self._tokens < _MOST_TOKENS:
            self._tokens = min(_MOST_TOKENS, self._tokens + self._settings.budget)

    def wait(self, error: CallError, tool: Tool | None, attempt: int) -> float | None:
        """Seconds to wait before attempt number `attempt` (from 2), or None if there is to be none.

        Safe is what never began, and what the tool declares read-only or idempotent.
        """
        if attempt > self._settings.attempts or not isinstance(error, _PASSING):
            return None
        if error.began and not repeatable(tool):
            return None
        if self._tokens < 1:
            self.denied += 1
            return None
        self._tokens -= 1
        settings = self._settings
        longest = min(settings.cap, settings.base * settings.factor ** (attempt - 2))
        return (error.retry_after or 0.0) + self._random.uniform(0, longest)


def repeatable(tool: Tool | None) -> bool:
    """Whether work may be done twice with the effect of once: the tool says so."""
    return tool is not None and (tool.read_only or tool.idempotent)
