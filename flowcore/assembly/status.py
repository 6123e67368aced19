"""The status of components, as the OpenTelemetry Collector's component-status document defines it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

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
    type: str
    status: Status
    reason: str
    since: float

    def asdict(self, now: float) -> dict[str, Any]:
        """As plain data, `since` as seconds ago."""
        return {
            "component": self.component,
            "type": self.type,
            "status": self.status.value,
            "reason": self.reason,
            "for": round(now - self.since, 3),
        }


class StatusBoard:
    """The status of every component of a flow; what supervision sees and what components report."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._statuses: dict[str, ComponentStatus] = {}

    def set(self, component: str, type_: str, status: Status, reason: str = "") -> None:
        """This is its status now."""
        old = self._statuses.get(component)
        if old is None or (old.status, old.reason) != (status, reason):
            self._statuses[component] = ComponentStatus(
                component=component, type=type_, status=status, reason=reason, since=self._clock()
            )

    def forget(self, component: str) -> None:
        """There is no such component any more."""
        self._statuses.pop(component, None)

    def get(self, component: str) -> ComponentStatus | None:
        """One component's status, None if it is not known."""
        return self._statuses.get(component)

    def all(self) -> tuple[ComponentStatus, ...]:
        """Every component's status, in the order in which they were first heard of."""
        return tuple(self._statuses.values())

    @property
    def ready(self) -> bool:
        """Whether every component that is no agent is ok or degraded; agents answer for themselves."""
        return all(
            one.status in (Status.OK, Status.DEGRADED)
            for one in self._statuses.values()
            if not one.component.startswith("agent.")
        )
