"""Log lines on stderr: text for people, or one JSON object a line for machines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from flowcore.agents.reasons import reason_of
from flowcore.cli.pipes import PipeHandler, pipe_of
from flowcore.telemetry import LEVELS, TapHandler, current_span, restore_levels, set_level


class TextFormatter(logging.Formatter):
    """`12:30:01 warning flowcore.agents.agent: agent time is failed: ...`"""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        text = f"{time} {record.levelname.lower():7} {record.name}: {record.getMessage()}"
        if record.exc_info and record.levelno >= logging.ERROR:
            text += "\n" + self.formatException(record.exc_info)
        elif record.exc_info and record.exc_info[1] is not None:
            text += f": {reason_of(record.exc_info[1])}"
        span = current_span()
        if span is not None:
            text += f" [trace {span.trace.trace_id}, request {span.trace.request}]"
        return text


class JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339), level, logger, message; the ids of trace, span and request, where
    it is said in the course of one; the exception, where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        span = current_span()
        if span is not None:
            line["trace_id"], line["span_id"] = span.trace.trace_id, span.id
            line["request"] = span.trace.request
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up_logs(level: str, form: str, levels: Mapping[str, str] | None = None) -> None:
    """Send flowcore's and its plugins' log lines to stderr; called again to change level or form.

    `levels` are those of loggers by name; all others tell what they told before somebody changed it.
    """
    root = logging.getLogger()
    handler = (
        next((one for one in root.handlers if isinstance(one, PipeHandler)), None) or _handler()
    )
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root.handlers[:] = [handler, *(one for one in root.handlers if isinstance(one, TapHandler))]
    restore_levels()
    set_level("", LEVELS[level])
    for name, least in (levels or {}).items():
        set_level(name, LEVELS[least])


def _handler() -> logging.Handler:
    try:
        return PipeHandler(pipe_of(sys.stderr.fileno()))
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return logging.StreamHandler(sys.stderr)
