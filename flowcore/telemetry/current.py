"""The span that a task works for.

A task that works for one request after the other has a place that says for which. So there is a context
variable to be set once in a task's life and not with each request, which displaces more from a processor's
caches than all else that is noted of an ordinary one. A place is its task's alone: what a task starts has one
of its own from the beginning, with what it was started for (`keep_places`).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

import trio

from flowcore.telemetry.noted import Noted
from flowcore.telemetry.tracing import Span


class _Place:
    """For whom a task works, or has worked."""

    __slots__ = ("span",)

    def __init__(self, span: Span | Noted | None) -> None:
        self.span = span


_PLACE: Final[ContextVar[_Place | None]] = ContextVar("flowcore.telemetry.place", default=None)
_place_here = _PLACE.get


def current_span() -> Span | None:
    """The span that this task works for, while it goes on; None if there is none.

    Tasks inherit it; one that outlives the request that started it works for none any more.
    """
    place = _place_here()
    span = None if place is None else place.span
    if span is None or not span.open:
        return None
    if isinstance(span, Noted):
        span = span.trace()
    return span.inner or span


def enter_span(span: Span | Noted | None) -> Span | Noted | None:
    """This task works for a span from now on; gives the one it worked for before."""
    place = _place_here()
    if place is None:
        _PLACE.set(_Place(span))
        return None
    before = place.span
    place.span = span
    return before


def stay_with_span() -> None:
    """What runs in this context from now on, such as in a thread, works for what it does now, whatever the
    task does that started it."""
    place = _place_here()
    if place is not None:
        _PLACE.set(_Place(place.span))


class _Heirs(trio.abc.Instrument):
    """Sees that each task that is started has a place of its own."""

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """It has inherited that of who started it, with the context."""
        place = task.context.get(_PLACE)
        if place is not None:
            task.context.run(_PLACE.set, _Place(place.span))


_heirs = _Heirs()


def keep_places() -> None:
    """Have tasks that are started in this run of trio keep to what they were started for. It may be called
    again."""
    trio.lowlevel.add_instrument(_heirs)
