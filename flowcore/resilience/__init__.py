"""Engines that keep one caller, or one agent, from taking the others down: buckets, breakers, limits.

All of them are sans-IO: they are given the time and told what happened, and know no task, socket or clock.
"""

from flowcore.resilience.breaker import (
    Breaker,
    BreakerSettings,
    BreakerState,
    BreakerStatus,
    Ticket,
    Verdict,
)
from flowcore.resilience.breakers import BreakerSet
from flowcore.resilience.buckets import Bucket, Buckets, Rate
from flowcore.resilience.gradient import Gradient, GradientSettings
from flowcore.resilience.logins import FailedLogins, FailedLoginSettings, network_of
from flowcore.resilience.remembered import Key, Remembered
from flowcore.resilience.shedding import Shedder, SheddingSettings

__all__ = [
    "Breaker",
    "BreakerSet",
    "BreakerSettings",
    "BreakerState",
    "BreakerStatus",
    "Bucket",
    "Buckets",
    "FailedLoginSettings",
    "FailedLogins",
    "Gradient",
    "GradientSettings",
    "Key",
    "Rate",
    "Remembered",
    "Shedder",
    "SheddingSettings",
    "Ticket",
    "Verdict",
    "network_of",
]
