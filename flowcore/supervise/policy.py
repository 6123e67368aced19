"""What a supervisor decides, without doing it: when to restart, whom to take down with it, when to give up.

The semantics are Erlang/OTP's (`supervisor`, stdlib of OTP 25); tests compare ordered logs with the real one.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence

import attrs


class Strategy(enum.Enum):
    """Who is restarted when one child ends and is to be restarted."""

    ONE_FOR_ONE = "one_for_one"
    """Only that child."""
    ONE_FOR_ALL = "one_for_all"
    """All children."""
    REST_FOR_ONE = "rest_for_one"
    """That child, and all that were started after it."""


class Restart(enum.Enum):
    """When a child that ended is restarted."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """Only after a crash."""
    TEMPORARY = "temporary"
    """Never; it is forgotten, also when a sibling's end takes it down."""


class Exit(enum.Enum):
    """How a child ended."""

    NORMAL = "normal"
    """Its run returned."""
    SHUTDOWN = "shutdown"
    """It was told to stop, or was a supervisor that gave up."""
    CRASH = "crash"
    """Its run raised an exception."""


def restarts(restart: Restart, exit_: Exit) -> bool:
    """Whether a child that ended on its own is to be restarted."""
    if restart is Restart.TRANSIENT:
        return exit_ is Exit.CRASH
    return restart is Restart.PERMANENT


def affected(strategy: Strategy, names: Sequence[str], failed: str) -> Sequence[str]:
    """The children to stop (in reverse) and to start again (in order), `failed` among them."""
    if strategy is Strategy.ONE_FOR_ONE:
        return [failed]
    if strategy is Strategy.ONE_FOR_ALL:
        return names
    return names[names.index(failed) :]


@attrs.define
class Intensity:
    """How many restarts are allowed within a period: a sliding window, as in OTP's `add_restart`.

    A group that is restarted together counts once; an attempt that fails counts too.
    """

    limit: int
    period: float
    """In seconds."""
    _times: deque[float] = attrs.field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        if self.limit < 0 or not self.period > 0:
            raise ValueError(
                f"expected an intensity of 0 or more restarts in more than 0 s,"
                f" not {self.limit} in {self.period} s"
            )

    def allows(self, now: float) -> bool:
        """Count one restart at `now` (seconds, never going back); give whether it is still allowed."""
        self._times.append(now)
        while self._times[0] < now - self.period:
            self._times.popleft()
        return len(self._times) <= self.limit

    @property
    def count(self) -> int:
        """Restarts within the period, as of the last one."""
        return len(self._times)
