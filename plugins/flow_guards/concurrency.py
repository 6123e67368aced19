"""`concurrency`: as many calls at a time as an agent can take, found out from how long they take.

Under overload the calls that do not fit are refused at once, those of low priority first, with a hint when
to come back: so those that are let in are served in time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
from msgspec import Struct

from flow_guards.measures import ALLOWED, REFUSED
from flowcore.config import setting
from flowcore.envelope import Envelope, Priority
from flowcore.errors import CallError, DeadlineExceeded, Overloaded
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.requests import Guard
from flowcore.resilience import GradientSettings, Shedder, SheddingSettings
from flowcore.telemetry import Reading, gauge


@attrs.frozen(kw_only=True)
class ConcurrencyConfig:
    """Which calls share a limit, how it is found, and who may use how much of it."""

    priorities: dict[str, Literal["low", "normal", "high"]] = setting(
        factory=dict,
        help='the priority of a principal\'s requests, by its name, or by a role: `"role:ops" = "high"`;'
        " of several the highest",
    )
    per: Literal["agent", "node"] = setting(
        "agent", help="a limit for each agent by itself, or one for all that pass here"
    )
    limit: GradientSettings = setting(factory=GradientSettings, help="how the limit is found")
    shares: SheddingSettings = setting(
        factory=SheddingSettings, help="which part of the limit each priority may use"
    )


class _Running(Struct, frozen=True, gc=False):
    """A call that was let in."""

    shedder: Shedder
    entered: float
    deadline: float
    """As it was then: it grows by the time that the caller is asked something."""


class Concurrency(Guard):
    """The guard: a limit for each agent, made when it is first called."""

    def __init__(self, config: ConcurrencyConfig) -> None:
        self._config = config
        self._shedders: dict[str, Shedder] = {}
        self._all = Shedder(config.limit, config.shares) if config.per == "node" else None
        self._running: dict[Envelope, _Running] = {}
        self._priorities = {
            name: Priority[priority.upper()] for name, priority in config.priorities.items()
        }
        self.allowed = 0
        self.refused = [0, 0, 0]
        """By priority."""

    def enter(self, envelope: Envelope, now: float) -> None:
        """Let a call in, or raise Overloaded saying when to come back."""
        if self._priorities:
            envelope.priority = self._priority(envelope)
        shedder = self._all or self._shedders.get(envelope.agent) or self._meet(envelope.agent)
        if not shedder.admit(envelope.priority, now):
            self.refused[envelope.priority] += 1
            raise Overloaded(
                f"{shedder.inflight} calls are under way"
                + ("" if self._all else f" at agent {envelope.agent!r}")
                + ", which is as many as it can take",
                data={"limit": "concurrency"},
                retry_after=shedder.retry_after(),
            )
        self.allowed += 1
        self._running[envelope] = _Running(shedder, now, envelope.deadline)

    def leave(self, envelope: Envelope, now: float, error: CallError | None) -> None:
        """Learn from how long a call took.

        One that failed says nothing, for it may have failed fast; one that ran out of time took that long
        at least, which says something if it is longer than usual.
        """
        call = self._running.pop(envelope)
        # the time in which the caller was asked something is not the agent's
        seconds = now - call.entered - (envelope.deadline - call.deadline)
        says = error is None or (
            isinstance(error, DeadlineExceeded) and seconds >= call.shedder.gradient.short
        )
        call.shedder.ended(seconds if says else None, now)

    def _priority(self, envelope: Envelope) -> Priority:
        """The priority that its principal has, or else its own."""
        principal = envelope.principal
        names = (principal.name, *(f"role:{role}" for role in principal.roles))
        found = [self._priorities[name] for name in names if name in self._priorities]
        return max(found, default=envelope.priority)

    def _meet(self, agent: str) -> Shedder:
        """The limit of an agent that is called for the first time; there are as many as agents."""
        made = self._shedders[agent] = Shedder(self._config.limit, self._config.shares)
        return made

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        yield ALLOWED.of(self.allowed, name)
        for priority in Priority:
            yield REFUSED.of(self.refused[priority], name, priority.name.lower())
        shedders = self._shedders if self._all is None else {"*": self._all}
        for agent, one in shedders.items():
            yield LIMIT.of(one.gradient.limit, name, agent)
            yield RUNNING.of(one.inflight, name, agent)

    def status(self) -> dict[str, Any]:
        """The limits as they are now, and what was refused, by priority; times in seconds."""
        shedders = self._shedders if self._all is None else {"*": self._all}
        return {
            "agents": {
                agent: {
                    "limit": round(one.gradient.limit, 3),
                    "running": one.inflight,
                    "took": round(one.gradient.short, 6),
                    "usually": round(one.gradient.long, 6),
                }
                for agent, one in sorted(shedders.items())
            },
            "allowed": self.allowed,
            "refused": {one.name.lower(): self.refused[one] for one in Priority},
        }


LIMIT = gauge(
    "flowcore.concurrency.limit",
    "{call}",
    "How many calls an agent is given at a time, as its times say; `*` is all agents together.",
    "guard",
    "agent",
)
RUNNING = gauge(
    "flowcore.concurrency.running", "{call}", "Calls that count against it.", "guard", "agent"
)


@asynccontextmanager
async def open_concurrency(
    config: ConcurrencyConfig, context: Context
) -> AsyncGenerator[Concurrency]:
    """Limits, each at its `initial` at first."""
    del context
    yield Concurrency(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory("guard", "concurrency", ConcurrencyConfig, open_concurrency, stability="beta")
    )
