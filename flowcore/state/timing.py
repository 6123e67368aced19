"""The time of a live state: what its commands are given, and what is thought of the times of others."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from flowcore.errors import StateUnavailable, UntrustedFile
from flowcore.state.clock import FAR, StateClock
from flowcore.state.commands import decode_entry
from flowcore.state.interfaces import ChecksCommands, Consensus

_logger = logging.getLogger(__name__)

Clock = Callable[[], float]

_SETTLE = 1.5
"""Seconds that a command waits for the time to be known: who cannot be asked can agree to nothing, either."""


class Timing:
    """One clock for all of a state: a `StateClock`, or one from outside that goes its own way."""

    def __init__(self, clock: Clock, consensus: Consensus) -> None:
        self._clock = clock
        self._wall = self._corrected = clock
        self._seen: Callable[[float], None] | None = None
        self.unsettled: trio.Event | None = None
        """The time is not known yet: `settle` waits for this."""
        self._far = False
        if isinstance(clock, StateClock):
            self._seen, self.unsettled = clock.seen, clock.settled
            self._wall, self._corrected = clock.wall, clock.corrected
            if isinstance(consensus, ChecksCommands):
                # others would not agree to a command that a lying node has drawn this clock ahead for
                clock.most_ahead = consensus.ahead / 2

    def __call__(self) -> float:
        """The time that a command given now would have, seconds since 1970."""
        return self._clock()

    @property
    def known(self) -> bool:
        """Whether it is known what time it is."""
        return self.unsettled is None or self.unsettled.is_set()

    async def settle(self) -> None:
        """Wait a little until the time is known: what a command promises for so long ends by it.

        Raises StateUnavailable where it is not by then.
        """
        if self.unsettled is not None:
            with trio.move_on_after(_SETTLE):
                await self.unsettled.wait()
                self.unsettled = None
                return
            raise StateUnavailable(
                "it is not known yet what time it is: too few of the nodes that decide have told theirs, or"
                " their clocks differ"
            )

    def moved(self, time: float) -> None:
        """The state has come to this time. Says so once where it is far ahead of this node's clock."""
        if self._seen is not None:
            self._seen(time)
        ahead = time - self._wall()
        if ahead > FAR and not self._far:
            _logger.warning(
                "the time of commands is %.1f s ahead of this node's clock: that of some node is wrong",
                ahead,
            )
        self._far = ahead > FAR

    def ahead(self, time: float) -> float:
        """Seconds by which a time is ahead of this node's wall clock; 0 if it is behind."""
        return max(0.0, time - self._wall())

    def ahead_of(self, command: bytes) -> float:
        """As `flowcore.state.Ahead`: by the clock that no state draws, whatever others have stamped."""
        return ahead_of(command, self._corrected())


def ahead_of(command: bytes, now: float) -> float:
    """By how many seconds the time of a command is ahead of now; infinite where it is none."""
    try:
        return decode_entry(command).time - now
    except UntrustedFile:
        return math.inf
