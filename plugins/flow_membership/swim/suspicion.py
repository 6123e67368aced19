"""How long a member is suspected before it is held for dead: Lifeguard, section 4.2 (LHA-Suspicion)."""

from __future__ import annotations

import math

import attrs


def shortest(alpha: float, members: int, probe_interval: float) -> float:
    """Seconds of the shortest suspicion among so many members: alpha · log10(members) · probe interval."""
    return alpha * max(1.0, math.log10(max(1, members))) * probe_interval


@attrs.define(eq=False)
class Suspicion:
    """One member, suspected in one incarnation."""

    began: float
    least: float
    """Seconds."""
    most: float
    """Seconds, as long as nobody confirms it."""
    wanted: int
    """Confirmations after which it is at its shortest."""
    accusers: set[str]

    @property
    def confirmations(self) -> int:
        """Accusers besides the first."""
        return len(self.accusers) - 1

    @property
    def open(self) -> bool:
        """Whether another confirmation changes something."""
        return self.confirmations < self.wanted

    def confirm(self, accuser: str) -> bool:
        """Count another accuser; whether it is one that counts."""
        if accuser in self.accusers or not self.open:
            return False
        self.accusers.add(accuser)
        return True

    def ends(self, last_heard: float) -> float:
        """When it becomes death, by what is known now; `last_heard`: when this node heard anybody at all.

        One that has heard nobody since cannot hear confirmations either: as if half of them had come.
        """
        if self.wanted <= 0:
            return self.began + self.least
        share = math.log(self.confirmations + 1) / math.log(self.wanted + 1)
        if last_heard < self.began:
            share = max(share, 0.5)
        return self.began + max(self.least, self.most - (self.most - self.least) * share)
