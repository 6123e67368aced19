"""What has come before, by number: each is new once. Sans-IO, bounded memory.

A sliding window, as that against replays in IPsec (RFC 4303 section 3.4.3): numbers above it are new and move
it, numbers below count as seen.
"""

from __future__ import annotations

from collections import deque

WINDOW = 4096
"""How far behind the highest number a new one may come."""
_BOOTS = 16


class Window:
    """The numbers of one sender's one start."""

    def __init__(self) -> None:
        self._highest = 0
        self._bits = 1  # bit i: `_highest - i` was seen

    def has(self, number: int) -> bool:
        """Whether a number was seen, or is so old that it may have been."""
        behind = self._highest - number
        if behind < 0:
            return False
        return behind >= WINDOW or bool(self._bits >> behind & 1)

    def add(self, number: int) -> None:
        """It is seen from now on."""
        ahead = number - self._highest
        if ahead > 0:
            self._bits = (self._bits << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self._highest = number
        elif -ahead < WINDOW:
            self._bits |= 1 << -ahead


class Seen:
    """What was seen of one sender: the numbers of its newest start, and which starts are over."""

    def __init__(self) -> None:
        self._boot: int | None = None
        self._over: deque[int] = deque(maxlen=_BOOTS)
        self._window = Window()

    def has(self, boot: int, number: int) -> bool:
        """Whether it was seen, or is of a start that is over."""
        if boot == self._boot:
            return self._window.has(number)
        return boot in self._over

    def add(self, boot: int, number: int) -> None:
        """It is seen from now on; with another start, the one before is over."""
        if boot != self._boot:
            if self._boot is not None:
                self._over.append(self._boot)
            self._boot = boot
            self._window = Window()
        self._window.add(number)
