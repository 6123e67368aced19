"""An adversary that is the network: it looks for locks that are not kept.

For each view it says who gets its proposal, prevotes and precommits, as the scenarios of *Twins* do. To break
an engine without locks takes three things: one node decides alone; some are locked on what it has decided,
others never heard of it; and the rest go on to the next view without it, led by a liar or by one that knows
nothing. To break one whose locks open too easily, some earlier view must have had a quorum of prevotes that a
liar alone knows. Chance seldom brings that about, so this does, again and again, with the network open in
between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowcore.testing import Link, World
from support.bft_world.verifier import PRECOMMIT, PREVOTE, PROPOSAL

PLANS = (("alone",), ("alone",), ("hidden", "alone"), ("hidden", "hidden", "alone"), ())
"""What happens in the first views of one height in a window; all else is open, or as chance has it.

`alone`: one hears all precommits, and nobody hears it; some never get the proposal. `hidden`: no honest node
hears a quorum of prevotes, and liars do.
"""
_LATEST = 3
"""Up to which view a liar's turn to lead is waited for: time-outs double."""


class Schedule:
    """Who hears what of whom among the honest: liars hear all, and are heard by all."""

    def __init__(
        self,
        world: ScheduledWorld,
        honest: Sequence[str],
        liars: Sequence[str],
        leads: Callable[[int, int], str],
        behind: Callable[[int], bool],
    ) -> None:
        """`leads` gives who leads a height and view, if anybody knows; `behind` whether some have not decided
        a height."""
        self.windows = 0
        self._behind = behind
        self._leads = leads
        self._world = world
        self._honest = list(honest)
        self._liars = frozenset(liars)
        self._faults = len(liars)
        self._running = True
        self._closed = False
        self._alone = ""
        self._blind: set[str] = set()
        self._cast_for = (0, 0)
        self._plan: tuple[str, ...] = ()
        """None at all: what gets through is chance."""
        self._height = 0
        """The one that the plan is for: the first that begins in this window."""
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
        if self._behind(self._height):  # what the last window did to them is not over yet
            self._world.after(0.05, self._close)
            return
        chance = self._world.random
        self._closed = True
        self._plan = chance.choice(PLANS)
        self._height, self._alone, self._blind = 0, "", set()
        self.windows += 1
        self._world.trace("schedule", self._plan)
        self._world.after(chance.uniform(0.8, 2.0), self._open)

    def _plot(self) -> None:
        """Where a liar leads a view soon, one is alone in the view before, and none hears of those before."""
        turns = (
            view for view in range(1, _LATEST + 1) if self._leads(self._height, view) in self._liars
        )
        turn = next(turns, 0)
        if turn and self._world.random.random() < 0.8:
            self._plan = ("hidden",) * (turn - 1) + ("alone",)
            self._world.trace("schedule", self._plan)

    def passes(self, sender: str, receiver: str, message: Any) -> bool:
        """Whether a message gets through: of liars what they ask for, their votes, and some proposals."""
        if not self._closed or receiver not in self._honest:
            return True
        if type(message).__name__ == "Quorum":
            return self._all_pass(receiver, message.certificate)
        signed = getattr(message, "signed", None)
        if signed is None or signed.kind not in (PROPOSAL, PREVOTE, PRECOMMIT):
            tells = sender not in self._liars and sender != self._alone
            return tells or type(message).__name__ == "Ask"
        if signed.kind == PROPOSAL and not signed.view and self._plan and not self._height:
            self._height = signed.height
            self._plot()
        pattern = self.pattern(signed.height, signed.view)
        if signed.kind == PROPOSAL:
            if pattern == "alone":
                self._cast(signed.height, signed.view, signed.signer)
            return pattern != "alone" or receiver not in self._blind
        signer = signed.signer
        if signer not in self._honest:
            return True
        if signer == self._alone and signed.kind == PRECOMMIT:
            return False
        if pattern == "alone" and signed.kind == PRECOMMIT:
            return receiver == self._alone or signer in self._blind
        if pattern == "hidden" and signed.kind == PREVOTE:
            ring = self._honest
            return (ring.index(receiver) - ring.index(signer)) % len(ring) > self._faults
        if pattern == "random":
            at = (signed.height, signed.view, signed.kind, signer, receiver)
            if at not in self._dropped:
                self._dropped[at] = self._world.random.random() < 0.3
            return not self._dropped[at]
        return True

    def _all_pass(self, receiver: str, certificate: Any) -> bool:
        """Whether votes get through that the leader passes on together: all of them, or none."""
        pattern = self.pattern(certificate.height, certificate.view)
        if pattern == "alone" and certificate.kind == PRECOMMIT:
            return receiver == self._alone
        return pattern == "open" or (pattern == "alone" and receiver not in self._blind)

    def _cast(self, height: int, view: int, leader: str) -> None:
        """Who is alone in a view, and who is blind: whoever leads next, if it can be."""
        if (height, view) == self._cast_for:
            return
        self._cast_for = (height, view)
        chance, following = self._world.random, self._leads(height, view + 1)
        others = [one for one in self._honest if one != following]
        self._alone = chance.choice(others)
        rest = [one for one in others if one not in (self._alone, leader)]
        first = [following] if following in self._honest else []
        blind = [*first, *chance.sample(rest, len(rest))]
        self._blind = set(blind[: self._faults])
        self._world.trace(f"schedule: {self._alone} alone, {sorted(self._blind)} blind")

    def pattern(self, height: int, view: int) -> str:
        """What happens in a view. Liars know, for they are in league with it."""
        if not self._closed:
            return "open"
        if not self._plan:
            return "random"
        if height != self._height or view >= len(self._plan):
            return "open"
        return self._plan[view]


class ScheduledWorld(World):
    """A world in which a schedule may say what gets through."""

    def __init__(self, seed: int = 0, *, link: Link | None = None, trace: int = 0) -> None:
        super().__init__(seed, link=link, trace=trace)
        self.schedule: Schedule | None = None

    def send(self, sender: str, receiver: str, message: Any) -> None:
        """See `World`."""
        if self.schedule is None or self.schedule.passes(sender, receiver, message):
            super().send(sender, receiver, message)
