"""The span that a task works for."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from flowcore.telemetry.noted import Noted
from flowcore.telemetry.tracing import Span

CURRENT: Final[ContextVar[Span | Noted | None]] = ContextVar(
    "flowcore.telemetry.span", default=None
)
"""The span that a task works for, or has worked for: see `current_span`."""


def current_span() -> Span | None:
    """The span that this task works for, while it goes on; None if there is none.

    Tasks inherit it; one that outlives the request that started it works for none any more.
    """
    span = CURRENT.get()
    if span is None or not span.open:
        return None
    if isinstance(span, Noted):
        span = span.trace()
    return span.inner or span


def enter_span(span: Span | Noted | None) -> Span | Noted | None:
    """This task works for a span from now on; gives the one it worked for before."""
    before = CURRENT.get()
    CURRENT.set(span)
    return before
