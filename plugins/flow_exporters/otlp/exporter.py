"""The exporter: what it is given becomes OTLP's requests, which are brought to the collector."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import trio

from flow_exporters.otlp.body import Body
from flow_exporters.otlp.messages import Messages
from flowcore.telemetry import (
    Batch,
    ExportFailed,
    LogLine,
    Noted,
    Page,
    Signal,
    Snapshot,
    SpanRecord,
)

_AT_ONCE: Final = 128
"""Spans, ordinary traces or lines that are put into bytes without others having their turn: less than a
millisecond."""
_LARGE: Final = 1 << 20
"""Bytes after which a request is sent, and the rest is in another: some collectors take 4 MiB at most."""

T = TypeVar("T")


class Way(Protocol):
    """How requests come to the collector."""

    async def bring(self, signal: Signal, body: bytes | memoryview) -> None:
        """Send one request. Raises ExportFailed. Nothing of `body` is held on to afterwards."""
        ...


class Otlp:
    """Sends to one collector."""

    pages: Mapping[str, Callable[[str], Awaitable[Page]]] = {}

    def __init__(self, signals: Sequence[Signal], resource: Mapping[str, str], way: Way) -> None:
        self.signals: frozenset[Signal] = frozenset(signals)
        self._messages = messages = Messages(resource)
        self._spans, self._lines = messages.body(), messages.body()
        self._metrics = Messages(resource)  # put into bytes in a thread, beside the others
        self._way = way
        self._bytes = 0

    async def send_spans(self, spans: Sequence[SpanRecord]) -> None:
        """Send spans."""
        items = spans.items if isinstance(spans, Batch) else spans
        await self._send("traces", items, self._messages.put_spans, self._spans)

    async def send_logs(self, lines: Sequence[LogLine]) -> None:
        """Send log lines."""
        await self._send("logs", lines, self._messages.put_lines, self._lines)

    async def send_metrics(self, snapshot: Snapshot) -> None:
        """Send all metrics."""
        body = await trio.to_thread.run_sync(self._metrics.metrics, snapshot)
        await self._bring("metrics", body)

    async def _send(
        self,
        signal: Signal,
        items: Sequence[T],
        put: Callable[[Sequence[T], Body], None],
        body: Body,
    ) -> None:
        """Send these in one request; in several, one after the other, where they are large."""
        body.clear()  # the last one may have been given up
        first = lost = 0
        why = ""
        for start in range(0, len(items), _AT_ONCE):
            if start:
                await trio.lowlevel.checkpoint()
            some = items[start : start + _AT_ONCE]
            put(some, body)
            end = start + len(some)
            if len(body) < _LARGE and end < len(items):
                continue
            try:
                await self._bring(signal, self._messages.request(body))
            except ExportFailed as error:
                if not first and (error.again or end == len(items)):
                    raise  # nothing was taken, or all is said
                lost += _count(items[first:end]) if error.lost is None else error.lost
                why = str(error)
            body.clear()
            first = end
        if lost:
            raise ExportFailed(why, lost=lost)

    async def _bring(self, signal: Signal, body: bytes | memoryview) -> None:
        await self._way.bring(signal, body)
        self._bytes += len(body)

    def status(self) -> dict[str, Any]:
        """How many bytes the collector has taken, before compression."""
        return {"bytes": self._bytes}


def _count(items: Sequence[object]) -> int:
    """How many spans or lines these are."""
    return sum(one.count if isinstance(one, Noted) else 1 for one in items)
