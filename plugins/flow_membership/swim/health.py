"""Whether this node itself is slow: Lifeguard, section 4.1 (LHA-Probe), and what its own clock tells.

A node that is slow sees answers late and takes others for dead. It notices by what goes wrong here, and then
waits longer.
"""

from __future__ import annotations


class LocalHealth:
    """The local health multiplier: 0 is healthy; time-outs and intervals are (score + 1) times as long."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.score = 0
        self.worst = 0
        self._alone = 0

    @property
    def factor(self) -> int:
        return self.score + 1

    def probe_answered(self) -> None:
        self._by(-1)

    def probe_failed(self, *, others_heard: bool, helpers_heard: bool) -> None:
        """A probe got no answer. What else was heard meanwhile says whose fault it is.

        A helper that says that nothing came through it (its nack) shows that this node hears and is heard:
        the target is gone. If no helper was heard, and others were, it is this node that misses things. If
        nobody at all was heard, it may be cut off, and to be slower would only show that later; or it is
        slow, and that shows when it hears again (`heard_again`).
        """
        if not others_heard:
            self._alone += 1
        elif not helpers_heard:
            self._by(1)

    def heard_again(self) -> None:
        """After a silence, what failed meanwhile was this node's own fault."""
        self._by(max(1, self._alone))
        self._alone = 0

    def refuted(self) -> None:
        """Somebody suspected this node: it may be slow to answer."""
        self._by(1)

    def late(self) -> None:
        """This node's own clock rang late."""
        self._by(1)

    def _by(self, change: int) -> None:
        self.score = min(self._most, max(0, self.score + change))
        self.worst = max(self.worst, self.score)
