"""An adversary that is the network: it looks for locks that are not kept.

For each view it says who gets its proposal, prevotes and precommits, as the scenarios of *Twins* do. To break
an engine without locks takes three things: one node decides alone; some are locked on what it has decided,
others never heard of it; and the rest go on to the next view without it, led by a liar or by one that knows
nothing. To break one whose locks open too easily, some earlier view must have had a quorum of prevotes that a
liar alone knows. Chance seldom brings that about, so this does, again and again, with the network open in
between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowcore.testing import Link, World
from support.bft_world.verifier import PRECOMMIT, PREVOTE, PROPOSAL

PATTERNS = ("alone", "alone", "hidden", "hidden", "random", "open")


class Schedule:
    """Who hears what of whom among the honest: liars hear all, and are heard by all."""

    def __init__(self, world: ScheduledWorld, honest: Sequence[str], faults: int) -> None:
        self.windows = 0
        self._world = world
        self._honest = list(honest)
        self._faults = faults
        self._running = True
        self._closed = False
        self._alone = ""
        self._blind: set[str] = set()
        self._patterns: dict[tuple[int, int], str] = {}
        self._dropped: dict[tuple[int, int, int, str, str], bool] = {}
        world.schedule = self
        self._open()

    def stop(self) -> None:
        """Everybody hears everybody."""
        self._running = self._closed = False

    def _open(self) -> None:
        self._closed = False
        self._world.after(self._world.random.uniform(0.02, 0.4), self._close)

    def _close(self) -> None:
        if not self._running:
            return
        chance = self._world.random
        self._closed = True
        self.windows += 1
        self._alone, *rest = chance.sample(self._honest, len(self._honest))
        self._blind = set(rest[: self._faults])
        self._world.trace(f"schedule: {self._alone} alone, {sorted(self._blind)} blind")
        self._world.after(chance.uniform(0.5, 2.5), self._open)

    def passes(self, sender: str, receiver: str, message: Any) -> bool:
        """Whether a message gets through."""
        if not self._closed or sender not in self._honest or receiver not in self._honest:
            return True
        signed = getattr(message, "signed", None)
        if signed is None or signed.kind not in (PROPOSAL, PREVOTE, PRECOMMIT):
            return sender != self._alone or type(message).__name__ == "Ask"
        pattern = self._pattern(signed.height, signed.view)
        if sender == self._alone and signed.kind == PRECOMMIT:
            return False
        if pattern == "alone":
            if signed.kind == PROPOSAL:
                return receiver not in self._blind
            return signed.kind == PREVOTE or receiver == self._alone or signed.signer in self._blind
        if pattern == "hidden" and signed.kind == PREVOTE:
            ring = self._honest
            away = (ring.index(receiver) - ring.index(sender)) % len(ring)
            return away > self._faults
        if pattern == "random":
            at = (signed.height, signed.view, signed.kind, signed.signer, receiver)
            if at not in self._dropped:
                self._dropped[at] = self._world.random.random() < 0.3
            return not self._dropped[at]
        return True

    def _pattern(self, height: int, view: int) -> str:
        found = self._patterns.get((height, view))
        if found is None:
            found = self._patterns[height, view] = self._world.random.choice(PATTERNS)
        return found


class ScheduledWorld(World):
    """A world in which a schedule may say what gets through."""

    def __init__(self, seed: int = 0, *, link: Link | None = None, trace: int = 0) -> None:
        super().__init__(seed, link=link, trace=trace)
        self.schedule: Schedule | None = None

    def send(self, sender: str, receiver: str, message: Any) -> None:
        """See `World`."""
        if self.schedule is None or self.schedule.passes(sender, receiver, message):
            super().send(sender, receiver, message)
