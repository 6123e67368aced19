"""Log lines say which trace and request they belong to, for people and for machines, and no other."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from flowcore import Flow, open_flow
from flowcore.cli.logs import JsonFormatter, TextFormatter, set_up_logs
from flowcore.errors import InternalError
from flowcore.requests import Envelope, Guard
from flowcore.telemetry import TapHandler, current_span, restore_levels, set_level


class Kept(logging.Handler):
    """Keeps lines as both formatters write them, when they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.objects: list[dict[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(TextFormatter().format(record).splitlines()[0])
        self.objects.append(json.loads(JsonFormatter().format(record)))


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


class Broken(Guard):
    def enter(self, envelope: Envelope, now: float) -> None:
        raise ZeroDivisionError


async def failing(flow: Flow) -> None:
    flow.requests.guards.place("flow", [Broken()])
    with pytest.raises(InternalError):
        await flow.call("flow.agents", {})


async def test_a_line_has_the_ids_of_the_request_it_was_written_for(kept: Kept) -> None:
    async with open_flow({}) as flow:
        logging.getLogger("tests").warning("before")
        await failing(flow)
        logging.getLogger("tests").warning("after")
        trace = flow.telemetry.recent[-1]
    before, inside, after = (
        next(one for one in kept.objects if one["message"].startswith(word))
        for word in ("before", "request", "after")
    )
    assert not {"trace_id", "span_id", "request"} & (before.keys() | after.keys())
    assert (inside["trace_id"], inside["request"]) == (trace.trace_id, trace.request)
    assert len(inside["span_id"]) == 16
    (text,) = [one for one in kept.texts if ": request " in one]
    assert f"[trace {trace.trace_id}, request {trace.request}]" in "\n".join(kept.texts) or text
    assert current_span() is None


async def test_without_tracing_lines_are_as_ever(kept: Kept) -> None:
    async with open_flow({"telemetry": {"enabled": False}}) as flow:
        await failing(flow)
    assert kept.objects
    assert not any("trace_id" in one for one in kept.objects)


def test_setting_logs_up_again_leaves_exporters_their_lines() -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    tap = TapHandler.__new__(TapHandler)
    logging.Handler.__init__(tap)
    try:
        root.addHandler(tap)
        set_up_logs("warning", "json", {"flowcore.tests": "debug"})
        assert tap in root.handlers
        assert root.level == logging.WARNING
        assert logging.getLogger("flowcore.tests").level == logging.DEBUG
    finally:
        root.handlers[:] = before
        restore_levels()
    assert root.level == level


def test_what_was_changed_lasts_until_the_configuration_is_read_again() -> None:
    root, named, own = (logging.getLogger(one) for one in ("", "flowcore.tests", "their.own"))
    handlers, level = root.handlers[:], root.level
    own.setLevel(logging.ERROR)  # as a library may have it for itself
    try:
        set_up_logs("info", "text", {"flowcore.tests": "debug"})
        for one in ("", "flowcore.tests", "their.own", "flowcore.other"):
            set_level(one, logging.WARNING)
        assert {root.level, named.level, own.level} == {logging.WARNING}
        set_up_logs("info", "text", {"flowcore.tests": "debug"})
        assert (root.level, named.level, own.level) == (logging.INFO, logging.DEBUG, logging.ERROR)
        assert logging.getLogger("flowcore.other").level == logging.NOTSET
        set_up_logs("error", "text")  # it is named no more
        assert (root.level, named.level) == (logging.ERROR, logging.NOTSET)
    finally:
        root.handlers[:] = handlers
        restore_levels()
        own.setLevel(logging.NOTSET)
    assert root.level == level
