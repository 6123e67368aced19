"""Feeding one exporter: what waits is bounded, what takes too long is left, and nobody waits for any of it.

Whoever has something to export puts it into a queue and goes on. One task for each signal takes it out, in
batches, and has the exporter send them. A batch that was refused and may be sent again is, with back-off; all
else that did not arrive is dropped, and counted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, overload

import attrs
import trio

from flowcore.telemetry.interfaces import Exporter, ExportFailed, Signal
from flowcore.telemetry.noted import WHOLE, Noted
from flowcore.telemetry.records import LogLine, SpanRecord
from flowcore.telemetry.settings import ExporterSettings
from flowcore.telemetry.tracing import Trace

logger = logging.getLogger(__name__)

T = TypeVar("T")
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds between two attempts to send a batch that may be sent again: twice as long each time."""
LONGEST_ASKED = 60.0
"""Seconds that a collector may ask to be left alone."""


@attrs.define(eq=False)
class Counts:
    """What became of the spans, log lines or snapshots for an exporter, since the flow opened."""

    sent: int = 0
    dropped: int = 0
    """Those that found no room, or that did not arrive."""
    failures: int = 0
    """Attempts to send a batch that failed."""


class Queue(Generic[T]):
    """What waits for an exporter, at most so much."""

    def __init__(self, most: int, batch: int, counts: Counts) -> None:
        self._most = most
        self._batch = batch
        self._items: deque[T] = deque()
        self._some = trio.Event()
        self._full = trio.Event()
        self._closed = False
        self.counts = counts

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Sequence[T]) -> None:
        """Have these wait, as far as there is room. Never blocks."""
        room = max(0, self._most - len(self))
        if room < len(items):
            self.counts.dropped += len(items) - room
            items = items[:room]
        self._items.extend(items)
        if self._items:
            self._some.set()
        if len(self) >= self._batch:
            self._full.set()

    async def wait(self, delay: float) -> None:
        """Wait until there is something, and then until there is a batch of it, or `delay` has passed; less
        where it is closed."""
        while not len(self) and not self._closed:
            self._some = trio.Event()
            await self._some.wait()
        if len(self) < self._batch and not self._closed:
            self._full = trio.Event()
            with trio.move_on_after(delay):
                await self._full.wait()

    def close(self) -> None:
        """Nobody is to wait for more."""
        self._closed = True
        self._some.set()
        self._full.set()

    def reopen(self) -> None:
        """Somebody comes for what is in it, and for more."""
        self._closed = False

    def restore(self, items: Sequence[T]) -> None:
        """Have what was taken wait again, before all else."""
        self._items.extendleft(reversed(items))

    def take(self) -> Sequence[T]:
        """The oldest ones, a batch at most."""
        items = self._items
        return [items.popleft() for _ in range(min(self._batch, len(items)))]

    def drop(self) -> None:
        """Nobody will come for them."""
        self.counts.dropped += len(self._items)
        self._items.clear()


class Batch(Sequence[SpanRecord]):
    """Spans on their way to an exporter. Those of ordinary traces are made when somebody looks at them."""

    def __init__(self, items: Sequence[SpanRecord | Noted], size: int) -> None:
        self.items = items
        """Spans, and whole traces as what was noted of them, for an exporter that has its own way to put
        those into bytes; each stands for three spans."""
        self._size = size
        self._spans: list[SpanRecord] | None = None

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[SpanRecord]:
        for one in self.items:
            if isinstance(one, Noted):
                yield from one.records()
            else:
                yield one

    @overload
    def __getitem__(self, index: int) -> SpanRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SpanRecord]: ...
    def __getitem__(self, index: int | slice) -> SpanRecord | Sequence[SpanRecord]:
        if self._spans is None:
            self._spans = list(self)
        return self._spans[index]


