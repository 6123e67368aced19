"""A circuit breaker: stops calls to what keeps failing, and probes when it is well again. Sans-IO.

    ticket = breaker.ask(now)
    if ticket is None: refuse, with breaker.retry_after(now) as a hint
    ...
    breaker.tell(ticket, Verdict.SUCCESS, seconds, now)

    closed ──(too many of the last calls failed, or were slow)──→ open ──(its time is over, a call comes)──→
    half open ──(probes well)──→ closed
              ──(probes failed)──→ open

Nygard, "Release It!", and resilience4j's CircuitBreaker, whose rules these are. Three things hold that most
breakers let slip: half open, never more than `probes` calls are under way; what a call that began in an
earlier state came to does not move the present one; a call that was cancelled says nothing, and gives its
probe's place back.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias

import attrs

from flowcore.config import Duration, setting
from flowcore.config import validators as v
from flowcore.resilience.windows import Counts, CountWindow, TimeWindow, Window


class BreakerState(enum.Enum):
    """Where a breaker is."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"
    FORCED_OPEN = "forced open"
    """By an operator: nothing passes, until told otherwise."""
    FORCED_CLOSED = "forced closed"
    """By an operator: everything passes, whatever comes of it."""


class Verdict(enum.Enum):
    """What a call's end says of what was called."""

    SUCCESS = "success"
    FAILURE = "failure"
    NOTHING = "nothing"
    """It was cancelled, or never got there, or the caller's own fault."""


@attrs.frozen(kw_only=True)
class BreakerSettings:
    """When a breaker opens, for how long, and how it finds out that all is well."""

    failures: float = setting(
        0.5, validator=v.in_range(0.01, 1), help="the share of failed calls at which it opens"
    )
    calls: int = setting(
        10, validator=v.ge(1), help="calls that must have ended before shares mean anything"
    )
    window: Duration = setting(60.0, validator=v.gt(0), help="the time over which calls count")
    last_calls: int | None = setting(
        None, validator=v.ge(1), help="count the last so many calls instead, however long ago"
    )
    slow: Duration = setting(
        60.0, validator=v.gt(0), help="a call that takes longer is slow, whatever comes of it"
    )
    slow_calls: float = setting(
        1.0, validator=v.in_range(0.01, 1), help="the share of slow calls at which it opens"
    )
    open: Duration = setting(
        30.0, validator=v.gt(0), help="how long it stays open before it lets probes through"
    )
    probes: int = setting(
        3, validator=v.ge(1), help="calls let through half open; no more are under way then"
    )
    probe_timeout: Duration = setting(
        60.0,
        validator=v.gt(0),
        help="a probe that has not ended after this counts as failed, so that calls that hang cannot"
        " keep it half open",
    )

    def __attrs_post_init__(self) -> None:
        if self.last_calls is not None and self.last_calls < self.calls:
            raise ValueError(
                f"expected last_calls to be at least calls, not {self.last_calls} and {self.calls}"
            )


SOON = 1.0
"""When to come back while others probe, in seconds: nobody knows how long they will take."""

Ticket: TypeAlias = tuple[int, int]
"""A call that was let through: the generation of the state it began in, and its number among the probes."""

Changed: TypeAlias = Callable[[BreakerState, BreakerState, str], None]
"""Told of each change of state: the old one, the new one, and why."""


def _nobody(old: BreakerState, new: BreakerState, reason: str) -> None:
    del old, new, reason


def _always() -> bool:
    return True


@attrs.frozen(kw_only=True)
class BreakerStatus:
    """A breaker as it is now, and what it has done since it was made; times in seconds."""

    state: str
    reason: str
    since: float
    """How long it has been in this state."""
    probe_in: float | None
    """Open: until a call may probe."""
    calls: int
    """Calls that count now, and how many of them failed, and were slow."""
    failed: int
    slow: int
    probing: int
    allowed: int
    refused: int
    opened: int
    """How often it opened by itself."""
    spared: int
    """How often it would have opened, but too many of its set were open."""
    late: int
    """Calls that ended when the state they began in was over."""


