"""Who begins the traces of a node, and decides what becomes of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Raw

from flowcore.telemetry.context import (
    SAMPLED,
    TRACEPARENT,
    TRACESTATE,
    SpanContext,
    chance,
    parse_traceparent,
)
from flowcore.telemetry.noted import Noted
from flowcore.telemetry.records import SpanKind
from flowcore.telemetry.tracing import Describe, Trace

WALL_AGE: Final = 1.0
"""Seconds for which it holds how far the wall clock is ahead of the flow's."""
_DRIFT: Final = 0.0005
"""Seconds by which it changes before that is remembered, and how many such changes are."""
_MOST_STEPS: Final = 256
_LONGEST_RAW = 16_384
_draw = chance.getrandbits
_decode_text = msgspec.json.Decoder(str).decode


class Tracer:
    """Begins traces, and decides what becomes of them."""

    def __init__(
        self,
        *,
        sampling: float,
        now: Callable[[], float],
        wall: Callable[[], float],
        export: Callable[[Trace | Noted], None],
        remember: Callable[[Trace], None],
        recent: deque[Trace | Noted],
    ) -> None:
        """Of traces that have ended, `export` is given each that exporters are for, `recent` each that was an
        ordinary one, and `remember` each other."""
        self._now = now
        self._wall = wall
        self._aheads: deque[tuple[float, float]] = deque(maxlen=_MOST_STEPS)
        """What the wall clock was ahead of the flow's, from when on; a new one where it has changed."""
        self._look_at = -math.inf
        self._export = export
        self._remember = remember
        self._recent = recent
        self.begun = 0
        """How many traces it has begun, or joined."""
        self.kept = self.malformed = 0
        self.enabled = True
        """Whether requests that come are recorded; those under way are to their end."""
        self.content = False
        """Whether spans carry arguments and results."""
        self.resample(sampling)

    def resample(self, sampling: float) -> None:
        """Have this part of traces that begin here go to exporters from now on."""
        # what OpenTelemetry's TraceIdRatioBased does: the id's last 8 bytes decide, alike on all nodes
        bound = round(sampling * (1 << 48))
        self._bound = bound << 16
        first = f"{bound:012x}"
        self.first = f"{first[:8]}-{first[8:]}" if bound < 1 << 48 else "g"
        """The first UUID, as far as it matters, whose trace is not sampled: see `digits_of`."""

    def begin(
        self,
        name: str,
        kind: SpanKind,
        start: float,
        describe: Describe | None = None,
        about: object = None,
        *,
        parent: SpanContext | None = None,
    ) -> Trace:
        """The first span of a trace at this node; `parent` is whose part it is, elsewhere or before."""
        self.begun += 1
        half, flags = 0, 0
        if parent is None:
            half = _draw(64) or 1
            if half < self._bound:
                flags = SAMPLED
        trace = Trace(
            None,
            None,
            name,
            kind,
            start,
            describe,
            about,
            tracer=self,
            half=half,
            flags=flags,
            wall=self.ahead(start),
        )
        if parent is not None:
            trace.whole, trace.parent = parent.trace_id, parent.span_id
            trace.flags, trace.state = parent.flags, parent.state
        if self.content:
            trace.spans = []
        return trace

    def ahead(self, when: float) -> float:
        """What the wall clock was ahead of the flow's then, in seconds, as seen within a second."""
        if when > self._look_at:
            self._look(when)
        since, ahead = self._aheads[-1]
        return ahead if since <= when else self._ahead_before(when)

    def _ahead_before(self, when: float) -> float:
        for since, ahead in reversed(self._aheads):
            if since <= when:
                return ahead
        return self._aheads[0][1]

    def _look(self, now: float) -> None:
        self._look_at = now + WALL_AGE
        ahead = self._wall() - self._now()
        if not self._aheads or abs(ahead - self._aheads[-1][1]) > _DRIFT:
            self._aheads.append((now, ahead))

    def noted(self, noted: Noted, now: float) -> None:
        """A request that was an ordinary one has ended at this node, and its trace with it."""
        noted.end = now
        self.begun += 1
        self._recent.append(noted)
        if now > self._look_at:
            self._look(now)
        if noted.sampled:
            self.kept += 1
            self._export(noted)

    def note(self, trace: Trace) -> None:
        """A trace has ended that was ordinary, and is for nobody."""
        self._recent.append(trace)

    def trace_of(
        self, noted: Noted, name: str, kind: SpanKind, describe: Describe, about: object
    ) -> Trace:
        """The first span of what was noted."""
        if noted.end < 0.0:
            self.begun += 1  # else it was counted at its end
        return Trace(
            None,
            None,
            name,
            kind,
            noted.start,
            describe,
            about,
            tracer=self,
            flags=SAMPLED if noted.sampled else 0,
            wall=self.ahead(noted.start),
        )

    def parent_in(self, meta: Mapping[str, Raw]) -> SpanContext | None:
        """The context that a request's `_meta` carries; None, and counted, if it is malformed."""
        raw = meta.get(TRACEPARENT)
        if raw is None:
            return None
        return self.parent_of(_text(raw), _text(meta.get(TRACESTATE)))

    def parent_of(self, traceparent: str, tracestate: str = "") -> SpanContext | None:
        """The context that these headers carry; None, and counted, if they are malformed."""
        parent = parse_traceparent(traceparent, tracestate)
        if parent is None:
            self.malformed += 1
        return parent

    def ended(self, trace: Trace) -> None:
        """A trace has ended at this node that is for the exporters, or was no ordinary one."""
        wanted = trace.any_failed or trace.flags != 0
        self.kept += wanted
        ordinary = trace.spans is None and not trace.any_failed
        if not ordinary:
            trace.described()
            for span in trace.record():
                span.described()
        if wanted:
            self._export(trace)
        if ordinary:
            self.note(trace)
        else:
            self._remember(trace)


def _text(raw: Raw | None) -> str:
    """A JSON string's text; "" if it is none, or too long to be looked at."""
    if raw is None or len(memoryview(raw)) > _LONGEST_RAW:
        return ""
    try:
        return _decode_text(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
