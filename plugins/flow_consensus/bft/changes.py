"""Changes of who takes part, through the log itself.

One node's word is not enough, for it may lie: a change goes into a block with the signatures of f + 1
voters, of whom one is honest, and signs what its own operator has asked of it. So an operator asks at f + 1
nodes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flow_consensus.bft.blocks import Change, Endorsement, change_statement
from flow_consensus.bft.checkpoints import Checkpoints
from flow_consensus.bft.core import Reason, Refused
from flow_consensus.bft.epochs import Member
from flow_consensus.bft.messages import Endorse

_MOST = 4
"""Changes of this epoch that one voter may want: so none can keep the others from wanting something."""


class Changes(Checkpoints):
    """Wanting a change, and hearing what others want."""

    def _begin_changes(self) -> None:
        self._changes: dict[bytes, Change] = {}

    def change(self, add: Iterable[Member] = (), remove: Iterable[str] = ()) -> bytes:
        """Want a change of this epoch's members; gives its digest. Raises Refused, ValueError."""
        if not self.votes_here:
            raise Refused(f"{self.name} is no voter: ask at one")
        bare = Change(
            self.epoch.number, sorted(add, key=lambda one: one.name), sorted(set(remove)), []
        )
        self.epoch.changed(bare.add, bare.remove)
        said = change_statement(self.standing.cluster, bare)
        own = Endorsement(self.name, self._sign(said))
        self._merge(msgspec.structs.replace(bare, endorsements=[own]))
        return bare.digest

    def endorsed(self, of: bytes) -> tuple[str, ...]:
        """Who wants a change of this epoch, as far as is known here."""
        change = self._changes.get(of)
        return () if change is None else tuple(one.signer for one in change.endorsements)

    def _merge(self, change: Change) -> None:
        known = self._changes.get(change.digest)
        both = {one.signer: one for one in ([] if known is None else known.endorsements)}
        before = len(both)
        for one in change.endorsements:
            both.setdefault(one.signer, one)
        if len(both) == before:
            return
        merged = msgspec.structs.replace(change, endorsements=[both[name] for name in sorted(both)])
        self._changes[change.digest] = merged
        names = ", ".join(one.signer for one in merged.endorsements)
        joins = ", ".join(one.name for one in change.add) or "nobody"
        leaves = ", ".join(change.remove) or "nobody"
        self._event("change", f"{joins} to join or be promoted, {leaves} to leave: {names} want it")
        self._broadcast_voters(Endorse(merged))
        self._propose()

    def _on_endorse(self, sender: str, message: Endorse) -> str:
        change = message.change
        if change.epoch != self.epoch.number:
            return self._refuse(Reason.OTHER_EPOCH, sender)
        try:
            self.epoch.changed(change.add, change.remove)
        except ValueError as error:
            return self._refuse(Reason.IMPOSSIBLE, str(error))
        names = [one.signer for one in change.endorsements]
        if not names or names != sorted(set(names)) or not self._endorsements_ok(change):
            return self._refuse(Reason.SIGNATURE, sender)
        if change.digest not in self._changes and all(map(self._wants_enough, names)):
            return self._refuse(Reason.REQUEST, f"{names} want too many changes")
        self._merge(change)
        return ""

    def _wants_enough(self, name: str) -> bool:
        wanted = sum(
            any(one.signer == name for one in change.endorsements)
            for change in self._changes.values()
        )
        return wanted >= _MOST

    def _change_ready(self) -> Change | None:
        for of in sorted(self._changes):
            change = self._changes[of]
            if len(change.endorsements) >= self.epoch.some_honest:
                return change
        return None

    def _acts_at(self) -> int:
        due = super()._acts_at()
        return min(due, self._beat(self.settings.idle_ticks)) if self._changes else due

    def _tick_changes(self) -> None:
        if self._changes and self.now % self.settings.idle_ticks == 0:
            for change in self._changes.values():
                self._broadcast_voters(Endorse(change))

    def _forget_changes(self) -> None:
        """Another epoch: what was wanted of the last one means nothing."""
        for of in [at for at, one in self._changes.items() if one.epoch != self.epoch.number]:
            del self._changes[of]