class Breaker:
    """One breaker, closed at first."""

    def __init__(
        self,
        settings: BreakerSettings,
        now: float,
        *,
        changed: Changed = _nobody,
        may_open: Callable[[], bool] = _always,
    ) -> None:
        self.settings = settings
        self._changed = changed
        self._may_open = may_open
        self._state = BreakerState.CLOSED
        self._reason = ""
        self._since = now
        self._generation = 0
        self._ticket: Ticket = (0, 0)
        self._window = self._fresh_window()
        self._probes: dict[int, float] = {}
        """Probes under way: when each began, by its number."""
        self._probed = Counts()
        """What came of the probes of this generation."""
        self._numbers = 0
        self.allowed = self.refused = self.opened = self.spared = self.late = 0

    def _fresh_window(self) -> Window:
        if self.settings.last_calls is not None:
            return CountWindow(self.settings.last_calls)
        return TimeWindow(self.settings.window)

    # ---- calls

    def ask(self, now: float) -> Ticket | None:
        """A ticket for a call, to be told of when it ends; None: it must not be made."""
        if self._state is BreakerState.CLOSED:
            self.allowed += 1
            return self._ticket
        ticket = self._ask_unwell(now)
        if ticket is None:
            self.refused += 1
        else:
            self.allowed += 1
        return ticket

    def _ask_unwell(self, now: float) -> Ticket | None:
        if self._state is BreakerState.FORCED_CLOSED:
            return self._ticket
        if self._state is BreakerState.OPEN and self.retry_after(now) == 0.0:
            self._become(BreakerState.HALF_OPEN, "open for long enough", now)
        if self._state is BreakerState.HALF_OPEN:
            self._give_up_probes(now)
        if self._state is not BreakerState.HALF_OPEN:
            return None
        if len(self._probes) + self._probed.calls >= self.settings.probes:
            return None
        self._numbers += 1
        self._probes[self._numbers] = now
        return self._generation, self._numbers

    def tell(self, ticket: Ticket, verdict: Verdict, seconds: float, now: float) -> None:
        """A call ended, `seconds` after the work on it began. Each ticket is told of once."""
        if ticket[0] != self._generation:
            self.late += 1
            return
        if self._state is BreakerState.CLOSED:
            if verdict is not Verdict.NOTHING:
                failed = verdict is Verdict.FAILURE
                self._window.add(now, failed, seconds > self.settings.slow)
                self._judge(now)
        elif self._state is BreakerState.HALF_OPEN:
            if self._probes.pop(ticket[1], None) is None:
                self.late += 1  # it was given up
            elif verdict is not Verdict.NOTHING:
                self._probe_ended(verdict is Verdict.FAILURE, seconds > self.settings.slow, now)

    def retry_after(self, now: float) -> float:
        """When to come back, in seconds: exact while it is open, a hint while others probe."""
        if self._state is BreakerState.OPEN:
            if now < self._since:
                self._since = now  # the clock went back
            return max(0.0, self._since + self.settings.open - now)
        if self._state is BreakerState.HALF_OPEN:
            return SOON
        return self.settings.open if self._state is BreakerState.FORCED_OPEN else 0.0

    # ---- judging

    def _judge(self, now: float) -> None:
        """Open if too many of the calls that count failed or were slow."""
        counts, settings = self._window.counts, self.settings
        calls = counts.calls
        if calls < settings.calls or not (counts.failed or counts.slow):
            return
        too_many_failed = counts.failed >= settings.failures * calls
        if not too_many_failed and counts.slow < settings.slow_calls * calls:
            return
        if not self._may_open():
            self.spared += 1
            self._window = self._fresh_window()
            return
        self.opened += 1
        self._become(BreakerState.OPEN, self._why(counts, too_many_failed), now)

    def _why(self, counts: Counts, failed: bool) -> str:
        said = (
            f"{counts.failed} of {counts.calls} calls failed"
            if failed
            else f"{counts.slow} of {counts.calls} calls took longer than {self.settings.slow:g} s"
        )
        if self.settings.last_calls is not None:
            return said
        return f"{said} within {self.settings.window:g} s"

    def _probe_ended(self, failed: bool, slow: bool, now: float) -> None:
        """Decide as soon as probes that are not known yet could not change it."""
        probed, settings = self._probed, self.settings
        probed.calls += 1
        probed.failed += failed
        probed.slow += slow
        most, unknown = settings.probes, settings.probes - probed.calls
        if probed.failed >= settings.failures * most or probed.slow >= settings.slow_calls * most:
            what = "failed" if probed.failed >= settings.failures * most else "were slow"
            count = probed.failed if what == "failed" else probed.slow
            self.opened += 1
            self._become(
                BreakerState.OPEN, f"{count} of {probed.calls} probes {what}, of {most}", now
            )
        elif (
            probed.failed + unknown < settings.failures * most
            and probed.slow + unknown < settings.slow_calls * most
        ):
            self._become(
                BreakerState.CLOSED,
                f"{probed.calls - probed.failed} of {probed.calls} probes succeeded, of {most}",
                now,
            )

    def _give_up_probes(self, now: float) -> None:
        """Probes that take too long have failed."""
        timeout = self.settings.probe_timeout
        for number in [one for one, began in self._probes.items() if now >= began + timeout]:
            if self._probes.pop(number, None) is not None:  # else the one before decided it
                self._probe_ended(failed=True, slow=True, now=now)

    def _become(self, state: BreakerState, reason: str, now: float) -> None:
        """The one place where the state changes. What began before no longer counts."""
        old = self._state
        self._state = state
        self._reason = reason
        self._since = now
        self._generation += 1
        self._ticket = (self._generation, 0)
        self._probes.clear()
        self._probed = Counts()
        self._window = self._fresh_window()
        self._changed(old, state, reason)

    # ---- steering and seeing

    def force_open(self, now: float, reason: str = "by an operator") -> None:
        """Let nothing through until told otherwise."""
        self._become(BreakerState.FORCED_OPEN, reason, now)

    def force_closed(self, now: float, reason: str = "by an operator") -> None:
        """Let everything through until told otherwise."""
        self._become(BreakerState.FORCED_CLOSED, reason, now)

    def reset(self, now: float, reason: str = "by an operator") -> None:
        """Closed, and on its own again, with nothing remembered of earlier calls."""
        self._become(BreakerState.CLOSED, reason, now)

    @property
    def state(self) -> BreakerState:
        """Its state. An open breaker whose time is over stays open until a call comes to probe with."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it is in that state; empty at first."""
        return self._reason

    def status(self, now: float) -> BreakerStatus:
        """The breaker as it is now."""
        half_open = self._state is BreakerState.HALF_OPEN
        counts = self._probed if half_open else self._window.look(now)
        return BreakerStatus(
            state=self._state.value,
            reason=self._reason,
            since=round(now - self._since, 3),
            probe_in=(
                round(self.retry_after(now), 3) if self._state is BreakerState.OPEN else None
            ),
            calls=counts.calls,
            failed=counts.failed,
            slow=counts.slow,
            probing=len(self._probes),
            allowed=self.allowed,
            refused=self.refused,
            opened=self.opened,
            spared=self.spared,
            late=self.late,
        )
