"""`flowctl trace`, `events` and `logs`: what was recorded, what happens, and how much is told."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from flowcore.cli.answers import LevelsAnswer, SpanLine, TraceAnswer, TracesAnswer
from flowcore.cli.node_client import NodeClient, Refused, Unreachable
from flowcore.cli.tables import seconds, table

_WIDTH = 40
"""Characters of the bar that shows when a span was, within its trace."""
_SHOWN = 3
_FIRST, _LONGEST = 0.25, 5.0
"""Seconds before a stream that ended is asked for again: twice as long each time."""
_PASSING = frozenset({429, 503})
"""Refusals that are over some time."""
_TELLING = (
    "error.type",
    "gen_ai.agent.name",
    "flowcore.worker",
    "flowcore.principal",
    "flowcore.edge",
)
"""Attributes that are shown beside a span, where it has them."""


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add `trace`, `events` and `logs`."""
    trace_ = commands.add_parser(
        "trace", parents=[common], help="the way of a request, as a tree; or the latest traces"
    )
    trace_.add_argument("id", nargs="?", help="the id of a trace, or of a request")
    trace_.add_argument(
        "--failed", action="store_true", help="of the latest only those that failed"
    )
    events_ = commands.add_parser("events", parents=[common], help="what happens, as it happens")
    events_.add_argument("--activity", action="store_true", help="also each call, begun and ended")
    events_.add_argument("--count", type=int, metavar="N", help="end after so many events")
    events_.add_argument(
        "--once",
        action="store_true",
        help="end with the stream, and do not wait for the node again",
    )
    logs_ = commands.add_parser(
        "logs", parents=[common], help="the levels of the node's loggers; or change one"
    )
    logs_.add_argument("action", nargs="?", choices=["level"], help="change a level")
    logs_.add_argument("logger", nargs="?", help="such as flowcore.swarm; `root` for all")
    logs_.add_argument("level", nargs="?", help="debug, info, warning, error, critical; or `unset`")


# ---- traces