class Spans(Queue[SpanRecord]):
    """Spans that wait for an exporter. Ordinary traces wait as what was noted of them: spans are made of
    those when the exporter comes for them, and not while others wait for their answers."""

    def __init__(self, most: int, batch: int, counts: Counts) -> None:
        super().__init__(most, batch, counts)
        self._waiting: deque[SpanRecord | Trace | Noted] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, items: Sequence[SpanRecord]) -> None:
        room = max(0, self._most - self._size)
        if room < len(items):
            self.counts.dropped += len(items) - room
            items = items[:room]
        self._waiting.extend(items)
        self._size += len(items)
        self._wake()

    def put_noted(self, trace: Trace | Noted) -> None:
        """Have an ordinary trace wait that has ended, if there is room. Never blocks."""
        before = self._size
        count = WHOLE if type(trace) is Noted and trace.whole() else trace.count
        size = before + count
        if size > self._most:
            self.counts.dropped += count
            return
        self._waiting.append(trace)
        self._size = size
        if not before or size >= self._batch > before:
            self._wake()

    def _wake(self) -> None:
        if self._size:
            self._some.set()
        if self._size >= self._batch:
            self._full.set()

    def restore(self, items: Sequence[SpanRecord]) -> None:
        whole = items.items if isinstance(items, Batch) else items
        self._waiting.extendleft(reversed(whole))
        self._size += len(items)

    def take(self) -> Batch:
        waiting, most = self._waiting, self._batch
        items: list[SpanRecord | Noted] = []
        size = 0
        while waiting and size < most:
            first = waiting.popleft()
            if type(first) is Noted and size + WHOLE <= most and first.whole():
                items.append(first)
                size += WHOLE
            elif isinstance(first, SpanRecord):
                items.append(first)
                size += 1
            else:
                records = first.records()
                waiting.extendleft(reversed(records[most - size :]))
                items += records[: most - size]
                size += len(records[: most - size])
        self._size -= size
        return Batch(items, size)

    def drop(self) -> None:
        self.counts.dropped += self._size
        self._waiting.clear()
        self._size = 0


class Backlog:
    """What waits for an exporter, and what became of all that was for it, in all its lives.

    It is fed while the exporter is not open yet, or crashed and is not open again, too: what there is no room
    for is counted.
    """

    def __init__(self, settings: ExporterSettings) -> None:
        self.counts: dict[Signal, Counts] = {}
        most, batch = settings.queue, settings.batch
        self.spans = Spans(most, batch, Counts())
        self.lines = Queue[LogLine](most, batch, Counts())

    def take_up(self, signals: Iterable[Signal]) -> None:
        """An exporter of these signals comes for what there is."""
        signals = frozenset(signals)
        for signal in sorted(signals):
            self.counts.setdefault(signal, Counts())
        for signal, queue in (("traces", self.spans), ("logs", self.lines)):
            if signal not in signals:  # it was not known before it was open
                self.counts.pop(signal, None)
                queue.counts = Counts()
                queue.drop()
        self.spans.counts = self.counts.get("traces", self.spans.counts)
        self.lines.counts = self.counts.get("logs", self.lines.counts)
        self.spans.reopen()
        self.lines.reopen()

    def close(self) -> None:
        """Nobody is to wait for more."""
        self.spans.close()
        self.lines.close()

    def drop(self) -> None:
        """Nobody will come for what waits."""
        self.spans.drop()
        self.lines.drop()

    def status(self) -> dict[str, Any]:
        """What became of all there was, and what waits."""
        waiting = {"traces": len(self.spans), "logs": len(self.lines), "metrics": 0}
        return {
            signal: {**attrs.asdict(counts), "waiting": waiting[signal]}
            for signal, counts in sorted(self.counts.items())
        }


