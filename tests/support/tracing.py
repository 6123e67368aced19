"""A tracer by itself, whose traces nobody takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from flowcore.telemetry import Tracer


def lone_tracer(
    sampling: float = 0.0,
    *,
    now: Callable[[], float] = lambda: 0.0,
    wall: Callable[[], float] = lambda: 0.0,
) -> Tracer:
    """Its clocks are `now`, the flow's, and `wall`."""
    return Tracer(
        sampling=sampling,
        now=now,
        wall=wall,
        export=lambda _: None,
        remember=lambda _: None,
        recent=deque(maxlen=0),
    )
