"""What holds for every exporter: it says what it wants, and takes a batch or says that it did not."""

from __future__ import annotations

import trio

from flowcore.assembly import Status
from flowcore.telemetry import (
    SIGNALS,
    Exporter,
    ExportFailed,
    LogLine,
    Page,
    Signal,
    SpanKind,
    SpanRecord,
)
from flowcore.testing.bench import NAME, Bench
from flowcore.testing.findings import Wrong

_WAIT = 5.0
"""Seconds that an exporter may take for a batch before the core would have left it long ago."""


def _spans(count: int) -> list[SpanRecord]:
    return [
        SpanRecord(
            name=f"tools/call {'x' * (number % 50)}é\u2028",
            kind=list(SpanKind)[number % 3],
            trace_id=f"{number + 1:032x}",
            span_id=f"{number + 1:016x}",
            parent_id="" if number % 2 else "00f067aa0ba902b7",
            flags=number % 2,
            start=1_700_000_000_000_000_000,
            end=1_700_000_000_000_000_000 + number,
            attributes={
                "text": 'quotes " and \x00',
                "count": number - 3,
                "share": 0.5,
                "yes": True,
                "names": ("a", ""),
            },
            error="it failed" if number % 3 else "",
            failed=bool(number % 3),
        )
        for number in range(count)
    ]


def _lines(count: int) -> list[LogLine]:
    return [
        LogLine(
            time=1_700_000_000_000_000_000,
            level=10 * (number % 6),
            logger="a.b",
            message="said\nin two lines é",
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736" if number % 2 else "",
            span_id="00f067aa0ba902b7" if number % 2 else "",
        )
        for number in range(count)
    ]


async def says_what_it_wants(bench: Bench) -> None:
    """its signals are traces, metrics and logs, or it has pages that begin with a slash"""
    async with bench.opened() as exporter:
        signals: frozenset[Signal] = exporter.signals
        strange = {*signals} - {*SIGNALS}
        if strange:
            raise Wrong(f"there is no signal {min(map(repr, strange))}")
        if not signals and not exporter.pages:
            raise Wrong("it wants nothing and has no page: it exports nothing")
        for path in exporter.pages:
            if not path.startswith("/") or path == "/":
                raise Wrong(f"expected a page's path to begin with a slash, not {path!r}")


async def takes_or_says_that_it_did_not(bench: Bench) -> None:
    """one and 64 spans and lines, of any text, are taken, or ExportFailed says why not, in time"""
    async with bench.opened() as exporter:
        for count in (1, 64):
            if "traces" in exporter.signals:
                await _within("spans", exporter, count)
            if "logs" in exporter.signals:
                await _within("lines", exporter, count)


async def _within(what: str, exporter: Exporter, count: int) -> None:
    with trio.move_on_after(_WAIT) as scope:
        try:
            if what == "spans":
                await exporter.send_spans(_spans(count))
            else:
                await exporter.send_logs(_lines(count))
        except ExportFailed:
            return  # told as it should be: there may be nobody to take it where it is tried
    if scope.cancelled_caught:
        raise Wrong(f"{count} {what} take it longer than {_WAIT:g} s")


async def answers_who_fetches(bench: Bench) -> None:
    """its pages are given as a Page, for any Accept header"""
    async with bench.opened() as exporter:
        for path, page in exporter.pages.items():
            for accept in ("", "text/plain", "*/*;q=0.5, nonsense/", "\u00e9"):
                given = await page(accept)
                if not isinstance(given, Page):
                    raise Wrong(f"{path} gives {given!r:.100}, not a Page")


async def says_what_it_did(bench: Bench) -> None:
    """its status is plain data"""
    async with bench.opened() as exporter:
        status = exporter.status()
        if not isinstance(status, dict):
            raise Wrong(f"its status is {status!r:.100}, not a dict")


async def lives_in_a_flow(bench: Bench) -> None:
    """in a flow it is open, is fed, and lets a flow end"""
    async with bench.flow() as flow:
        if NAME not in flow.telemetry.exporters:
            told = [one for one in flow.components() if one.component == bench.path]
            raise Wrong(f"it does not open: {told[0].reason if told else 'nobody knows why'}")
        await flow.call("flow.status", {})
        statuses = {one.component: one.status for one in flow.components()}
        if statuses[bench.path] not in (Status.OK, Status.DEGRADED):
            raise Wrong(f"it is {statuses[bench.path].value}")
