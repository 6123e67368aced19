"""What is to be done when: a heap of due times. Nothing rings by itself; whoever has a clock asks."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

Action = Callable[[float], None]


class Timers:
    """Actions by their due times; those of one time in the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()

    @property
    def due(self) -> float:
        """When the next one is; infinite if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def at(self, when: float, action: Action) -> None:
        """Do this then. It is not taken back: an action looks whether it is still wanted."""
        heapq.heappush(self._heap, (when, next(self._numbers), action))

    def run(self, now: float) -> None:
        """Do all that is due, with the time that it is."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            heapq.heappop(heap)[2](now)
