"""How late the event loop is: what holds it shows here first."""

from __future__ import annotations

import trio

from flowcore.telemetry.durations import Histogram

PERIOD = 0.1
"""Seconds between two looks."""


class Lateness:
    """Asks for its turn at a time, again and again, and sees when it has it."""

    def __init__(self) -> None:
        self.histogram = Histogram()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            wanted = trio.current_time() + PERIOD
            await trio.sleep_until(wanted)
            self.histogram.record(max(0.0, trio.current_time() - wanted))
