"""Feeding an exporter, in virtual time: what is under way at the end, sent again, or finds no room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio
from trio.testing import MockClock

from flowcore.telemetry import (
    ExporterSettings,
    ExportFailed,
    Exporting,
    LogLine,
    Page,
    Signal,
    SpanRecord,
)
from support.spans import span


class Taking:
    """An exporter that does what a test tells it to."""

    signals: frozenset[Signal] = frozenset({"traces"})
    pages: Mapping[str, Callable[[str], Awaitable[Page]]] = {}

    def __init__(self, answers: Sequence[Exception | None] = ()) -> None:
        self.answers = list(answers)
        self.batches: list[int] = []
        self.times: list[float] = []
        self.came = trio.Event()
        self.hold: trio.Event | None = None

    async def send_spans(self, spans: Sequence[SpanRecord]) -> None:
        self.batches.append(len(spans))
        self.times.append(trio.current_time())
        self.came.set()
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer

    async def send_logs(self, lines: Sequence[LogLine]) -> None: ...

    async def send_metrics(self, snapshot: Any) -> None: ...

    def status(self) -> dict[str, Any]:
        return {}


def feeding(exporter: Taking, **settings: Any) -> Exporting:
    return Exporting("to", ExporterSettings(**settings), exporter, None, lambda _: None)


async def test_what_is_under_way_at_the_end_is_still_sent(autojump_clock: MockClock) -> None:
    del autojump_clock
    exporter = Taking()
    exporter.hold = trio.Event()
    exporting = feeding(exporter)
    exporting.spans.put([span(number) for number in range(64)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporting.run)
        await exporter.came.wait()
        exporting.close()
        await trio.testing.wait_all_tasks_blocked()
        exporter.hold.set()
    await exporting.finish(1.0)
    assert (exporting.counts["traces"].sent, exporting.counts["traces"].dropped) == (64, 0)


async def test_what_is_asked_for_again_is_sent_again_later_each_time(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    again = [ExportFailed("busy", again=True, retry_after=wait) for wait in (None, 3.0, None, None)]
    exporter = Taking(again)
    exporting = feeding(exporter, delay=0.0)
    exporting.spans.put([span(1)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporting.run)
        while not exporting.counts["traces"].sent:  # noqa: ASYNC110 - time is virtual
            await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    first = exporter.times[0]
    assert [round(time - first, 3) for time in exporter.times] == [0.0, 0.1, 3.1, 3.5, 4.3]
    assert exporting.counts["traces"].dropped == 0
    assert exporting.counts["traces"].failures == 4


async def test_what_waits_for_another_attempt_at_the_end_has_one_more(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    exporter = Taking([ExportFailed("busy", again=True, retry_after=50.0)])
    exporting = feeding(exporter, delay=0.0, batch=8)
    exporting.spans.put([span(number) for number in range(20)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporting.run)
        await exporter.came.wait()
        await trio.testing.wait_all_tasks_blocked()
        exporting.close()
    await exporting.finish(1.0)
    assert exporter.batches == [8, 8, 8, 4]
    assert (exporting.counts["traces"].sent, exporting.counts["traces"].dropped) == (20, 0)


async def test_a_batch_waits_for_no_more_than_its_delay(autojump_clock: MockClock) -> None:
    del autojump_clock
    exporter = Taking()
    exporting = feeding(exporter, delay=1.0, batch=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporting.run)
        start = trio.current_time()
        exporting.spans.put([span(1)])
        await trio.sleep(1.5)
        exporting.spans.put([span(number) for number in range(9)])
        await trio.sleep(1.5)
        nursery.cancel_scope.cancel()
    assert exporter.batches == [1, 4, 4, 1]
    assert [round(time - start, 3) for time in exporter.times] == [1.0, 1.5, 1.5, 2.5]


async def test_an_exporter_that_crashes_is_told_of_and_goes_on(autojump_clock: MockClock) -> None:
    del autojump_clock
    exporter = Taking([ZeroDivisionError("oops"), ExportFailed("some", lost=1), None])
    told: list[str] = []
    exporting = Exporting("to", ExporterSettings(delay=0.0, batch=2), exporter, None, told.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporting.run)
        for _ in range(3):
            exporting.spans.put([span(1), span(2)])
            await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    counts = exporting.counts["traces"]
    assert (counts.sent, counts.dropped, counts.failures) == (3, 3, 2)
    assert told == ["traces: ZeroDivisionError: oops", "traces: some", ""]
    assert exporting.status()["trouble"] == {}
