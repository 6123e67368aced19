"""When a failed request is tried again."""

from __future__ import annotations

import random

import pytest
from msgspec import Raw

from flowcore.agents import Tool
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    InternalError,
    InvalidArguments,
    OutcomeUnknown,
    Overloaded,
    UpstreamError,
    UpstreamFailure,
)
from flowcore.requests.retry import Retries
from flowcore.requests.settings import RetrySettings

PLAIN = Tool(name="t", definition=Raw(b"{}"))
READS = Tool(name="t", definition=Raw(b"{}"), read_only=True)
IDEMPOTENT = Tool(name="t", definition=Raw(b"{}"), idempotent=True)


def retries(**settings: float) -> Retries:
    return Retries(RetrySettings(**settings), random.Random(1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "plain", "repeatable"),
    [
        (AgentUnavailable("x"), True, True),
        (UpstreamFailure("x", began=False), True, True),
        (UpstreamFailure("x"), False, True),
        (OutcomeUnknown("x"), False, True),
        (Overloaded("x"), False, False),
        (DeadlineExceeded("x"), False, False),
        (DeadlineExceeded("x", began=False), False, False),
        (InternalError("x"), False, False),
        (InvalidArguments("x"), False, False),
        (UpstreamError("x", code=1), False, False),
    ],
)
def test_only_what_is_safe_and_may_pass_is_tried_again(
    error: CallError, plain: bool, repeatable: bool
) -> None:
    one = retries()
    assert (one.wait(error, PLAIN, 2) is not None) is plain
    assert (one.wait(error, None, 2) is not None) is plain
    assert (one.wait(error, READS, 2) is not None) is repeatable
    assert (one.wait(error, IDEMPOTENT, 2) is not None) is repeatable


def test_there_are_so_many_attempts() -> None:
    one = retries(attempts=3)
    assert one.wait(AgentUnavailable("x"), None, 3) is not None
    assert one.wait(AgentUnavailable("x"), None, 4) is None
    assert retries(attempts=1).wait(AgentUnavailable("x"), None, 2) is None


def test_waits_are_random_below_a_bound_that_doubles_up_to_a_cap() -> None:
    one = retries(base=0.1, factor=2.0, cap=0.5, budget=1.0)
    for attempt, bound in ((2, 0.1), (3, 0.2)):
        waits = []
        for _ in range(200):
            one.accepted()
            wait = one.wait(AgentUnavailable("x"), None, attempt)
            assert wait is not None
            waits.append(wait)
        assert 0 <= min(waits) < 0.1 * bound
        assert 0.9 * bound < max(waits) <= bound
    capped = retries(attempts=10, base=0.1, factor=10.0, cap=0.5)
    wait = capped.wait(AgentUnavailable("x"), None, 9)
    assert wait is not None
    assert wait <= 0.5


def test_a_hint_of_when_to_come_back_is_kept_to_but_not_by_all_at_once() -> None:
    one = retries(budget=1.0)
    waits = set()
    for _ in range(100):
        one.accepted()
        waits.add(one.wait(AgentUnavailable("x", retry_after=3.0), None, 2))
    assert len(waits) == 100
    assert all(wait is not None and 3.0 <= wait <= 3.1 for wait in waits)


def test_retries_have_a_budget() -> None:
    one = retries(budget=0.2)

    def granted() -> int:
        count = 0
        while one.wait(AgentUnavailable("x"), None, 2) is not None:
            count += 1
        return count

    assert granted() == 10
    for _ in range(51):  # a fifth is no exact number in binary
        one.accepted()
    assert granted() == 10
    for _ in range(4):
        one.accepted()
    assert granted() == 0
    for _ in range(10_000):
        one.accepted()
    assert granted() == 100


def test_what_is_refused_costs_nothing_of_the_budget() -> None:
    one = retries(budget=0.0)
    for _ in range(100):
        assert one.wait(InternalError("x"), None, 2) is None
    assert one.wait(AgentUnavailable("x"), None, 2) is not None
