"""`console`: a line for each span, and log line, on stderr or stdout, for who tries things out.

Lines are written in a thread: a terminal that does not read holds up this exporter and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar

import attrs
import msgspec
import trio

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.telemetry import Exporter, ExportFailed, LogLine, Page, Signal, SpanRecord

T = TypeVar("T")
_AT_ONCE: Final = 64
"""Lines that are made without others having their turn."""
_DESCRIPTORS = {"stdout": 1, "stderr": 2}


@attrs.frozen(kw_only=True)
class ConsoleConfig:
    """What is written, where, and how."""

    signals: tuple[Literal["traces", "logs"], ...] = setting(
        ("traces",), validator=v.non_empty(), help="what is written: `traces`, `logs`"
    )
    to: Literal["stderr", "stdout"] = setting("stderr", help="where it is written")
    format: Literal["text", "json"] = setting(
        "text", help="lines for people, or one JSON object a line for machines"
    )


class Console:
    """Writes lines."""

    pages: Mapping[str, Callable[[str], Awaitable[Page]]] = {}

    def __init__(self, config: ConsoleConfig) -> None:
        self.signals: frozenset[Signal] = frozenset(config.signals)
        self._descriptor = _DESCRIPTORS[config.to]
        self._json = config.format == "json"
        self._limiter = trio.CapacityLimiter(1)
        self._written = 0

    async def send_spans(self, spans: Sequence[SpanRecord]) -> None:
        """Write a line for each span."""
        await self._write(span_json if self._json else span_text, spans)

    async def send_logs(self, lines: Sequence[LogLine]) -> None:
        """Write each line."""
        await self._write(log_json if self._json else log_text, lines)

    async def send_metrics(self, snapshot: Any) -> None:
        """Nothing: it is not asked to."""

    async def _write(self, line: Callable[[T], str], items: Sequence[T]) -> None:
        pieces = []
        for start in range(0, len(items), _AT_ONCE):
            if start:
                await trio.lowlevel.checkpoint()
            pieces += [f"{line(one)}\n" for one in items[start : start + _AT_ONCE]]
        data = "".join(pieces).encode("utf-8", "replace")
        try:
            # a thread that nobody reads from is left behind, and the next one waits for it
            await trio.to_thread.run_sync(
                self._write_all, data, abandon_on_cancel=True, limiter=self._limiter
            )
        except OSError as error:
            raise ExportFailed(f"nobody reads: {error.strerror}") from error
        self._written += len(data)

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def status(self) -> dict[str, Any]:
        """How many bytes were written."""
        return {"bytes": self._written}


def span_text(span: SpanRecord) -> str:
    """`12:30:01.250 4bf92f35 server   12.3 ms  tools/call time.now  gen_ai.tool.name=now ...`"""
    said = " ".join(f"{key}={_word(value)}" for key, value in sorted(span.attributes.items()))
    failed = f"  FAILED {span.error}" if span.failed else ""
    return (
        f"{_clock(span.start)} {span.trace_id[:8]} {span.kind.name.lower():8}"
        f" {(span.end - span.start) / 1e6:9.3f} ms  {span.name}{failed}  {said}"
    ).rstrip()


def log_text(line: LogLine) -> str:
    """`12:30:01.250 4bf92f35 warning  flowcore.agents.agent: ...`"""
    trace = line.trace_id[:8] or "-" * 8
    return f"{_clock(line.time)} {trace} {_level(line.level):8} {line.logger}: {line.message}"


def span_json(span: SpanRecord) -> str:
    """The span as one JSON object; times in nanoseconds of Unix time."""
    return msgspec.json.encode({**msgspec.structs.asdict(span), "kind": span.kind.name}).decode()


def log_json(line: LogLine) -> str:
    """The line as one JSON object."""
    return msgspec.json.encode(line).decode()


def _word(value: object) -> str:
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return text if text.isprintable() and " " not in text else repr(text)


def _clock(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds / 1e9, UTC).astimezone()
    return moment.strftime("%H:%M:%S.%f")[:-3]


def _level(level: int) -> str:
    return ("debug", "info", "warning", "error", "critical")[min(4, max(0, level // 10 - 1))]


@asynccontextmanager
async def open_console(config: ConsoleConfig, context: Context) -> AsyncGenerator[Exporter]:
    """Write until the block is left."""
    del context
    yield Console(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("exporter", "console", ConsoleConfig, open_console, stability="beta"))
