"""Rehearsed failure: what it does, that it is undone, when it stops itself."""

from __future__ import annotations

import logging
import math
import os
import pathlib
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from flow_guards.faults import Experiment, StopSettings
from flow_guards.faults.load import BALLAST, fill_disk, leftovers
from flow_guards.faults.rehearsal import Rehearsal, Running
from flowcore import Flow, open_flow
from flowcore.agents import FaultInjected, State
from flowcore.config import ConfigError
from flowcore.errors import AgentUnavailable, InvalidArguments, UnknownTarget
from support.node import ROOT

AGENTS = f"{ROOT}/tests/support/agents.py"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@asynccontextmanager
async def flow(clock: MockClock | None = None, **guard: Any) -> AsyncGenerator[Flow]:
    """A flow of two agents; from then on the clock jumps: agents start in threads, which it cannot see."""
    agent = {"type": "python", "target": AGENTS}
    config = {
        "agent": {"demo": agent, "other": agent},
        "guard": {"chaos": {"type": "faults", **guard}},
        "requests": {"guards": ["chaos"]},
    }
    async with open_flow(config) as opened:
        await opened.wait_settled()
        if clock is not None:
            clock.autojump_threshold = 0
        yield opened


async def until(done: Callable[[], bool]) -> None:
    """Wait for what nobody tells of."""
    with trio.fail_after(20):
        while not done():
            await trio.to_thread.run_sync(lambda: None)


def act(of: Flow, action: str, **arguments: Any) -> dict[str, Any]:
    return of.guard("chaos").act(action, arguments)


async def test_nothing_happens_until_it_is_started(mock_clock: MockClock) -> None:
    async with flow(mock_clock, experiments={"broken": {"fault": "error"}}) as one:
        assert (await one.call("demo.echo", {"text": "x"})).text == "x"
        assert act(one, "list")["running"] == []


async def test_requests_fail_as_long_as_it_lasts(mock_clock: MockClock) -> None:
    async with flow(mock_clock, stop={"errors": 1.0}) as one:
        act(one, "start", name="b", fault="error", agents=["demo"], duration="1h")
        with pytest.raises(AgentUnavailable, match="rehearsed failure 'b'"):
            await one.call("demo.echo", {"text": "x"})
        assert (await one.call("other.echo", {"text": "x"})).text == "x"
        await trio.sleep(3600)
        assert (await one.call("demo.echo", {"text": "x"})).text == "x"
        assert act(one, "list")["injected"]["error"] >= 2


async def test_requests_come_later_within_their_deadline(mock_clock: MockClock) -> None:
    async with flow(mock_clock) as one:
        act(one, "start", name="slow", fault="latency", delay="2s", jitter="1s", duration="1h")
        began = trio.current_time()
        await one.call("demo.echo", {"text": "x"})
        assert 1 <= trio.current_time() - began <= 3
        began = trio.current_time()
        act(one, "start", name="slow", fault="latency", delay="1h", duration="2h")
        with pytest.raises(Exception, match="kept waiting until its deadline"):
            await one.call("demo.echo", {"text": "x"}, deadline=5)
        assert trio.current_time() - began == pytest.approx(5)


async def test_what_is_kept_waiting_goes_on_when_it_is_undone(mock_clock: MockClock) -> None:
    async with flow(mock_clock) as one, trio.open_nursery() as nursery:
        act(one, "start", name="slow", fault="latency", delay="1h", duration="2h")
        began = trio.current_time()

        async def ask() -> None:
            await one.call("demo.echo", {"text": "x"}, deadline=600)
            assert trio.current_time() - began < 600

        nursery.start_soon(ask)
        await trio.sleep(3)
        assert act(one, "stop")["stopped"] == ["slow"]


async def test_a_dry_run_changes_nothing_and_tells_all(mock_clock: MockClock) -> None:
    async with flow(mock_clock) as one, one.events() as events:
        act(one, "start", name="b", fault="error", dry_run=True, duration="1d")
        assert (await one.call("demo.echo", {"text": "x"})).text == "x"
        act(one, "stop", name="b")
        told = []
        with trio.move_on_after(1):
            async for event in events:
                if isinstance(event, FaultInjected):
                    told.append((event.what, event.dry_run))
        assert told == [("begun", True), ("request", True), ("undone", True)]


async def test_it_stops_itself_when_too_much_fails(mock_clock: MockClock) -> None:
    async with flow(mock_clock, stop={"errors": 0.3, "calls": 10}) as one:
        act(one, "start", name="b", fault="error", rate=1.0, duration="1h")
        failed = 0
        for _ in range(30):
            try:
                await one.call("demo.echo", {"text": "x"})
            except AgentUnavailable:
                failed += 1
        status = act(one, "list")
        assert status["running"] == []
        assert "requests failed" in status["stopped"]
        assert failed <= 14  # some are tried again


async def test_an_agent_crashes_and_comes_back() -> None:
    async with flow(experiments={"crash": {"fault": "crash_agent", "agents": ["demo"]}}) as one:
        act(one, "start", name="crash")
        await one.agents["demo"].wait_until(State.FAILED)
        assert "rehearsed crash 'crash'" in one.agents["demo"].reason
        await one.agents["demo"].wait_until(State.IDLE)
        assert one.agents["other"].state is State.IDLE


async def test_processors_are_kept_busy_by_processes_that_end() -> None:
    async with flow() as one:
        act(one, "start", name="busy", fault="processor", cores=2, duration="1h")
        await until(lambda: not (len(_burning()) < 2))
        act(one, "stop")
        await until(lambda: not (_burning()))


