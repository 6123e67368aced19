"""Log lines for exporters, and what of a trace a line belongs to."""

from __future__ import annotations

import logging
import threading

import trio

from flowcore.telemetry.current import current_span
from flowcore.telemetry.exporting import Queue
from flowcore.telemetry.records import LogLine, Value

_OWN = ("flowcore.telemetry", "flow_exporters")
"""Loggers of who exports: a line about a line that was not sent would not be the last."""
MOST_TEXT = 16_384
"""Characters of a message, or a traceback, that are exported: what waits is bounded."""
_FORMATTER = logging.Formatter()


class LogTap:
    """Gives every log line of this process to the exporters that want them."""

    def __init__(self) -> None:
        self._handler: TapHandler | None = None

    def feed(self, queues: tuple[Queue[LogLine], ...]) -> None:
        """Give lines to these from now on; nothing is listened to where there are none."""
        root = logging.getLogger()
        if self._handler is not None:
            root.removeHandler(self._handler)
            self._handler = None
        if queues:
            self._handler = TapHandler(queues)
            root.addHandler(self._handler)


class TapHandler(logging.Handler):
    """Puts log lines into the queues of exporters."""

    def __init__(self, queues: tuple[Queue[LogLine], ...]) -> None:
        super().__init__()
        self._queues = queues
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_OWN):
            return
        try:
            line = line_of(record)
        except Exception:
            # a line whose arguments do not fit it is no reason to fail for who wrote it; see logging.Handler
            self.handleError(record)
            return
        if threading.get_ident() == self._thread:
            self._put(line)
            return
        try:
            self._token.run_sync_soon(self._put, line)
        except trio.RunFinishedError:
            return  # the flow is over: nobody exports any more

    def _put(self, line: LogLine) -> None:
        for queue in self._queues:
            queue.put((line,))


def line_of(record: logging.LogRecord) -> LogLine:
    """A log record as exporters are given it, with the span that its task works for."""
    attributes: dict[str, Value] = {}
    if record.exc_info and record.exc_info[0] is not None:
        attributes["exception.type"] = record.exc_info[0].__name__
        attributes["exception.message"] = str(record.exc_info[1])[:MOST_TEXT]
        # the end says where it went wrong
        attributes["exception.stacktrace"] = _FORMATTER.formatException(record.exc_info)[
            -MOST_TEXT:
        ]
    span = current_span()
    if span is not None and span.trace.request:
        attributes["flowcore.request.id"] = span.trace.request
    return LogLine(
        time=round(record.created * 1e9),
        level=record.levelno,
        logger=record.name,
        message=record.getMessage()[:MOST_TEXT],
        trace_id="" if span is None else span.trace.trace_id,
        span_id="" if span is None else span.doing,
        attributes=attributes,
    )