class Exporting:
    """One exporter, fed."""

    def __init__(
        self,
        name: str,
        settings: ExporterSettings,
        exporter: Exporter,
        snapshot: Callable[[], Awaitable[Any]] | None,
        report: Callable[[str], None],
        backlog: Backlog | None = None,
    ) -> None:
        """`snapshot` gives the metrics as they are; `report` is told why it does not work, "" when it does
        again; `backlog` is what an earlier one of this name left."""
        self.name = name
        self.exporter = exporter
        self._settings = settings
        self._snapshot = snapshot
        self._report = report
        self.signals = exporter.signals
        self.backlog = Backlog(settings) if backlog is None else backlog
        self.backlog.take_up(self.signals)
        self.counts = self.backlog.counts
        self.spans, self.lines = self.backlog.spans, self.backlog.lines
        self._why: dict[Signal, str] = {}
        self._closing = trio.Event()

    async def run(self) -> None:
        """Send what comes, until it is closed: then what is under way is still sent."""
        async with trio.open_nursery() as nursery:
            if "traces" in self.signals:
                nursery.start_soon(self._carry, "traces", self.spans, self.exporter.send_spans)
            if "logs" in self.signals:
                nursery.start_soon(self._carry, "logs", self.lines, self.exporter.send_logs)
            if "metrics" in self.signals and self._snapshot is not None:
                nursery.start_soon(self._measure, self._snapshot)

    def close(self) -> None:
        """Begin with nothing more; see `run`."""
        self._closing.set()
        self.backlog.close()

    async def finish(self, seconds: float) -> None:
        """Send what waits, and the metrics once more, within so many seconds; the rest is dropped."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._empty, "traces", self.spans, self.exporter.send_spans)
                nursery.start_soon(self._empty, "logs", self.lines, self.exporter.send_logs)
                if "metrics" in self.signals and self._snapshot is not None:
                    nursery.start_soon(self._measure_once, self._snapshot)
        self.backlog.drop()

    async def _carry(
        self, signal: Signal, queue: Queue[T], send: Callable[[Sequence[T]], Awaitable[None]]
    ) -> None:
        while not self._closing.is_set():
            await queue.wait(self._settings.delay)
            if self._closing.is_set():
                return
            batch = queue.take()
            sending = partial(send, batch)
            settled = False
            wait = FIRST_WAIT
            try:
                while (asked := await self._sent(signal, len(batch), sending)) is not None:
                    with trio.move_on_after(max(wait, asked)):
                        await self._closing.wait()
                        queue.restore(batch)
                        settled = True
                        return
                    wait = min(2 * wait, LONGEST_WAIT)
                settled = True
            finally:
                if not settled:
                    queue.counts.dropped += len(batch)

    async def _empty(
        self, signal: Signal, queue: Queue[T], send: Callable[[Sequence[T]], Awaitable[None]]
    ) -> None:
        while batch := queue.take():
            sent = False
            try:
                sent = await self._sent(signal, len(batch), partial(send, batch)) is None
            finally:
                if not sent:
                    queue.counts.dropped += len(batch)
            if not sent:
                return  # who does not take one now will not take the others

    async def _measure(self, snapshot: Callable[[], Awaitable[Any]]) -> None:
        while not self._closing.is_set():
            with trio.move_on_after(self._settings.interval):
                await self._closing.wait()
                return
            await self._measure_once(snapshot)

    async def _measure_once(self, snapshot: Callable[[], Awaitable[Any]]) -> None:
        async def send() -> None:
            await self.exporter.send_metrics(await snapshot())

        if await self._sent("metrics", 1, send) is not None:
            self.counts["metrics"].dropped += 1  # newer ones will say the same, and more

    async def _sent(
        self, signal: Signal, size: int, send: Callable[[], Awaitable[None]]
    ) -> float | None:
        """One attempt: None once nothing more can be done for it, else how long to leave them alone."""
        counts = self.counts[signal]
        try:
            with trio.move_on_after(self._settings.timeout) as scope:
                await send()
            if scope.cancelled_caught:
                # it may have arrived: sent again, it might be there twice
                self._failed(signal, f"took longer than {self._settings.timeout:g} s", size)
                return None
        except ExportFailed as error:
            if error.again:
                self._failed(signal, str(error), 0)
                return min(error.retry_after or 0.0, LONGEST_ASKED)
            lost = size if error.lost is None else min(size, error.lost)
            counts.sent += size - lost
            self._failed(signal, str(error), lost)
        except Exception as error:
            self._failed(signal, f"{type(error).__name__}: {error}"[:300], size)
        else:
            counts.sent += size
            self._well(signal)
        return None

    def _failed(self, signal: Signal, why: str, lost: int) -> None:
        counts = self.counts[signal]
        counts.failures += 1
        counts.dropped += lost
        if signal not in self._why:
            logger.warning("exporter %s does not get rid of %s: %s", self.name, signal, why)
        self._why[signal] = why
        self._report("; ".join(f"{one}: {said}" for one, said in self._why.items()))

    def _well(self, signal: Signal) -> None:
        if self._why.pop(signal, None) is not None:
            logger.info("exporter %s gets rid of %s again", self.name, signal)
            self._report("; ".join(f"{one}: {said}" for one, said in self._why.items()))

    def status(self) -> dict[str, Any]:
        """What it did, measured, as plain data that JSON can carry."""
        return {"trouble": dict(self._why), **self.backlog.status(), **self.exporter.status()}
