"""`breaker`: a circuit breaker for each agent. Calls to one that keeps failing are refused until it is well.

What counts: a call fails if the agent broke, did not answer in time, was lost or broke its protocol. An
answer is a success, be it an error of the tool's own. A call that was cancelled, never reached a worker, or
had less time than `patience` of its caller, says nothing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from msgspec import Struct

from flow_guards.measures import ALLOWED, REFUSED
from flowcore.agents import BreakerChanged, Event
from flowcore.assembly import Status
from flowcore.config import Duration, setting
from flowcore.config import validators as v
from flowcore.envelope import Envelope
from flowcore.errors import (
    AgentUnavailable,
    CallCancelled,
    CallError,
    DeadlineExceeded,
    InternalError,
    InvalidArguments,
    OutcomeUnknown,
    Overloaded,
    UnknownTarget,
    UpstreamFailure,
)
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.requests import Guard
from flowcore.resilience import (
    Breaker,
    BreakerSet,
    BreakerSettings,
    BreakerState,
    Ticket,
    Verdict,
)
from flowcore.telemetry import Reading, counter, gauge

logger = logging.getLogger(__name__)

_FAILURES = (
    AgentUnavailable,
    DeadlineExceeded,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    UpstreamFailure,
)
"""Errors of the agent's own; all others are answers."""

_OPEN = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN)


@attrs.frozen(kw_only=True)
class BreakerConfig(BreakerSettings):
    """When an agent's breaker opens, for how long, and which agents are alternatives of each other."""

    patience: Duration = setting(
        1.0,
        validator=v.ge(0),
        help="a call whose caller gave it less time, and that ran out of it, says nothing of the agent",
    )
    alternatives: tuple[tuple[str, ...], ...] = setting(
        (),
        help="groups of agents that can stand in for each other: never are all of a group left out",
    )
    ejected: float = setting(
        0.5,
        validator=v.in_range(0, 1),
        help="the largest share of a group that is left out at a time; one always stays",
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        names = [name for group in self.alternatives for name in group]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"expected each agent in one group, not {', '.join(twice)} in several")


class _Running(Struct, frozen=True, gc=False):
    """A call that was let through."""

    breaker: Breaker
    ticket: Ticket
    entered: float
    deadline: float
    """As it was then: it grows by the time that the caller is asked something."""


