"""The exporter: what it is given becomes OTLP's requests, which are brought to the collector."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import trio

from flow_exporters.otlp.messages import Messages
from flowcore.telemetry import LogLine, Page, Signal, Snapshot, SpanRecord

_FEW = 128
"""Spans or lines that are put into bytes at once: about a millisecond. More are in a thread."""


class Way(Protocol):
    """How requests come to the collector."""

    async def bring(self, signal: Signal, body: bytes) -> None:
        """Send one request. Raises ExportFailed."""
        ...


class Otlp:
    """Sends to one collector."""

    pages: Mapping[str, Callable[[str], Awaitable[Page]]] = {}

    def __init__(self, signals: Sequence[Signal], resource: Mapping[str, str], way: Way) -> None:
        self.signals: frozenset[Signal] = frozenset(signals)
        self._messages = Messages(resource)
        self._metrics = Messages(resource)  # put into bytes in a thread, beside the others
        self._way = way
        self._bytes = 0

    async def send_spans(self, spans: Sequence[SpanRecord]) -> None:
        """Send spans."""
        if len(spans) <= _FEW:
            body = self._messages.spans(spans)
        else:
            body = await trio.to_thread.run_sync(self._messages.spans, spans)
        await self._bring("traces", body)

    async def send_logs(self, lines: Sequence[LogLine]) -> None:
        """Send log lines."""
        if len(lines) <= _FEW:
            body = self._messages.logs(lines)
        else:
            body = await trio.to_thread.run_sync(self._messages.logs, lines)
        await self._bring("logs", body)

    async def send_metrics(self, snapshot: Snapshot) -> None:
        """Send all metrics."""
        body = await trio.to_thread.run_sync(self._metrics.metrics, snapshot)
        await self._bring("metrics", body)

    async def _bring(self, signal: Signal, body: bytes) -> None:
        await self._way.bring(signal, body)
        self._bytes += len(body)

    def status(self) -> dict[str, Any]:
        """How many bytes the collector has taken, before compression."""
        return {"bytes": self._bytes}
