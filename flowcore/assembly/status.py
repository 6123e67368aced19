"""The status of a component, as the OpenTelemetry Collector's component-status document defines it."""

from __future__ import annotations

import enum

import attrs


class Status(enum.Enum):
    """starting → ok ⇄ degraded → failed → starting (again) …; stopping → stopped ends it."""

    STARTING = "starting"
    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@attrs.frozen(kw_only=True)
class ComponentStatus:
    """One component's status, why, and since when (seconds on the flow's clock)."""

    component: str
    status: Status
    reason: str
    since: float
