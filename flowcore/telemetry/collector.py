"""Reading all metrics of a node, a slice of the event loop's time at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import trio

from flowcore.telemetry.gathering import Gathering, Sums
from flowcore.telemetry.lateness import Lateness
from flowcore.telemetry.metrics import Measured, Metric, Reading, counter, gauge, histogram
from flowcore.telemetry.process import read_process
from flowcore.telemetry.snapshot import Family, Point, Snapshot

logger = logging.getLogger(__name__)

Read = Callable[[], Iterable[Reading]]
"""Gives readings, of one moment, in less than a millisecond."""

SLICE = 0.002
"""Seconds for which the event loop is held, before others have their turn; one `Read` may go beyond it."""

INFO = gauge(
    "flowcore.node.info",
    "{node}",
    "1; the node and its version are labels.",
    "node",
    "service_version",
)
TAKEN = counter("flowcore.metrics.snapshots", "{snapshot}", "Times that the metrics were read.")
FAILURES = counter(
    "flowcore.metrics.failures",
    "{failure}",
    "Times that a component's metrics could not be read; its log line says why.",
    "component",
)
LEFT_OUT = counter(
    "flowcore.metrics.left_out", "{point}", "Points that were left out of snapshots as too many."
)
LATENESS = histogram(
    "flowcore.loop.lateness",
    "s",
    "How much later than asked for a task had its turn, asked for each 0.1 s.",
)


class Metrics:
    """What is read, and how. One snapshot is taken at a time; who asks meanwhile is given the same."""

    def __init__(self, node: str, version: Callable[[], str]) -> None:
        self._node = node
        self._version = version
        self._started = time.time()
        self._sources: dict[object, tuple[str, Callable[[], Iterable[Read]]]] = {}
        self._sums = Sums()
        self._taken = 0
        self._left_out = 0
        self._failures: dict[str, int] = {}
        self._lateness = Lateness()
        self._watched = False
        self._taking: _Taking | None = None

    def add(self, component: str, reads: Callable[[], Iterable[Read]]) -> Callable[[], None]:
        """Read these from now on, until the returned function is called. `reads` gives parts: between two
        of them others may run. `component` is who is named if that fails."""
        key = object()
        self._sources[key] = component, reads
        return lambda: self._sources.pop(key, None) and None

    def add_measured(self, component: str, name: str, measured: Measured) -> Callable[[], None]:
        """The same for one that gives its readings at once."""

        def read() -> Iterable[Reading]:
            return measured.measure(name)

        return self.add(component, lambda: (read,))

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None]:
        """Within this block the event loop is watched: for whoever tells the metrics to others."""
        self._watched = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lateness.run)
            yield
            nursery.cancel_scope.cancel()

    @staticmethod
    def check(readings: Iterable[Reading]) -> None:
        """See whether readings are some. Raises WrongReading."""
        Gathering().take(readings)

    async def snapshot(self) -> Snapshot:
        """All metrics now. Never raises for what a component does wrong."""
        while (taking := self._taking) is not None:
            await taking.ended.wait()
            if taking.snapshot is not None:
                return taking.snapshot
        taking = self._taking = _Taking()
        try:
            taking.snapshot = await self._take()
            return taking.snapshot
        finally:
            self._taking = None
            taking.ended.set()

    async def _take(self) -> Snapshot:
        self._taken += 1
        process = await trio.to_thread.run_sync(read_process)
        gathering = Gathering()
        turn = _Turn()
        for component, reads in tuple(self._sources.values()):
            await self._read(component, reads, gathering, turn)
        gathering.take(process)
        self._left_out += gathering.left_out
        gathering.take(self._own())
        families: list[Family] = []
        for metric in gathering.metrics():
            points: list[Point] = []
            for some in gathering.points(metric, self._sums):
                points += some
                await turn.give()
            families.append(Family(metric, tuple(points)))
        return Snapshot(
            node=self._node,
            version=self._version(),
            started=self._started,
            time=time.time(),
            families=tuple(families),
        )

    async def _read(
        self,
        component: str,
        reads: Callable[[], Iterable[Read]],
        gathering: Gathering,
        turn: _Turn,
    ) -> None:
        try:
            for read in reads():
                gathering.take(read())
                await turn.give()
        except Exception:
            # one component's mistake must not keep the others from being seen
            count = self._failures[component] = self._failures.get(component, 0) + 1
            if count == 1:
                logger.exception("the metrics of %s cannot be read", component)

    def _own(self) -> Iterable[Reading]:
        yield INFO.of(1, self._node, self._version())
        yield TAKEN.of(self._taken)
        yield LEFT_OUT.of(self._left_out)
        for component, count in self._failures.items():
            yield FAILURES.of(count, component)
        if self._watched:
            yield LATENESS.of(self._lateness.histogram.distribution())


class _Taking:
    """A snapshot that is being taken, for those who wait for it."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.snapshot: Snapshot | None = None


class _Turn:
    """How long this task has held the event loop."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """Let others run, if it has been for long."""
        if time.perf_counter() - self._since > SLICE:
            await trio.lowlevel.checkpoint()
            self._since = time.perf_counter()


__all__ = ["Metric", "Metrics", "Read"]
