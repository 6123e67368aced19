"""What an exporter plugin must offer, and what it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import attrs

from flowcore.telemetry.records import LogLine, SpanRecord
from flowcore.telemetry.snapshot import Snapshot

Signal = Literal["traces", "metrics", "logs"]
"""What an exporter can be given."""
SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")


@attrs.frozen
class Page:
    """What a machine that comes to fetch is given."""

    content_type: str
    body: bytes


class ExportFailed(Exception):
    """A batch, or some of it, did not arrive."""

    def __init__(
        self,
        message: str,
        *,
        again: bool = False,
        retry_after: float | None = None,
        lost: int | None = None,
    ) -> None:
        """`again`: none of it was taken, and it may be sent once more, not before `retry_after` seconds.

        Otherwise it is counted as dropped; `lost` is how much of it did not arrive, None: all.
        """
        super().__init__(message)
        self.again = again
        self.retry_after = retry_after
        self.lost = lost


class Exporter(Protocol):
    """Takes what a node tells of itself to somewhere else.

    Each method is called in a task of the core's own, at most a batch at a time, one call of each at a time,
    under the exporter's timeout. Whatever one raises is counted and told in the status; what waits meanwhile
    is bounded, and what does not fit is dropped and counted. It must not hold the event loop.
    """

    @property
    def signals(self) -> frozenset[Signal]:
        """What it wants to be given; none for one that is only fetched from."""
        ...

    @property
    def pages(self) -> Mapping[str, Callable[[str], Awaitable[Page]]]:
        """What `api` edges serve for it, by path (`/metrics`); each is given the request's Accept header."""
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
