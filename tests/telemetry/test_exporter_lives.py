"""An exporter that crashes is opened again, and what came meanwhile waits for it, is sent, or is counted."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from flowcore import open_flow
from flowcore.assembly import Status
from flowcore.flow import Flow, exporters
from flowcore.http import open_client
from flowcore.telemetry.logs import TapHandler
from support import fragile


@asynccontextmanager
async def flowing(**settings: Any) -> AsyncGenerator[Flow]:
    config = {
        "plugins": {"files": [fragile.__file__]},
        "telemetry": {"sampling": 1.0},
        "edge": {"api": {"type": "api", "bind": "127.0.0.1:0"}},
        "exporter": {"to": {"type": "fragile", "delay": "10ms", **settings}},
    }
    async with open_flow(config) as flow:
        with trio.fail_after(120):
            yield flow


async def until(good: Callable[[], Any]) -> None:
    while not good():  # noqa: ASYNC110 - what is waited for has no event
        await trio.sleep(0.005)


def lives_of(flow: Flow) -> list[Any]:
    """All there were in this flow; the plugin's file is a module of its own."""
    exporter: Any = flow.telemetry.exporters["to"].exporter
    lives: list[Any] = type(exporter).lives
    del lives[:-1]
    return lives


def status(flow: Flow) -> Status:
    found = {one.component: one.status for one in flow.components()}
    return found["exporter.to"]


async def called(flow: Flow, count: int) -> None:
    for _ in range(count):
        assert not (await flow.call("flow.agents", {})).is_error


async def test_what_comes_while_it_is_down_waits_for_its_next_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporters, "FIRST_WAIT", 3.0)
    async with flowing() as flow, open_client() as client:
        lives = lives_of(flow)
        await called(flow, 3)
        await until(lambda: len(lives[0].spans) == 6)  # two of each call
        lives[0].end.set()
        await until(lambda: status(flow) is Status.DEGRADED)
        assert "to" not in flow.telemetry.exporters
        assert flow.ready
        await called(flow, 5)
        logging.getLogger("elsewhere").warning("said meanwhile")
        assert flow.telemetry.status()["exporters"]["to"]["traces"]["waiting"] == 10
        page = f"{flow.endpoints['api'][0]}/fragile"
        assert (await client.request("GET", page)).status == 404  # nobody is there to tell it
        await until(lambda: len(lives) == 2 and len(lives[1].spans) == 10)
        await until(lambda: [one.message for one in lives[1].lines][-1:] == ["said meanwhile"])
        assert (await client.request("GET", page)).body == b"2"
        assert status(flow) is Status.OK
        told = flow.telemetry.status()["exporters"]["to"]
        assert (told["traces"]["sent"], told["traces"]["dropped"], told["life"]) == (16, 0, 2)
        ids = [span.span_id for life in lives for span in life.spans]
        assert len(set(ids)) == len(ids) == 16


async def test_what_it_was_at_when_it_crashed_and_what_found_no_room_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporters, "FIRST_WAIT", 0.05)
    async with flowing(queue=8, batch=4, delay="3s") as flow, open_client() as client:
        lives = lives_of(flow)
        first = lives[0]
        first.hold = trio.Event()
        await called(flow, 2)
        await until(lambda: flow.telemetry.status()["exporters"]["to"]["traces"]["waiting"] == 0)
        await called(flow, 6)  # twelve, of which eight find room
        first.end.set()
        await until(lambda: len(lives) == 2 and len(lives[1].spans) == 8)
        counts = flow.telemetry.counts("to")["traces"]
        assert (counts.sent, counts.dropped) == (8, 8)  # four were under way, four had no room
        scraped = {
            (family.metric.name, labels[1]): value
            for family in (await flow.metrics.snapshot()).families
            for labels, value in family.points
            if family.metric.name.startswith("flowcore.exporter.")
        }
        assert scraped["flowcore.exporter.dropped", "traces"] == 8
        answer = await client.request("GET", f"{flow.endpoints['api'][0]}/status")
        assert json.loads(answer.body)["telemetry"]["exporters"]["to"]["traces"]["dropped"] == 8
    assert (counts.sent, counts.dropped) == (8, 8)


async def test_where_it_never_comes_back_what_waits_at_the_end_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporters, "FIRST_WAIT", 600.0)
    async with flowing() as flow:
        lives = lives_of(flow)
        lives[0].end.set()
        await until(lambda: status(flow) is Status.DEGRADED)
        await called(flow, 4)
    counts = flow.telemetry.counts("to")["traces"]
    assert (counts.sent, counts.dropped) == (0, 8)


async def test_what_comes_before_it_is_open_for_the_first_time_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporters, "FIRST_WAIT", 3.0)
    async with flowing(fails=1) as flow:
        assert status(flow) is Status.DEGRADED
        assert not flow.telemetry.exporters
        await called(flow, 3)
        logging.getLogger("elsewhere").warning("said before")
        told = flow.telemetry.status()["exporters"]["to"]
        assert told["traces"] == {"sent": 0, "dropped": 0, "failures": 0, "waiting": 6}
        await until(lambda: "to" in flow.telemetry.exporters)
        lives = lives_of(flow)
        await until(lambda: len(lives[0].spans) == 6)
        await until(lambda: "said before" in [one.message for one in lives[0].lines])


async def test_what_waits_for_one_that_never_opens_is_bounded_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporters, "FIRST_WAIT", 600.0)
    async with flowing(fails=99, queue=8) as flow:
        await called(flow, 6)
        told = flow.telemetry.status()["exporters"]["to"]["traces"]
        assert (told["waiting"], told["dropped"]) == (8, 4)
    counts = flow.telemetry.counts("to")["traces"]
    assert (counts.sent, counts.dropped) == (0, 12)


async def test_a_line_whose_arguments_do_not_fit_fails_for_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with flowing() as flow:
        lives = lives_of(flow)
        (tap,) = [one for one in logging.getLogger().handlers if isinstance(one, TapHandler)]
        tap.handle(logging.makeLogRecord({"name": "x", "msg": "%d of them", "args": ("many",)}))
        logging.getLogger("elsewhere").warning("long: %s", "x" * 1_000_000)
        lines = lives[0].lines
        await until(lambda: "elsewhere" in [one.logger for one in lines])
        assert [len(one.message) for one in lines if one.logger == "elsewhere"] == [16_384]
    assert "--- Logging error ---" in capsys.readouterr().err
