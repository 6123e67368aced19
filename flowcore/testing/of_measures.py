"""What holds for whatever has metrics: its readings are some, quick, and right."""

from __future__ import annotations

import time
from typing import Any

from flowcore.telemetry import Measured, Metric, Metrics, Reading, WrongReading, prometheus_text
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong

_QUICK = 0.05
"""Seconds of a processor that readings may take; they are taken while requests wait."""


async def measures_what_it_says(bench: Bench) -> None:
    """If it has metrics, its readings are right, quick, and named apart from the core's."""
    async with bench.opened() as opened:
        if not isinstance(opened, Measured):
            return
        began = time.thread_time()
        try:
            readings: list[Any] = list(opened.measure("probe"))
        except Exception as error:
            raise Wrong(f"measure raises {type(error).__name__}: {error}") from error
        took = time.thread_time() - began
        if took > _QUICK:
            raise Wrong(f"measure takes {took:.3f} s of the event loop")
        for reading in readings:
            if not (isinstance(reading, Reading) and isinstance(reading.metric, Metric)):
                raise Wrong(f"measure gives {reading!r:.200}, which is no reading of a Metric")
        metrics = Metrics("bench", lambda: "0")
        metrics.add_measured("probe", "probe", opened)
        try:
            metrics.check(readings)
        except WrongReading as error:
            raise Wrong(str(error)) from error
        prometheus_text(await metrics.snapshot())
