"""The few counters that the core itself keeps."""

from flowcore.telemetry.histogram import Durations, Histogram

__all__ = ["Durations", "Histogram"]
