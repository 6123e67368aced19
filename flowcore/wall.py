"""The wall clock of a node: that of the machine, unless somebody rehearses that it is wrong."""

from __future__ import annotations

import datetime
import time


class WallClock:
    """What time it is for this node: what expires, and what is stamped, goes by it.

    It may jump, as the machine's does. What is to last goes by trio's clock, which nothing here moves.
    """

    def __init__(self) -> None:
        self._offsets: dict[str, float] = {}
        self._offset = 0.0

    def __call__(self) -> float:
        """Seconds since 1970, in UTC."""
        return time.time() + self._offset

    def moment(self) -> datetime.datetime:
        """The same as a date, in UTC."""
        return datetime.datetime.fromtimestamp(self(), datetime.UTC)

    @property
    def offset(self) -> float:
        """Seconds by which it is ahead of the machine's; below 0: behind."""
        return self._offset

    def set(self, name: str, offset: float) -> None:
        """Have it be so many seconds off; what others have set is added. One of the same name is replaced."""
        self._offsets[name] = offset
        self._offset = sum(self._offsets.values())

    def lift(self, name: str) -> None:
        """Undo one, if it is there; without any the clock is exactly that of the machine."""
        self._offsets.pop(name, None)
        self._offset = sum(self._offsets.values())
