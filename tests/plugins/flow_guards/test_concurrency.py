"""The guard `concurrency`: refuses at once what does not fit, and learns only from what says something."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from flow_guards.concurrency import Concurrency, ConcurrencyConfig
from flowcore.envelope import Envelope, Principal, Priority, Reply
from flowcore.errors import CallError, DeadlineExceeded, InternalError, Overloaded
from flowcore.resilience import GradientSettings
from support.doers import OK, ScriptedAgent, call, requests_of


def asked(agent: str = "mine", priority: Priority = Priority.NORMAL) -> Envelope:
    return Envelope(name="work", agent=agent, params={}, deadline=1e9, priority=priority)


def guard(initial: int = 10, **settings: Any) -> Concurrency:
    return Concurrency(ConcurrencyConfig(limit=GradientSettings(initial=initial), **settings))


def fill(one: Concurrency, **about: Any) -> int:
    """How many calls are let in at once."""
    count = 0
    try:
        while True:
            one.enter(asked(**about), 0.0)
            count += 1
    except Overloaded:
        return count


def test_each_agent_has_its_own_limit_of_which_each_priority_has_its_part() -> None:
    one = guard()
    assert fill(one, priority=Priority.LOW) == 7
    assert fill(one, priority=Priority.NORMAL) == 2
    assert fill(one, priority=Priority.HIGH) == 1
    assert fill(one, agent="other") == 9
    assert one.status()["refused"] == {"low": 1, "normal": 2, "high": 1}
    assert one.status()["agents"]["mine"] == {
        "limit": 10.0,
        "running": 10,
        "took": 0.0,
        "usually": 0.0,
    }


def test_principals_and_roles_have_priorities() -> None:
    one = guard(priorities={"batch": "low", "role:ops": "high"})
    batch = Principal(name="batch")
    both = Principal(name="batch", roles=frozenset({"ops", "dev"}))
    for principal, expected in (
        (batch, Priority.LOW),
        (both, Priority.HIGH),
        (Principal(name="ada"), Priority.NORMAL),
    ):
        envelope = asked()
        envelope.principal = principal
        one.enter(envelope, 0.0)
        assert envelope.priority is expected, "its place in the agent's queue follows"


def test_one_limit_can_be_for_all() -> None:
    one = guard(per="node")
    assert fill(one) == 9
    assert fill(one, agent="other") == 0
    with pytest.raises(
        Overloaded, match="^9 calls are under way, which is as many as it can take$"
    ):
        one.enter(asked(), 0.0)
    assert list(one.status()["agents"]) == ["*"]


def test_a_refusal_is_typed_and_says_when_to_come_back() -> None:
    one = guard(initial=5)
    fill(one, priority=Priority.HIGH)
    with pytest.raises(Overloaded) as caught:
        one.enter(asked(), 0.0)
    assert caught.value.data == {"limit": "concurrency"}
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0
    assert caught.value.began is False


@pytest.mark.parametrize(
    ("error", "learns"),
    [
        (None, True),
        (DeadlineExceeded("x"), True),
        (InternalError("x"), False),
        (Overloaded("x"), False),
    ],
)
def test_only_results_and_slow_expiries_teach_it(error: CallError | None, learns: bool) -> None:
    one = guard()
    for second in range(1, 40):
        envelope = asked()
        one.enter(envelope, float(second))
        one.leave(envelope, second + 0.5, error)
    assert (one.status()["agents"]["mine"]["usually"] > 0) is learns
    assert one.status()["agents"]["mine"]["running"] == 0


def test_callers_without_patience_do_not_make_it_look_quick() -> None:
    one = guard()
    for number in range(400):
        envelope = asked()
        now = number / 10
        one.enter(envelope, now)
        hasty = number > 200 and number % 2
        one.leave(
            envelope, now + (0.001 if hasty else 0.5), DeadlineExceeded("x") if hasty else None
        )
    assert one.status()["agents"]["mine"]["took"] == pytest.approx(0.5)


def test_the_time_in_which_the_caller_is_asked_does_not_count() -> None:
    one = guard()
    for number in range(100):
        envelope = asked()
        one.enter(envelope, float(number))
        envelope.stop_clock(number + 0.1)
        envelope.start_clock(number + 0.7)
        one.leave(envelope, number + 0.8, None)
    assert one.status()["agents"]["mine"]["took"] == pytest.approx(0.2)


async def test_nothing_stays_behind_whatever_becomes_of_a_request(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def forever(envelope: Envelope) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    one = guard()
    agent = ScriptedAgent([OK, ValueError("broke"), InternalError("x"), forever])
    async with requests_of(agent, guards=[one]) as requests:
        await requests.submit(call())
        for _ in range(2):
            with pytest.raises(InternalError):
                await requests.submit(call())
        with pytest.raises(DeadlineExceeded):
            await requests.submit(call(deadline=1.0))
        with trio.move_on_after(1.0):
            await requests.submit(call())
    assert one.status()["agents"]["mine"]["running"] == 0
    assert not one._running
