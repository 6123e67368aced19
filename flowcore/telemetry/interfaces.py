"""What an exporter plugin must offer, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import attrs

from flowcore.telemetry.records import LogLine, Snapshot, SpanRecord

Signal = Literal["traces", "metrics", "logs"]
"""What an exporter can be given."""


@attrs.frozen
class Page:
    """What a machine that comes to fetch is given."""

    content_type: str
    body: bytes


class ExportFailed(Exception):
    """A batch, or some of it, did not arrive. It is counted as dropped: nothing is sent twice."""

    def __init__(self, message: str, *, lost: int | None = None) -> None:
        """`lost` is how many of the batch did not arrive; None: all."""
        super().__init__(message)
        self.lost = lost


class Exporter(Protocol):
    """Takes what a node tells of itself to somewhere else.

    Each method is called in a task of the core's own, one call at a time, with at most a batch, under the
    exporter's timeout. Whatever one raises is counted and told in the status; what waits is bounded:
    what does not fit is dropped and counted. It must not hold the event loop.
    """

    @property
    def signals(self) -> frozenset[Signal]:
        """What it wants to be given; none for one that is only fetched from."""
        ...

    @property
    def pages(self) -> Mapping[str, Callable[[str], Page]]:
        """What the `api` edge serves for it, by path (`/metrics`); each is given the request's Accept header,
        and may take as long as a thread may."""
        ...

    async def send_spans(self, spans: Sequence[SpanRecord]) -> None:
        """Take finished spans away. Raises ExportFailed."""
        ...

    async def send_logs(self, lines: Sequence[LogLine]) -> None:
        """Take log lines away. Raises ExportFailed."""
        ...

    async def send_metrics(self, snapshot: Snapshot) -> None:
        """Take all metrics away as they are now. Raises ExportFailed."""
        ...

    def status(self) -> dict[str, Any]:
        """What it measures of itself, as plain data."""
        ...
