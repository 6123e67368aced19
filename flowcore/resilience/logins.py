"""Failed logins by address: so many a second, then longer and longer waits. Sans-IO.

    wait = logins.wait(address, now)      # before anything is verified
    if wait: refuse, with the wait as a hint
    elif the credentials are wrong: logins.failed(address, now)

While an address has to wait, right credentials from it are refused like wrong ones, unseen: whoever guesses
learns nothing. A login that succeeds forgives nothing: otherwise one account of one's own would be enough to
guess at others' for ever.
"""

from __future__ import annotations

import ipaddress
import math

import attrs

from flowcore.config import Duration, setting
from flowcore.config import validators as v
from flowcore.resilience.buckets import ROUNDING
from flowcore.resilience.remembered import Key, Remembered


@attrs.frozen(kw_only=True)
class FailedLoginSettings:
    """How many failed logins an address may have, and how long it waits after more."""

    rate: float = setting(
        10.0, validator=v.gt(0), help="failed logins a second that an address may have"
    )
    burst: int = setting(10, validator=v.ge(1), help="failed logins at once after a pause")
    wait: Duration = setting(
        1.0, validator=v.gt(0), help="the first wait of an address that had more; each is doubled"
    )
    longest: Duration = setting(
        300.0,
        validator=v.gt(0),
        help="the longest wait, and how long after one an address is forgiven",
    )
    addresses: int = setting(100_000, validator=v.ge(1), help="most addresses that are remembered")


@attrs.define(eq=False)
class _Record:
    full_at: float
    """When its bucket of failures is full again (see `flowcore.resilience.buckets`)."""
    strikes: int = 0
    blocked_until: float = -math.inf


class FailedLogins:
    """What is remembered of addresses whose logins failed.

    At most `addresses` are; if all of them are still needed, the one that would be forgiven first gives way:
    whoever has that many addresses has that many times the limit anyway, and nobody else is locked out.
    """

    def __init__(self, settings: FailedLoginSettings) -> None:
        self._settings = settings
        self._token = 1.0 / settings.rate
        self._depth = (settings.burst + ROUNDING) * self._token
        self._records: dict[Key, _Record] = {}
        self._known = Remembered(settings.addresses, self._forget)
        self.failures = 0
        """Failed logins so far."""
        self.refused = 0
        """Logins that were not looked at, so far."""

    def __len__(self) -> int:
        return len(self._records)

    def wait(self, address: str, now: float) -> float:
        """Seconds until a login from this address may be looked at; 0.0 for now."""
        if not self._records:
            return 0.0
        record = self._records.get(network_of(address))
        if record is None or record.blocked_until <= now:
            return 0.0
        self.refused += 1
        # a clock that went back must not make a wait longer than the longest
        return min(record.blocked_until - now, self._settings.longest)

    def failed(self, address: str, now: float) -> float:
        """A login from this address failed: the seconds that it has to wait from now on, or 0.0."""
        self.failures += 1
        settings = self._settings
        key = network_of(address)
        record = self._records.get(key)
        if record is None:
            if self._known.room(now) > 0.0:
                self._known.forget_soonest()
            record = self._records[key] = _Record(now)
            self._known.add(key, now)
        elif self._known.until[key] <= now:
            record.strikes = 0
        # a clock that went back must not make the bucket emptier than empty
        full_at = min(max(record.full_at, now), now + self._depth) + self._token
        if full_at - now <= self._depth:
            record.full_at = full_at
            self._known.until[key] = max(self._known.until[key], full_at)
            return 0.0
        wait = min(settings.longest, settings.wait * 2.0 ** min(record.strikes, 64))
        record.strikes += 1
        record.blocked_until = now + wait
        self._known.until[key] = max(self._known.until[key], now + wait + settings.longest)
        return wait

    def blocked(self, now: float) -> int:
        """How many addresses have to wait now."""
        return sum(one.blocked_until > now for one in self._records.values())

    def _forget(self, key: Key) -> None:
        del self._records[key]


def network_of(address: str) -> str:
    """What an address counts as: an IPv4 address itself, an IPv6 address its /64 network.

    A single customer is given at least a /64 (RFC 6177), so limits by IPv6 address would limit nobody. An
    IPv4 address mapped into IPv6 is that IPv4 address; a text that is no address counts as itself.
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(parsed) >> 64 << 64)}/64"