def trace(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """One trace as a tree with bars, or a table of the latest."""
    if options.id is None:
        return _latest(options, node)
    answer, found = node.get(f"/traces/{quote(options.id, safe='')}", TraceAnswer)
    first = min(one.start for one in found.spans)
    last = max(one.start + one.seconds for one in found.spans)
    lines = [f"trace {found.trace_id}, {seconds(last - first)}"]
    if found.request:
        lines.append(f"request {found.request}")
    rows: list[tuple[str, SpanLine]] = []
    _walk(found.spans, rows)
    width = max(len(text) for text, _ in rows)
    for text, span in rows:
        bar = _bar(span, first, max(last - first, 1e-9))
        lines.append(f"{text:<{width}}  {bar}  {seconds(span.seconds):>8}  {_said(span)}".rstrip())
    if found.missing:
        lines.append(f"did not answer: {', '.join(found.missing)}")
    return answer, "\n".join(lines)


def _latest(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    answer, listed = node.get("/traces" + ("?failed=1" if options.failed else ""), TracesAnswer)
    rows = [
        [
            one.trace_id,
            datetime.fromtimestamp(one.start, UTC).astimezone().strftime("%H:%M:%S"),
            one.name,
            "failed" if one.failed else "ok",
            seconds(one.seconds),
            str(one.spans),
            one.error,
        ]
        for one in listed.traces
    ]
    head = ["trace", "began", "", "state", "took", "spans", ""]
    return answer, table(head, rows, state=3)


def _walk(spans: list[SpanLine], rows: list[tuple[str, SpanLine]]) -> None:
    """Each span after the one that it is part of, its children drawn under it."""
    known = {one.span_id for one in spans}
    children: dict[str, list[SpanLine]] = {}
    tops = []
    for one in spans:
        if one.parent_id in known and one.parent_id != one.span_id:
            children.setdefault(one.parent_id, []).append(one)
        else:
            tops.append(one)
    done: set[str] = set()

    def draw(span: SpanLine, before: str, mark: str, after: str) -> None:
        if span.span_id in done:  # two that say to be part of each other are drawn once
            return
        done.add(span.span_id)
        rows.append((f"{before}{mark}{span.name} ({span.node})", span))
        own = children.get(span.span_id, [])
        for number, child in enumerate(own, start=1):
            last = number == len(own)
            draw(child, before + after, "└ " if last else "├ ", "  " if last else "│ ")

    for top in [*tops, *spans]:
        draw(top, "", "", "")


def _bar(span: SpanLine, first: float, whole: float) -> str:
    start = min(_WIDTH - 1, int((span.start - first) / whole * _WIDTH))
    length = max(1, min(_WIDTH - start, round(span.seconds / whole * _WIDTH)))
    mark = "!" if span.failed else "="
    return (" " * start + mark * length).ljust(_WIDTH)


def _said(span: SpanLine) -> str:
    if span.failed and span.error:
        return span.error
    told = [
        f"{key.rpartition('.')[2]}={span.attributes[key]}"
        for key in _TELLING
        if key in span.attributes
    ]
    return " ".join(told[:_SHOWN])


# ---- events


def events(options: argparse.Namespace, node: NodeClient) -> int:
    """Print events as they come, until N have come; the exit code.

    A stream that ends, with its node or on the way, is asked for again until it is there: `resumed` says then
    for how long nothing was heard. Raises Refused, Unreachable if there is none to begin with.
    """
    return _Following(options, node).run()


class _Following:
    """A stream of events that begins again when it ends."""

    def __init__(self, options: argparse.Namespace, node: NodeClient) -> None:
        self._options = options
        self._node = node
        self._known = False
        self._since: float | None = None
        """Since when nothing is heard; None while something is."""
        self._wait = _FIRST

    def run(self) -> int:
        """Follow it."""
        path = "/events" + ("?activity=1" if self._options.activity else "")
        count = 0
        while True:
            try:
                for event in self._node.events(path, self._begun):
                    self._print(event)
                    count += 1
                    if count == self._options.count:
                        return 0
                why = "the node has ended the stream"
            except (Refused, Unreachable) as error:
                for_good = isinstance(error, Refused) and error.status not in _PASSING
                if for_good or self._options.once or not self._known:
                    raise
                why = str(error)
            if self._options.once:
                return 0
            self._pause(why)

    def _begun(self) -> None:
        if self._since is not None:
            self._print({"event": "resumed", "silent": round(time.monotonic() - self._since, 3)})
        self._known, self._since, self._wait = True, None, _FIRST

    def _pause(self, why: str) -> None:
        if self._since is None:
            self._since = time.monotonic()
            print(f"flowctl: waiting for events again: {why}", file=sys.stderr)
        time.sleep(self._wait)
        self._wait = min(_LONGEST, 2 * self._wait)

    def _print(self, event: dict[str, Any]) -> None:
        print(json.dumps(event) if self._options.json else event_line(event), flush=True)


def event_line(event: dict[str, Any]) -> str:
    """`12:30:01 state time: idle to failed: it exited`"""
    now = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
    said = {
        key: value for key, value in event.items() if key != "event" and value not in ("", None)
    }
    what = str(event.get("event", "?"))
    node = f" @{said.pop('node')}" if "node" in said else ""
    if what in ("state", "breaker"):
        reason = f": {said['reason']}" if "reason" in said else ""
        return f"{now}{node} {what} {said.get('agent')}: {said.get('old')} to {said.get('new')}{reason}"
    return f"{now}{node} {what} " + " ".join(f"{key}={value}" for key, value in said.items())


# ---- logs


def logs(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """The levels, after a change of one if one was asked for."""
    if options.action is None:
        answer, listed = node.get("/logs", LevelsAnswer)
    elif options.logger is None or options.level is None:
        raise ValueError(
            "logs level needs a logger and a level, such as: logs level flowcore.swarm debug"
        )
    else:
        body = {
            "logger": "" if options.logger == "root" else options.logger,
            "level": None if options.level == "unset" else options.level,
        }
        answer, listed = node.post("/logs/level", body, LevelsAnswer)
    rows = [[name or "root", level] for name, level in listed.levels.items()]
    return answer, table(["logger", "level"], rows)