def _burning() -> list[str]:
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().endswith(b"while True: pass\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


async def test_memory_is_taken_and_given_back() -> None:
    async with flow() as one:
        act(one, "start", name="m", fault="memory", size="64MiB", duration="1h")
        before = _resident()
        await until(lambda: not (_resident() < before + 32 * 2**20))
        act(one, "stop")
        await until(lambda: not (_resident() > before + 32 * 2**20))


def _resident() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_the_disk_is_filled_as_far_as_it_was_said(tmp_path: pathlib.Path) -> None:
    async with fill_disk(tmp_path, 10 * 2**20, 0) as taken:
        assert taken == 10 * 2**20
        assert (tmp_path / BALLAST).stat().st_size == taken
    assert not (tmp_path / BALLAST).exists()
    (tmp_path / BALLAST).write_bytes(b"x")
    await leftovers(tmp_path)
    assert not (tmp_path / BALLAST).exists()
    async with fill_disk(tmp_path, 2**60, 2**60) as taken:
        assert taken == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "expected the name"),
        ({"name": "x"}, "no experiment 'x' is configured"),
        ({"name": "x", "fault": "rain"}, "rain"),
        ({"name": "x", "fault": "latency"}, "expected a delay"),
        ({"name": "x", "fault": "error", "rate": 2}, "rate"),
        ({"name": "x", "fault": "error", "invented": 1}, "invented"),
        ({"name": "x", "fault": "crash_agent"}, "agents that are to crash"),
        ({"name": "x", "fault": "crash_node"}, "does not allow"),
        ({"name": "x", "fault": "partition"}, "needs a \\[swarm\\]"),
        ({"name": "x", "fault": "memory"}, "expected a size"),
        ({"name": "x", "fault": "error", "nodes": ["beta"]}, "expected nodes and way only"),
    ],
)
async def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], why: str) -> None:
    async with flow() as one:
        with pytest.raises((InvalidArguments, UnknownTarget), match=why):
            act(one, "start", **arguments)
        with pytest.raises(UnknownTarget):
            act(one, "stop", name="nobody")
        with pytest.raises(UnknownTarget, match="no action"):
            act(one, "explode")


@pytest.mark.parametrize(
    ("guard", "why"),
    [
        ({"start": ["x"]}, "names of experiments to start"),
        ({"experiments": {"x": {"fault": "crash_node"}}}, "crash_node = true"),
        ({"experiments": {"x": {"fault": "partition"}}}, r"needs a \[swarm\]"),
        ({"experiments": {"x": {"fault": "error", "agents": ["nobody"]}}}, "no agent 'nobody'"),
        ({"experiments": {"x": {"fault": "error", "duration": "0s"}}}, "duration"),
        ({"stop": {"errors": 2}}, "errors"),
    ],
)
async def test_a_configuration_that_makes_no_sense_is_refused(
    guard: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        async with flow(**guard):
            raise AssertionError


# ---- the engine

EXPERIMENT = Experiment(fault="error", duration=10.0, after=5.0, rate=0.5)


def test_it_begins_and_ends_when_it_is_due() -> None:
    told: list[str] = []
    rehearsal = Rehearsal(
        StopSettings(),
        random.Random(1),
        lambda one: told.append(f"begin {one.name}"),
        lambda one, why: told.append(f"end {one.name}: {why}"),
    )
    rehearsal.start("x", EXPERIMENT, 0.0)
    assert rehearsal.tick(4.9) == 5.0
    assert not list(rehearsal.meets("a", 4.9))
    assert rehearsal.tick(5.0) == 15.0
    assert rehearsal.tick(15.0) is None
    assert told == ["begin x", "end x: its time is over"]


@given(
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**32),
    agents=st.lists(st.sampled_from("abc"), max_size=2),
)
def test_it_meets_whom_it_is_about_as_often_as_it_says(
    rate: float, seed: int, agents: list[str]
) -> None:
    def nothing(*told: Any) -> None:
        del told

    rehearsal = Rehearsal(StopSettings(), random.Random(seed), nothing, nothing)
    one = Experiment(fault="error", rate=rate, agents=tuple(agents))
    rehearsal.start("x", one, 0.0)
    met = sum(len(list(rehearsal.meets("a", 1.0))) for _ in range(400))
    if agents and "a" not in agents:
        assert met == 0
    else:
        assert math.isclose(met / 400, rate, abs_tol=0.15)
    assert not list(rehearsal.meets("a", 1e9))


def test_old_outcomes_do_not_count() -> None:
    ends: list[str] = []

    def end(one: Running, why: str) -> None:
        ends.append(why)

    stop = StopSettings(errors=0.5, calls=4, window=10.0)
    rehearsal = Rehearsal(stop, random.Random(1), lambda one: None, end)
    rehearsal.start("x", Experiment(fault="error", duration=1000.0), 0.0)
    for now in (1.0, 2.0, 3.0):
        rehearsal.outcome(now, failed=True, seconds=0.0)
    for now in (20.0, 21.0, 22.0):
        rehearsal.outcome(now, failed=False, seconds=0.0)
    rehearsal.outcome(23.0, failed=True, seconds=0.0)
    assert not ends
    for now in (24.0, 25.0, 26.0):
        rehearsal.outcome(now, failed=True, seconds=0.0)
    assert ends == ["it went too far: 57% of 7 requests failed"]
