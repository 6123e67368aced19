"""A node's telemetry: its tracer, the traces that ended lately, and its exporters."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import attrs

from flowcore.telemetry.exporting import Backlog, Counts, Exporting
from flowcore.telemetry.interfaces import Page, Signal
from flowcore.telemetry.logs import LogTap
from flowcore.telemetry.noted import Noted
from flowcore.telemetry.settings import ExporterSettings, TelemetrySettings
from flowcore.telemetry.tracer import Tracer
from flowcore.telemetry.tracing import Trace
from flowcore.telemetry.views import spans_of

MOST_REMEMBERED = 50_000
"""Spans of all traces that are remembered: of large ones there are fewer."""


class Telemetry:
    """What a node tells of itself. Lives as long as its flow."""

    def __init__(
        self,
        settings: TelemetrySettings,
        *,
        node: str,
        version: str,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.resource: Mapping[str, str] = {
            "service.name": "flowcore",
            "service.version": version,
            "service.instance.id": node,
        }
        """Who tells it, in OpenTelemetry's terms."""
        self._most = settings.recent
        self._noted: deque[Trace | Noted] = deque(maxlen=settings.recent)
        """Ordinary traces that ended, the latest last: of each request but one line of C is asked here."""
        self._recorded: deque[Trace] = deque()
        """The others."""
        self._remembered = 0
        """Spans of the latter."""
        self.exporters: dict[str, Exporting] = {}
        """Those that are open now, by name."""
        self._backlogs: dict[str, Backlog] = {}
        """What waits for each, though it has crashed, by name."""
        self._fed: dict[str, Exporting] = {}
        """Those that are given what there is, though they may have crashed, by name."""
        self._expected: dict[str, Backlog] = {}
        """What waits for those that have not been open yet, by name: what they want is not known."""
        self._of_traces: tuple[Backlog, ...] = ()
        self._tap = LogTap()
        self.tracer = Tracer(
            sampling=settings.sampling,
            now=now,
            wall=wall,
            export=self._export,
            remember=self._remember,
            recent=self._noted,
        )
        """Who records requests, while it is enabled."""
        self.retune(settings)

    def retune(self, settings: TelemetrySettings) -> None:
        """Have these settings from now on, as far as they are reloadable."""
        self.settings = attrs.evolve(
            self.settings,
            enabled=settings.enabled,
            sampling=settings.sampling,
            content=settings.content,
        )
        self.tracer.enabled = settings.enabled
        self.tracer.content = settings.content
        self.tracer.resample(settings.sampling)

    def _export(self, trace: Trace | Noted) -> None:
        if isinstance(trace, Noted) or trace.spans is None:
            for one in self._of_traces:
                one.spans.put_noted(trace)
        elif self._of_traces:
            records = trace.records()
            for one in self._of_traces:
                one.spans.put(records)

    def _remember(self, trace: Trace) -> None:
        recorded = self._recorded
        recorded.append(trace)
        trace.size = trace.count
        self._remembered += trace.size
        while len(recorded) > self._most or self._remembered > MOST_REMEMBERED:
            oldest = recorded.popleft()
            self._remembered -= oldest.size
            oldest.forget()

    @property
    def recent(self) -> list[Trace]:
        """Traces that ended, the latest last."""
        noted = [one.trace() if isinstance(one, Noted) else one for one in self._noted]
        self._noted.clear()
        self._noted.extend(noted)  # those who look again are told of the same
        both = sorted((*noted, *self._recorded), key=_end)
        return both[-self._most :] if self._most else []

    # ---- exporters

    def backlog(self, name: str, settings: ExporterSettings) -> Backlog:
        """What waits for the exporter of a name."""
        backlog = self._backlogs.get(name)
        if backlog is None:
            backlog = self._backlogs[name] = Backlog(settings)
        return backlog

    def expect(self, name: str, settings: ExporterSettings) -> None:
        """Have what there is wait for the exporter of this name from now on, though it is not open yet."""
        backlog = self._expected[name] = self.backlog(name, settings)
        backlog.take_up(("traces", "logs"))
        self._settle()

    def counts(self, name: str) -> dict[Signal, Counts]:
        """What became of what was for an exporter, in all its lives."""
        backlog = self._backlogs.get(name)
        return {} if backlog is None else backlog.counts

    def attach(self, exporting: Exporting) -> None:
        """Give this exporter what there is from now on."""
        self.exporters[exporting.name] = self._fed[exporting.name] = exporting
        self._expected.pop(exporting.name, None)
        self._settle()
        exporting.backlog.take_up(exporting.signals)

    def crashed(self, exporting: Exporting) -> None:
        """It is no more, and another will come for what there is meanwhile."""
        if self.exporters.get(exporting.name) is exporting:
            del self.exporters[exporting.name]

    def detach(self, name: str) -> None:
        """Give the exporter of this name nothing more."""
        self.exporters.pop(name, None)
        self._fed.pop(name, None)
        self._expected.pop(name, None)
        self._settle()

    def _settle(self) -> None:
        fed = tuple(self._fed.values())
        expected = tuple(self._expected.values())
        self._of_traces = (
            *(one.backlog for one in fed if "traces" in one.signals),
            *expected,
        )
        self._tap.feed(
            (
                *(one.lines for one in fed if "logs" in one.signals),
                *(one.lines for one in expected),
            )
        )

    @property
    def pages(self) -> dict[str, Callable[[str], Awaitable[Page]]]:
        """What exporters have to be fetched, by path."""
        return {
            path: page
            for one in self.exporters.values()
            for path, page in one.exporter.pages.items()
        }

    # ---- what is known

    def find(self, id_: str) -> list[Trace]:
        """The traces of an id that are remembered, oldest first: a trace's, or a request's."""
        return [one for one in self.recent if id_ in (one.trace_id, one.request)]

    def spans(self, id_: str) -> list[dict[str, Any]]:
        """The spans of a trace, or of a request's trace, that are remembered, as plain data."""
        node = self.resource["service.instance.id"]
        recent = self.recent
        ids = {one.trace_id for one in recent if id_ in (one.trace_id, one.request)}
        return [span for one in recent if one.trace_id in ids for span in spans_of(one, node)]

    def latest(self) -> Iterator[Trace]:
        """The traces that are remembered, latest first."""
        return reversed(self.recent)

    def status(self) -> dict[str, Any]:
        """What it measures of itself, as plain data that JSON can carry."""
        tracer = self.tracer
        return {
            "sampling": self.settings.sampling,
            "traces": {
                "begun": tracer.begun,
                "kept": tracer.kept,
                "malformed": tracer.malformed,
                "recent": min(self._most, len(self._noted) + len(self._recorded)),
            }
            if tracer.enabled
            else None,
            "exporters": {name: self._status_of(name) for name in sorted(self._backlogs)},
        }

    def _status_of(self, name: str) -> dict[str, Any]:
        exporting = self.exporters.get(name)
        if exporting is None:
            return {"trouble": {}, **self._backlogs[name].status()}
        return exporting.status()

    def exported(self) -> Iterator[tuple[str, Backlog]]:
        """What waits for each exporter, and what became of all there was."""
        yield from self._backlogs.items()


def _end(trace: Trace | Noted) -> float:
    return trace.end
