"""Metrics that are wrong are found by the check of whatever tells them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import Load
from flowcore.telemetry import Reading, counter, gauge
from flowcore.testing import CheckFailed, check_plugin

TURNS = counter("bad.turns", "{turn}", "How often it was asked.", "who")
DEPTH = gauge("bad.depth", "1", "How deep it is.")


@attrs.frozen(kw_only=True)
class Nothing:
    """It needs no settings."""


class Measuring:
    """A balancer that is right but for its metrics."""

    def __init__(self, readings: Callable[[], Iterable[Any]]) -> None:
        self._readings = readings
        self._turn = 0

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        self._turn += 1
        return self._turn % len(candidates)

    def started(self, worker: int, now: float) -> None: ...

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None: ...

    def removed(self, worker: int) -> None: ...

    def measure(self, name: str) -> Iterable[Any]:
        assert name
        return self._readings()


class Plugin:
    def __init__(self, readings: Callable[[], Iterable[Any]]) -> None:
        @asynccontextmanager
        async def open_(config: Nothing, context: Context) -> AsyncGenerator[Measuring]:
            del config, context
            yield Measuring(readings)

        self._factory = Factory("balancer", "measuring", Nothing, open_)

    @hookimpl
    def flow_register(self, registry: Registry) -> None:
        registry.add(self._factory)


def _slow() -> list[Reading]:
    until = time.thread_time() + 0.1
    while time.thread_time() < until:
        pass
    return []


async def test_metrics_that_are_right_pass() -> None:
    report = await check_plugin(Plugin(lambda: [TURNS.of(3, "a"), DEPTH.of(None), DEPTH.of(0.5)]))
    assert "its readings are right" in str(report)


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        (lambda: [TURNS.of(3)], "expected labels"),
        (lambda: [TURNS.of(-3, "a")], "a counter cannot be -3"),
        (lambda: [DEPTH.of(1.0, "a")], "expected labels"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: [("depth", (), 3)], "no reading of a Metric"),
        (_slow, "of the event loop"),
    ],
    ids=["labels", "negative", "too many", "raises", "no metric", "slow"],
)
async def test_metrics_that_are_wrong_are_told(
    readings: Callable[[], Iterable[Any]], said: str
) -> None:
    with pytest.raises(CheckFailed, match=said):
        await check_plugin(Plugin(readings))
