"""`Timeline`: what happens when, in virtual time, with one source of chance, and a trace of it."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

_Event = tuple[float, int, Callable[..., None], tuple[Any, ...]]


class Timeline:
    """What happens, in the order of its time.

    `checks` are called after every step: what they raise ends the run, with the seed, the step and the time
    as a note.
    """

    def __init__(self, seed: int = 0, *, trace: int = 0) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        """All chance there is."""
        self.now = 0.0
        """Seconds since the beginning."""
        self.steps = 0
        self.checks: list[Callable[[], None]] = []
        self._events: list[_Event] = []
        self._number = 0
        self._trace: deque[tuple[float, str, object]] | None = (
            deque(maxlen=trace) if trace else None
        )

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        """Call something at a time; of one time, in the order in which they were asked for."""
        if not when >= self.now:
            raise ValueError(f"expected a time from {self.now} s on, not {when!r}")
        self._number += 1
        heapq.heappush(self._events, (when, self._number, call, args))

    def after(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        """Call something after so many seconds."""
        if not delay >= 0:
            raise ValueError(f"expected seconds, at least 0, not {delay!r}")
        self._number += 1
        heapq.heappush(self._events, (self.now + delay, self._number, call, args))

    def step(self) -> bool:
        """Let the next thing happen; False if there is nothing more."""
        if not self._events:
            return False
        self.now, _, call, args = heapq.heappop(self._events)
        self.steps += 1
        try:
            call(*args)
            for check in self.checks:
                check()
        except Exception as error:
            error.add_note(f"in seed {self.seed}, at step {self.steps}, {self.now:.6f} s")
            raise
        return True

    def run(
        self,
        *,
        until: float = math.inf,
        steps: float = math.inf,
        stop: Callable[[], bool] | None = None,
    ) -> bool:
        """Go on until a time, for so many steps, or until `stop` is true; whether `stop` is.

        At the end of the time the clock stands there, whatever has happened last.
        """
        events, last = self._events, self.steps + steps
        while events and events[0][0] <= until and self.steps < last:
            if stop is not None and stop():
                return True
            self.step()
        if math.isfinite(until) and self.steps < last:
            self.now = max(self.now, until)
        return stop is not None and stop()

    @property
    def tracing(self) -> bool:
        """Whether a trace is kept."""
        return self._trace is not None

    def trace(self, what: str, about: object = "") -> None:
        """Write a line into the trace, if one is kept; `about` is made a text when it is read."""
        if self._trace is not None:
            self._trace.append((self.now, what, about))

    def lines(self) -> Iterable[str]:
        """The trace, oldest first: seconds, what happened, and with what."""
        for when, what, about in self._trace or ():
            yield f"{when:12.6f}  {what}" + (f"  {about!r:.300}" if about != "" else "")
