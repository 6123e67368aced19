"""Nonces that were used, for as long as their requests could come again. Sans-IO; time is given."""

from __future__ import annotations

from collections import deque


class Nonces:
    """At most `most` are remembered, each for `window` seconds after the moment it was made at."""

    def __init__(self, window: float, most: int) -> None:
        self._window = window
        self._most = most
        self._known: set[tuple[str, str]] = set()
        self._order: deque[tuple[float, tuple[str, str]]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def full(self, now: float) -> bool:
        """Whether no further one can be remembered now; what cannot be remembered must be refused."""
        self._forget(now)
        return len(self._known) >= self._most

    def use(self, key: str, nonce: str, now: float) -> bool:
        """Whether it is used for the first time; call it for requests only whose MAC is right.

        It is kept for twice the window: a request that was made ahead of our clock is good that much longer.
        """
        self._forget(now)
        used = (key, nonce)
        if used in self._known:
            return False
        self._known.add(used)
        self._order.append((now + 2 * self._window, used))
        return True

    def _forget(self, now: float) -> None:
        order = self._order
        while order and order[0][0] <= now:
            self._known.discard(order.popleft()[1])
