"""Failed logins by address: a limit, then waits that grow, then forgiveness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.resilience import FailedLogins, FailedLoginSettings, network_of

TEN = FailedLoginSettings(rate=10.0, burst=10, wait=1.0, longest=60.0)


def guess(logins: FailedLogins, address: str, now: float) -> bool:
    """Try a wrong password; whether it was even looked at."""
    if logins.wait(address, now) > 0.0:
        return False
    logins.failed(address, now)
    return True


def test_up_to_the_limit_nobody_waits() -> None:
    logins = FailedLogins(TEN)
    for number in range(1000):
        assert logins.wait("192.0.2.1", number / 10) == 0.0
        assert logins.failed("192.0.2.1", number / 10) == 0.0
    assert logins.failures == 1000
    assert logins.blocked(100.0) == 0


def test_beyond_it_each_wait_is_twice_the_one_before_up_to_the_longest() -> None:
    logins = FailedLogins(TEN)
    waits = []
    now = 0.0
    for _ in range(9):
        while (wait := logins.failed("192.0.2.1", now)) == 0.0:
            pass
        assert logins.wait("192.0.2.1", now) == pytest.approx(wait)
        waits.append(wait)
        now += wait
        assert logins.wait("192.0.2.1", now) == 0.0
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_an_address_that_waits_is_not_looked_at_and_others_are() -> None:
    logins = FailedLogins(TEN)
    while guess(logins, "192.0.2.1", 0.0):
        pass
    assert logins.refused == 1
    assert guess(logins, "192.0.2.2", 0.0)
    assert logins.blocked(0.0) == 1


def test_after_long_enough_without_failures_an_address_is_forgiven() -> None:
    logins = FailedLogins(TEN)
    for _ in range(3):
        while guess(logins, "192.0.2.1", 0.0):
            pass
    now = 1.0 + 60.0 + 0.1
    while (wait := logins.failed("192.0.2.1", now)) == 0.0:
        pass
    assert wait == 1.0


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_guesses_are_bounded_whatever_their_rhythm(gaps: list[float]) -> None:
    logins = FailedLogins(TEN)
    now, seen = 0.0, 0
    for gap in gaps:
        now += gap
        seen += guess(logins, "192.0.2.1", now)
    assert seen <= 10 * now + 10 + 1 + now  # the limit, the burst, and one that starts each wait


def test_an_hour_of_guessing_gets_far_fewer_than_the_limit() -> None:
    logins = FailedLogins(TEN)
    seen = sum(guess(logins, "192.0.2.1", number / 100) for number in range(360_000))
    assert seen < 13 * (6 + 3600 / 60 + 1)


def test_a_clock_that_jumps_back_makes_no_wait_longer_than_the_longest() -> None:
    logins = FailedLogins(TEN)
    while guess(logins, "192.0.2.1", 7200.0):
        pass
    assert logins.wait("192.0.2.1", 3600.0) <= 60.0


def test_memory_is_bounded_and_who_would_be_forgiven_first_gives_way() -> None:
    logins = FailedLogins(FailedLoginSettings(rate=10.0, burst=10, addresses=100))
    while guess(logins, "192.0.2.1", 0.0):
        pass
    for number in range(10_000):
        logins.failed(f"198.51.{number >> 8}.{number & 255}", 0.0)
    assert len(logins) == 100
    assert logins.wait("192.0.2.1", 0.0) > 0.0, "the one who guessed most is kept"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("no:address", "no:address"),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
