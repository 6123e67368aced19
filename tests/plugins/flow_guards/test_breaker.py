"""The guard `breaker`: what counts as an agent's failure, and that a broken one is left alone."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from flow_guards.breaker import BreakerConfig, Breakers
from flowcore.agents import BreakerChanged, Event
from flowcore.assembly import Status
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
    PermissionDenied,
    UnknownTarget,
    UpstreamError,
    UpstreamFailure,
)

QUICK = {"calls": 2, "probes": 1}


def guard(**settings: Any) -> Breakers:
    return Breakers(BreakerConfig(**settings), lambda: 10.0)


def asked(agent: str = "mine", *, explicit: bool = False) -> Envelope:
    return Envelope(name="work", agent=agent, params={}, deadline=1e9, explicit=explicit)


def done(
    one: Breakers,
    error: CallError | None,
    *,
    now: float = 0.0,
    seconds: float = 2.0,
    reached: bool = True,
    times: int = 1,
    **about: Any,
) -> None:
    """Calls that are let through and end after `seconds`, with this error."""
    for _ in range(times):
        envelope = asked(**about)
        one.enter(envelope, now)
        if reached:
            envelope.started = now
        one.leave(envelope, now + seconds, error)


def counts(one: Breakers, agent: str = "mine") -> tuple[int, int]:
    """(calls that count, failures)."""
    status = one.status()["agents"][agent]
    return status["calls"], status["failed"]


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (None, (1, 0)),
        (InvalidArguments("x"), (1, 0)),
        (PermissionDenied("x"), (1, 0)),
        (UpstreamError("x", code=7), (1, 0)),
        (InternalError("x"), (1, 1)),
        (UpstreamFailure("x"), (1, 1)),
        (OutcomeUnknown("x"), (1, 1)),
        (DeadlineExceeded("x"), (1, 1)),
        (AgentUnavailable("x"), (1, 1)),
        (Overloaded("x"), (1, 1)),
        (CallCancelled("x"), (0, 0)),
    ],
)
def test_what_counts_and_as_what(error: CallError | None, counted: tuple[int, int]) -> None:
    one = guard()
    done(one, error)
    assert counts(one) == counted


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("the queue is full"),
        AgentUnavailable("paused"),
        DeadlineExceeded("no free worker"),
        InvalidArguments("does not fit"),
    ],
)
def test_what_never_reached_a_worker_says_nothing(error: CallError) -> None:
    one = guard()
    done(one, error, reached=False)
    assert counts(one) == (0, 0)


def test_callers_without_patience_cannot_open_it_and_others_waiting_in_vain_can() -> None:
    one = guard(patience=1.0)
    done(one, DeadlineExceeded("x"), seconds=0.9, explicit=True, times=20)
    assert counts(one) == (0, 0)
    done(one, DeadlineExceeded("x"), seconds=1.1, explicit=True)
    done(one, DeadlineExceeded("x"), seconds=0.9, explicit=False)
    assert counts(one) == (2, 2)


def test_the_time_in_which_the_caller_is_asked_is_not_slow() -> None:
    one = guard(slow=5.0)
    envelope = asked()
    one.enter(envelope, 0.0)
    envelope.started = 1.0
    envelope.stop_clock(2.0)
    envelope.start_clock(9.0)
    one.leave(envelope, 10.0, None)
    assert one.status()["agents"]["mine"]["slow"] == 0
    done(one, None, seconds=5.1)
    assert one.status()["agents"]["mine"]["slow"] == 1


def test_an_open_breaker_refuses_with_what_a_caller_needs_to_know() -> None:
    one = guard(open=30.0)
    done(one, InternalError("x"), times=10)
    with pytest.raises(AgentUnavailable) as caught:
        one.enter(asked(), 12.0)
    assert caught.value.retry_after == 20.0
    assert caught.value.http_status == 503
    assert caught.value.data == {"agent": "mine", "breaker": "open"}
    assert caught.value.message == (
        "the breaker of agent 'mine' is open: 10 of 10 calls failed within 60 s"
    )
    one.enter(asked("other"), 12.0)
    assert one.status()["refused"] == {"breaker": 1}


def test_its_changes_are_told_to_watchers_the_status_and_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    events: list[Event] = []
    reports: list[tuple[Status, str]] = []
    one = Breakers(
        BreakerConfig(calls=2, probes=1),
        lambda: 5.0,
        emit=events.append,
        report=lambda status, reason: reports.append((status, reason)),
    )
    done(one, InternalError("x"), times=2)
    done(one, None, now=40.0)
    assert [(e.old, e.new) for e in events if isinstance(e, BreakerChanged)] == [
        ("closed", "open"),
        ("open", "half open"),
        ("half open", "closed"),
    ]
    assert reports == [
        (Status.DEGRADED, "not closed for mine"),
        (Status.DEGRADED, "not closed for mine"),
        (Status.OK, ""),
    ]
    assert caplog.messages[0] == (
        "the breaker of agent mine is open: 2 of 2 calls failed within 60 s"
    )


def test_an_operator_steers_it_for_each_agent() -> None:
    def check(agent: str) -> None:
        if agent not in ("mine", "other"):
            raise UnknownTarget(f"there is no agent {agent!r}")

    one = Breakers(BreakerConfig(), lambda: 1.0, check=check)
    assert one.act("open", {"agent": "mine"})["state"] == "forced open"
    with pytest.raises(AgentUnavailable, match="is forced open: by an operator"):
        one.enter(asked(), 1.0)
    assert one.act("close", {"agent": "mine"})["state"] == "forced closed"
    done(one, InternalError("x"), times=50)
    assert one.act("auto", {"agent": "mine"})["state"] == "closed"
    with pytest.raises(UnknownTarget, match="there is no agent 'theirs'"):
        one.act("open", {"agent": "theirs"})
    with pytest.raises(UnknownTarget, match="can be told open, close, auto, not 'explode'"):
        one.act("explode", {"agent": "mine"})
    for wrong in ({}, {"agent": 7}, {"agent": "mine", "more": 1}):
        with pytest.raises(InvalidArguments, match="expected one argument: agent"):
            one.act("open", wrong)


def test_of_alternatives_one_is_always_left_in() -> None:
    one = guard(**QUICK, alternatives=(("a", "b"),))
    for agent in ("a", "b", "c"):
        done(one, InternalError("x"), times=2, agent=agent)
    states = {agent: about["state"] for agent, about in one.status()["agents"].items()}
    assert states == {"a": "open", "b": "closed", "c": "open"}


def test_an_agent_in_two_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="expected each agent in one group, not b in several"):
        BreakerConfig(alternatives=(("a", "b"), ("b", "c")))