class Breakers(Guard):
    """The guard: a breaker for each agent, made when it is first called."""

    def __init__(
        self,
        config: BreakerConfig,
        clock: Callable[[], float] = trio.current_time,
        *,
        check: Callable[[str], object] = lambda agent: None,
        emit: Callable[[Event], None] = lambda event: None,
        report: Callable[[Status, str], None] = lambda status, reason: None,
    ) -> None:
        self._config = config
        self._check = check
        self._emit = emit
        self._report = report
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._running: dict[Envelope, _Running] = {}
        for group in config.alternatives:
            members = BreakerSet(config, config.ejected, self._changed)
            for agent in group:
                self._breakers[agent] = members.add(agent, clock())

    # ---- calls

    def enter(self, envelope: Envelope, now: float) -> None:
        """Let a call through, or raise AgentUnavailable saying why, and when to come back."""
        breaker = self._breakers.get(envelope.agent)
        if breaker is None:
            breaker = self._meet(envelope.agent, now)
        ticket = breaker.ask(now)
        if ticket is None:
            raise AgentUnavailable(
                f"the breaker of agent {envelope.agent!r} is {breaker.state.value}: {breaker.reason}",
                data={"agent": envelope.agent, "breaker": breaker.state.value},
                retry_after=max(0.001, breaker.retry_after(now)),
            )
        self._running[envelope] = _Running(breaker, ticket, now, envelope.deadline)

    def leave(self, envelope: Envelope, now: float, error: CallError | None) -> None:
        """Tell the breaker what came of a call."""
        call = self._running.pop(envelope)
        started = envelope.started
        reached = started >= call.entered
        # the time in which the caller was asked something is not the agent's
        asked = envelope.deadline - call.deadline
        seconds = now - (started if reached else call.entered) - asked
        if error is None:
            verdict = Verdict.SUCCESS
        elif not reached or isinstance(error, CallCancelled):
            verdict = Verdict.NOTHING
        elif not isinstance(error, _FAILURES):
            verdict = Verdict.SUCCESS
        elif (
            isinstance(error, DeadlineExceeded)
            and envelope.explicit
            and seconds < self._config.patience
        ):
            verdict = Verdict.NOTHING
        else:
            verdict = Verdict.FAILURE
        call.breaker.tell(call.ticket, verdict, seconds, now)

    def _meet(self, agent: str, now: float) -> Breaker:
        """The breaker of an agent that is called for the first time; there are as many as agents."""

        def changed(old: BreakerState, new: BreakerState, reason: str) -> None:
            self._changed(agent, old, new, reason)

        made = self._breakers[agent] = Breaker(self._config, now, changed=changed)
        return made

    def _changed(self, agent: str, old: BreakerState, new: BreakerState, reason: str) -> None:
        level = logging.WARNING if new in _OPEN else logging.INFO
        logger.log(level, "the breaker of agent %s is %s: %s", agent, new.value, reason)
        self._emit(BreakerChanged(agent, old.value, new.value, reason, self._clock()))
        states = {**{name: one.state for name, one in self._breakers.items()}, agent: new}
        out = sorted(name for name, state in states.items() if state in _OPEN)
        if out:
            self._report(Status.DEGRADED, f"not closed for {', '.join(out)}")
        else:
            self._report(Status.OK, "")

    # ---- steering and seeing

    def act(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """`open` or `close` the breaker of an `agent` until told otherwise, or let it go again (`auto`).

        Gives the breaker's status. Raises UnknownTarget, InvalidArguments.
        """
        if action not in _ACTIONS:
            raise UnknownTarget(
                f"a breaker can be told {', '.join(_ACTIONS)}, not {action[:100]!r}"
            )
        agent = arguments.get("agent")
        if not isinstance(agent, str) or len(arguments) != 1:
            raise InvalidArguments("expected one argument: agent, the name of an agent")
        self._check(agent)
        now = self._clock()
        breaker = self._breakers.get(agent) or self._meet(agent, now)
        _ACTIONS[action](breaker, now)
        return attrs.asdict(breaker.status(now))

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        yield ALLOWED.of(sum(one.allowed for one in self._breakers.values()), name)
        yield REFUSED.of(sum(one.refused for one in self._breakers.values()), name, "breaker")
        for agent, breaker in self._breakers.items():
            for state in BreakerState:
                yield STATE.of(int(breaker.state is state), name, agent, state.value)
            yield OPENED.of(breaker.opened, name, agent)
            yield BROKEN.of(breaker.refused, name, agent)

    def breaker(self, agent: str) -> str:
        """The state of an agent's breaker; empty before its first call."""
        known = self._breakers.get(agent)
        return "" if known is None else known.state.value

    def status(self) -> dict[str, Any]:
        """Every breaker as it is now, by agent."""
        now = self._clock()
        return {
            "agents": {
                agent: attrs.asdict(breaker.status(now))
                for agent, breaker in sorted(self._breakers.items())
            },
            "allowed": sum(one.allowed for one in self._breakers.values()),
            "refused": {"breaker": sum(one.refused for one in self._breakers.values())},
        }


STATE = gauge(
    "flowcore.breaker.state",
    "{breaker}",
    "1 for the state of an agent's breaker.",
    "guard",
    "agent",
    "state",
)
OPENED = counter(
    "flowcore.breaker.opened", "{time}", "How often a breaker opened by itself.", "guard", "agent"
)
BROKEN = counter(
    "flowcore.breaker.refused", "{call}", "Calls that an open breaker refused.", "guard", "agent"
)
_ACTIONS: dict[str, Callable[[Breaker, float], None]] = {
    "open": Breaker.force_open,
    "close": Breaker.force_closed,
    "auto": Breaker.reset,
}


@asynccontextmanager
async def open_breaker(config: BreakerConfig, context: Context) -> AsyncGenerator[Breakers]:
    """Breakers, all closed at first."""
    host = context.host
    yield Breakers(config, check=host.agent, emit=host.emit, report=context.report)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "guard",
            "breaker",
            BreakerConfig,
            open_breaker,
            stability="beta",
            mentions=lambda config: [
                ("agent", name) for group in config.alternatives for name in group
            ],
        )
    )
