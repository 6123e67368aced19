"""Breakers of things that can stand in for each other, of which never all are open. Sans-IO.

Where several serve the same, one that fails is better left out; but when all fail, leaving out all of them
helps nobody, and is as likely the caller's network as their fault. So at most a share of a set is ejected
(as Envoy's outlier detection has it: `max_ejection_percent`); the others stay in, whatever they do.
A set of one has no alternative: its breaker opens as any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from flowcore.resilience.breaker import Breaker, BreakerSettings, BreakerState

_IN = (BreakerState.CLOSED, BreakerState.FORCED_CLOSED)
_OUT = (BreakerState.OPEN, BreakerState.HALF_OPEN)
"""Out by itself; what an operator forces is let be."""

MemberChanged: TypeAlias = Callable[[str, BreakerState, BreakerState, str], None]
"""Told of each change: the member's name, the old state, the new one, and why."""


def _nobody(name: str, old: BreakerState, new: BreakerState, reason: str) -> None:
    del name, old, new, reason


class BreakerSet:
    """A breaker for each of some alternatives, such as the nodes that one can link to.

    `ejected` is the largest share of them that may be out (open, or half open) at a time; one stays in
    whatever the share. Only an operator can force more of them open.
    """

    def __init__(
        self, settings: BreakerSettings, ejected: float = 0.5, changed: MemberChanged = _nobody
    ) -> None:
        self._settings = settings
        self._ejected = ejected
        self._changed = changed
        self._members: dict[str, Breaker] = {}

    def add(self, name: str, now: float) -> Breaker:
        """The breaker of a member, closed if it is new."""
        known = self._members.get(name)
        if known is not None:
            return known

        def changed(old: BreakerState, new: BreakerState, reason: str) -> None:
            self._changed(name, old, new, reason)

        made = Breaker(self._settings, now, changed=changed, may_open=self._may_open)
        self._members[name] = made
        return made

    def remove(self, name: str, now: float) -> None:
        """A member is gone. If too many of those left are out, those out for longest come back in."""
        del self._members[name]
        out = [one for one in self._members.values() if one.state in _OUT]
        out.sort(key=lambda one: one.status(now).since, reverse=True)
        for one in out:
            if self.out <= self._most_out():
                return
            one.reset(now, "too many of its set are out")

    def __getitem__(self, name: str) -> Breaker:
        return self._members[name]

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def out(self) -> int:
        """How many are out: open, half open or forced open."""
        return sum(one.state not in _IN for one in self._members.values())

    def _most_out(self) -> int:
        count = len(self._members)
        return max(1, min(int(self._ejected * count + 1e-9), count - 1))

    def _may_open(self) -> bool:
        return self.out < self._most_out()
