"""Nonces that were used, for as long as their requests could come again. Sans-IO; time is given."""

from __future__ import annotations

from collections import deque


class Nonces:
    """At most `most` are remembered, each for `window` seconds after the moment it was made at.

    Of a clock that jumps ahead and back nobody profits: what was made no later than something that has been
    forgotten is refused, since it may be that.
    """

    def __init__(self, window: float, most: int) -> None:
        self._window = window
        self._most = most
        self._known: set[tuple[str, str]] = set()
        self._order: deque[tuple[float, float, tuple[str, str]]] = deque()
        self.forgotten = float("-inf")
        """When the latest of those that are not remembered any more was made."""

    def __len__(self) -> int:
        return len(self._known)

    def full(self, now: float) -> bool:
        """Whether no further one can be remembered now; what cannot be remembered must be refused."""
        self._forget(now)
        return len(self._known) >= self._most

    def use(self, key: str, nonce: str, created: float, now: float) -> bool:
        """Whether it is certainly used for the first time; call it for requests only whose MAC is right.

        It is kept for twice the window: a request that was made ahead of our clock is good that much longer.
        """
        self._forget(now)
        used = (key, nonce)
        if used in self._known or created <= self.forgotten:
            return False
        self._known.add(used)
        self._order.append((now + 2 * self._window, created, used))
        return True

    def _forget(self, now: float) -> None:
        order = self._order
        while order and order[0][0] <= now:
            _, created, used = order.popleft()
            self._known.discard(used)
            self.forgotten = max(self.forgotten, created)
