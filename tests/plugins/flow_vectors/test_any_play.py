"""Whatever is added, removed, saved, merged, closed and opened, in whatever order: it agrees with a dict."""

from __future__ import annotations

import pathlib

import pytest
import trio
from hypothesis import HealthCheck, given, settings

from flowcore.routing import Metric
from support.index_plays import METRICS, STEPS, Step, play
from support.indexes import MAKERS, local


@pytest.mark.parametrize("kind", MAKERS)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, metric=METRICS)
def test_agrees_with_a_dict(
    kind: str, tmp_path: pathlib.Path, steps: list[Step], metric: Metric
) -> None:
    indexes = local(kind, tmp_path)
    trio.run(play, indexes, steps, metric, kind == "exact")
