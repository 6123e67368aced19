"""A Hypothesis state machine over the breaker, with books of its own.

The machine plays the callers, what they call, the operator and the clock. Its books are kept in the plainest
way: a list of all calls, each with the stay in a state in which it began.
"""

from __future__ import annotations

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from flowcore.resilience import Breaker, BreakerSettings, BreakerState, Ticket, Verdict

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
ALLOWED = {
    (CLOSED, OPEN),
    (OPEN, HALF_OPEN),
    (HALF_OPEN, OPEN),
    (HALF_OPEN, CLOSED),
}
"""What it may do by itself."""


@attrs.define(eq=False)
class Call:
    """A call that was let through."""

    ticket: Ticket
    stay: int
    began: float


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.stay = 0
        """Counts the changes of state."""
        self.steered = False
        self.since = self.now
        self.running: list[Call] = []
        self.ended: list[tuple[bool, bool]] = []
        """(failed, slow) of the calls that count in this stay."""
        self.admitted_half_open = 0
        self.returned_half_open = 0

    @initialize(
        share=st.sampled_from([0.25, 0.5, 1.0]),
        calls=st.integers(1, 6),
        probes=st.integers(1, 4),
        slow_share=st.sampled_from([0.5, 1.0]),
        extra=st.integers(0, 4),
    )
    def open(self, share: float, calls: int, probes: int, slow_share: float, extra: int) -> None:
        self.settings = BreakerSettings(
            failures=share,
            calls=calls,
            last_calls=calls + extra,
            probes=probes,
            slow=2.0,
            slow_calls=slow_share,
            open=30.0,
            probe_timeout=60.0,
        )
        self.breaker = Breaker(self.settings, self.now, changed=self.changed)

    def changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        assert reason
        if not self.steered:
            assert (old, new) in ALLOWED
        if (old, new) == (OPEN, HALF_OPEN):
            assert self.now >= self.since + self.settings.open
        self.stay += 1
        self.since = self.now
        self.ended = []
        self.admitted_half_open = self.returned_half_open = 0

    # ---- callers

    @rule()
    def call(self) -> None:
        state = self.breaker.state
        ready = self.now >= self.since + self.settings.open
        ticket = self.breaker.ask(self.now)
        if state in (CLOSED, BreakerState.FORCED_CLOSED):
            assert ticket is not None
        elif state is BreakerState.FORCED_OPEN or (state is OPEN and not ready):
            assert ticket is None
        elif state is OPEN:
            assert ticket is not None
            assert self.breaker.state is HALF_OPEN
        if ticket is None:
            assert self.breaker.retry_after(self.now) > 0.0
            return
        if self.breaker.state is HALF_OPEN:
            self.admitted_half_open += 1
        self.running.append(Call(ticket, self.stay, self.now))

    @precondition(lambda self: self.running)
    @rule(
        data=st.data(),
        verdict=st.sampled_from(Verdict),
        seconds=st.sampled_from([0.1, 2.0, 2.1, 5.0]),
    )
    def end(self, data: st.DataObject, verdict: Verdict, seconds: float) -> None:
        call = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        state, stay, reason = self.breaker.state, self.stay, self.breaker.reason
        late = self.breaker.late
        given_up = state is HALF_OPEN and call.ticket[1] not in self.breaker._probes
        current = call.stay == self.stay and not given_up
        if current and state is HALF_OPEN and verdict is Verdict.NOTHING:
            self.returned_half_open += 1
        counts = current and verdict is not Verdict.NOTHING and state in (CLOSED, HALF_OPEN)
        if counts:
            self.ended.append((verdict is Verdict.FAILURE, seconds > 2.0))
            if state is CLOSED:
                self.ended = self.ended[-self.settings.last_calls :]  # type: ignore[operator]
        ended = list(self.ended)
        self.breaker.tell(call.ticket, verdict, seconds, self.now)
        if not current or verdict is Verdict.NOTHING:
            assert (self.breaker.state, self.stay, self.breaker.reason) == (state, stay, reason)
            assert self.breaker.late == late + (not current)
        elif state is CLOSED:
            assert (self.breaker.state is OPEN) is self.too_bad(ended, self.settings.calls)
        elif state is HALF_OPEN:
            self.check_decision(ended)

    def too_bad(self, ended: list[tuple[bool, bool]], least: int) -> bool:
        if len(ended) < least:
            return False
        failed = sum(one[0] for one in ended) / len(ended)
        slow = sum(one[1] for one in ended) / len(ended)
        return failed >= self.settings.failures or slow >= self.settings.slow_calls

    def check_decision(self, ended: list[tuple[bool, bool]]) -> None:
        """It is decided when, and only when, the missing probes cannot change it."""
        missing = self.settings.probes - len(ended)
        best = [*ended, *[(False, False)] * missing]
        worst = [*ended, *[(True, True)] * missing]
        if self.too_bad(best, 1):
            assert self.breaker.state is OPEN
        elif not self.too_bad(worst, 1):
            assert self.breaker.state is CLOSED
        else:
            assert self.breaker.state is HALF_OPEN

    # ---- the clock and the operator

    @rule(seconds=st.sampled_from([0.5, 10.0, 29.0, 30.0, 61.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(what=st.sampled_from(["force_open", "force_closed", "reset"]), often=st.integers(0, 5))
    def steer(self, what: str, often: int) -> None:
        if often:  # operators are rare
            return
        self.steered = True
        getattr(self.breaker, what)(self.now)
        self.steered = False

    @invariant()
    def never_more_probes_than_allowed(self) -> None:
        if not hasattr(self, "breaker") or self.breaker.state is not HALF_OPEN:
            return
        probes = self.settings.probes
        assert len(self.breaker._probes) <= probes
        assert self.admitted_half_open - self.returned_half_open <= probes
        fresh = [
            one
            for one in self.running
            if one.stay == self.stay and self.now < one.began + self.settings.probe_timeout
        ]
        assert len(fresh) <= probes

    @invariant()
    def its_status_is_true(self) -> None:
        if not hasattr(self, "breaker"):
            return
        status = self.breaker.status(self.now)
        assert status.state == self.breaker.state.value
        assert status.since == round(self.now - self.since, 3)
        if self.breaker.state is CLOSED:
            assert status.calls == len(self.ended)
            assert status.failed == sum(one[0] for one in self.ended)
            assert status.slow == sum(one[1] for one in self.ended)


BreakerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestBreaker = BreakerMachine.TestCase
