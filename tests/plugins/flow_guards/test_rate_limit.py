"""The guard `rate_limit`: who gets how much, all limits or none, and what it says."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing

from flow_guards.rate_limit import RateLimit, RateLimitConfig
from flowcore.envelope import Envelope, Principal
from flowcore.errors import Overloaded
from flowcore.resilience import Rate
from support.doers import OK, ScriptedAgent, call, requests_of

ADA = Principal(name="ada", scheme="token")
BOB = Principal(name="bob", scheme="token")


def asked(
    principal: Principal = ADA, name: str = "work", agent: str = "mine", **more: Any
) -> Envelope:
    return Envelope(name=name, agent=agent, params={}, deadline=1e9, principal=principal, **more)


def passes(guard: RateLimit, envelope: Envelope, now: float) -> bool:
    try:
        guard.enter(envelope, now)
    except Overloaded:
        return False
    guard.leave(envelope, now, None)
    return True


def guard(**settings: Any) -> RateLimit:
    return RateLimit(RateLimitConfig(**settings), lambda: 0.0)


def test_the_default_is_a_thousand_a_second_for_each_principal() -> None:
    one = guard()
    assert sum(passes(one, asked(ADA), 0.0) for _ in range(1500)) == 1000
    assert sum(passes(one, asked(BOB), 0.0) for _ in range(1500)) == 1000
    assert sum(passes(one, asked(ADA), 0.25) for _ in range(1500)) == 250
    assert one.status() == {
        "allowed": 2250,
        "refused": {"principal": 2250, "agent": 0, "total": 0, "memory": 0},
        "principals": 2,
        "tokens": {"total": None, "agents": {}},
    }


def test_a_refusal_says_which_limit_it_was_and_when_to_come_back() -> None:
    one = guard(principal=Rate(rate=2.0, burst=1))
    one.enter(asked(), 10.0)
    with pytest.raises(Overloaded) as caught:
        one.enter(asked(), 10.1)
    error = caught.value
    assert error.http_status == 429
    assert error.retry_after is not None
    assert error.retry_after == pytest.approx(0.4, abs=0.01)
    assert error.wire()["data"] == {"limit": "principal", "retryAfter": round(error.retry_after, 3)}
    assert "2 a second are allowed, 1 at once" in error.message
    assert error.began is False


def test_principals_of_two_schemes_are_two_even_if_they_share_a_name() -> None:
    one = guard(principal=Rate(rate=1.0, burst=1))
    assert passes(one, asked(Principal(name="ada", scheme="token")), 0.0)
    assert passes(one, asked(Principal(name="ada", scheme="jwt")), 0.0)
    assert not passes(one, asked(Principal(name="ada", scheme="jwt")), 0.0)


def test_some_principals_and_agents_have_limits_of_their_own() -> None:
    one = guard(
        principal=Rate(rate=100.0),
        principals={"ada": Rate(rate=1.0, burst=3)},
        agent=Rate(rate=10.0),
        agents={"slow": Rate(rate=1.0, burst=2)},
    )
    assert sum(passes(one, asked(ADA, agent="fast"), 0.0) for _ in range(20)) == 3
    assert sum(passes(one, asked(BOB, agent="fast"), 0.0) for _ in range(20)) == 7
    assert sum(passes(one, asked(BOB, agent="slow"), 0.0) for _ in range(20)) == 2
    status = one.status()
    assert status["refused"] == {"principal": 17, "agent": 31, "total": 0, "memory": 0}
    assert status["tokens"]["agents"] == {"fast": 0.001, "slow": 0.001} or status["tokens"][
        "agents"
    ] == {"fast": 0.0, "slow": 0.0}


def test_what_one_limit_refuses_costs_nothing_of_the_others() -> None:
    one = guard(
        principal=Rate(rate=1.0, burst=5), agent=Rate(rate=1.0, burst=8), total=Rate(rate=10.0)
    )
    for _ in range(100):
        passes(one, asked(ADA), 0.0)
    assert sum(passes(one, asked(BOB), 0.0) for _ in range(100)) == 3, (
        "the agent's, less Ada's five"
    )
    assert sum(passes(one, asked(BOB, agent="other"), 0.0) for _ in range(100)) == 2, (
        "all, less eight"
    )


def test_tools_weigh_what_is_configured() -> None:
    one = guard(
        principal=Rate(rate=1.0, burst=20),
        weights={"mine.heavy": 7, "other.*": 5, "other.light": 1},
    )
    assert sum(passes(one, asked(ADA, "heavy"), 0.0) for _ in range(9)) == 2
    assert sum(passes(one, asked(ADA, "work"), 0.0) for _ in range(9)) == 6
    assert sum(passes(one, asked(BOB, "any", "other"), 0.0) for _ in range(9)) == 4
    cleo = Principal(name="cleo")
    assert sum(passes(one, asked(cleo, "light", "other"), 0.0) for _ in range(30)) == 20
    dora = Principal(name="dora")
    reads = [asked(dora, "heavy", method="resources/read") for _ in range(30)]
    assert sum(passes(one, read, 0.0) for read in reads) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"heavy": 2}}, 'expected weights of "agent.tool"'),
        ({"weights": {"a.b": 0}}, "expected weights of at least 1, not 0"),
        (
            {"weights": {"a.b": 6}, "total": Rate(rate=5.0)},
            "expected bursts of at least 6, the heaviest weight, not 5",
        ),
    ],
)
def test_weights_that_cannot_be_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RateLimitConfig(**settings)


def test_strangers_cannot_fill_the_memory() -> None:
    one = guard(principal=Rate(rate=1.0, burst=2), keys=10)
    for number in range(1000):
        passes(one, asked(Principal(name=f"{number}" * 1000)), 0.0)
    status = one.status()
    assert (status["principals"], status["allowed"], status["refused"]["memory"]) == (10, 10, 990)
    with pytest.raises(Overloaded, match="too many principals at a time: 10 are remembered"):
        one.enter(asked(ADA), 0.5)
    assert passes(one, asked(ADA), 1.0)
    keys = [key for key in one._principals._until if isinstance(key, tuple)]
    assert max(len(part) for key in keys for part in key) <= 64


async def test_an_attacker_at_ten_times_the_limit_disturbs_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Through the whole way of requests: the attacker gets its limit, the others all they ask for."""
    limit, seconds = 20.0, 30
    one = guard(
        principal=Rate(rate=limit, burst=20), agent=Rate(rate=200.0), total=Rate(rate=200.0)
    )
    got: dict[str, list[bool]] = {"attacker": [], "ada": [], "bob": []}

    async def ask(name: str, rate: float, seed: int) -> None:
        chance = random.Random(seed)
        until = trio.current_time() + seconds
        while True:
            await trio.sleep(chance.uniform(0.5, 1.5) / rate)
            if trio.current_time() >= until:
                return
            try:
                reply = await requests.submit(call(principal=Principal(name=name)))
            except Overloaded as error:
                assert error.retry_after is not None
                assert 0 < error.retry_after <= 0.06
                got[name].append(False)
            else:
                assert reply is OK
                got[name].append(True)

    async with requests_of(ScriptedAgent(), guards=[one]) as requests:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "attacker", 10 * limit, 1)
            nursery.start_soon(ask, "ada", 10.0, 2)
            nursery.start_soon(ask, "bob", 15.0, 3)
    assert all(got["ada"])
    assert all(got["bob"])
    assert len(got["attacker"]) > 9 * limit * seconds
    assert 0.95 * limit * seconds <= sum(got["attacker"]) <= 1.05 * limit * seconds + 20
