"""Indirect probes pass through here: sealed datagrams of others, which cannot be read or made here.

A member that is asked to pass a probe on says so after a while if no answer came through it, so that whoever
asked knows that it is not deaf itself (Lifeguard's nack).
"""

from __future__ import annotations

from collections.abc import Callable

from flow_membership.swim.timers import Timers
from flow_membership.swim.wire import Forward, Nack, encode

MOST_WAITING = 1024
_MOST_WAIT = 30.0


class Relay:
    """What waits for an answer that would pass through this node."""

    def __init__(self, timers: Timers, tell: Callable[[str, bytes], None], *, nacks: bool) -> None:
        """`tell` sends a message to a member by name."""
        self._timers = timers
        self._tell = tell
        self._nacks = nacks
        self._waiting: dict[tuple[str, str], int] = {}
        self._set = 0
        """Timers that are set: one for each probe that was passed on, answered or not."""
        self.relayed = 0

    def passing(self, sender: str, forward: Forward, now: float) -> None:
        """A datagram is passed on from one member to another."""
        self.relayed += 1
        self._waiting.pop((forward.to, sender), None)  # it may be the answer
        if not forward.number or not self._nacks or self._set >= MOST_WAITING:
            return
        way, number = (sender, forward.to), forward.number
        self._waiting[way] = number
        self._set += 1

        def remind(now: float) -> None:
            del now
            self._set -= 1
            if self._waiting.get(way) == number:
                del self._waiting[way]
                self._tell(sender, encode(Nack(number)))

        self._timers.at(now + min(_MOST_WAIT, max(0, forward.wait) / 1000), remind)
