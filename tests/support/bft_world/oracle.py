"""What must hold of Byzantine agreement at every moment: it sees all honest servers at once, and remembers.

No two of them decide differently (agreement), whatever is decided has a certificate (see `verifier`), none of
them says two things in one view, in whatever life, nor says anything before it is durable; none is ever
accused, and whoever is heard to contradict itself is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from support.bft_world import verifier
from support.bft_world.keys import Ring
from support.bft_world.verifier import NIL, PRECOMMIT, PREVOTE, PROPOSAL, Decision, Form, Voters
from support.simulation.ends import Broken

_NAMES = {PROPOSAL: "proposal", PREVOTE: "prevote", PRECOMMIT: "precommit"}


class Blind:
    """Looks at nothing: what a liar does is its own affair."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


class _Promised:
    """What a hard state on the disk says."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        *_, standing, self.certificate, promises, _ = msgspec.msgpack.decode(data)
        self.height: int = standing[1] + 1
        self.position: int = standing[2]
        self.view: int = promises[0]
        self.said = {PROPOSAL: promises[1], PREVOTE: promises[2], PRECOMMIT: promises[3]}
        self.locked: bytes = promises[5]


class _Seen:
    """What was last seen of a server in this life."""

    def __init__(self, standing: Any) -> None:
        self.standing = standing
        self.open: list[Any] = []
        """Entries of a block that is applied in part."""
        self.writes: list[Any] = []
        """Entries of the last write, which may find no room, or a disk that has failed."""
        self.heard: dict[tuple[str, int, int, int], tuple[bytes, int]] = {}
        """By liar, kind, height and view: what was taken."""


class Oracle:
    """Told of every write, message, vote and entry of the honest; raises Broken."""

    def __init__(
        self, ring: Ring, honest: Collection[str], form: Form = verifier.statement
    ) -> None:
        """`form` makes what is signed."""
        self._form = form
        self.honest = frozenset(honest)
        self.servers: dict[str, Any] = {}
        """The last life of each."""
        self.decided: dict[int, Decision] = {}
        """By height."""
        self.voters: dict[int, Voters] = {}
        """Who decides a height."""
        self.said: dict[tuple[str, int, int, int], tuple[bytes, int]] = {}
        """By node, kind, height and view: the digest and the valid view."""
        self.states: dict[int, bytes] = {}
        """By position: the state that somebody had there."""
        self.accused: dict[str, set[str]] = {}
        """By liar: who knows it."""
        self.caught = 0
        """How often somebody heard a contradiction."""
        self.views = self.certified = self.censored = self.taken = 0
        """How many views were given up, blocks looked at, censors found out, states taken in."""
        self.ring = ring
        self._seen: dict[str, _Seen] = {}
        self._promised: dict[str, _Promised] = {}

    # ---- what servers tell

    def born(self, server: Any) -> None:
        """A server has started, from what is on its disk; nothing is applied yet."""
        name = server.host.name
        self.servers[name] = server
        self._seen[name] = _Seen(server.engine.standing)
        self._epoch(name, server.engine.standing)

    def writes(self, server: Any, write: Any) -> None:
        """Something is about to be written."""
        self._seen[server.host.name].writes = list(write.entries)

    def wrote(self, server: Any, write: Any) -> None:
        """It is durable."""

    def says(self, server: Any, message: Any) -> None:
        """A message goes out: what it promises must be durable, and be the only thing it says."""
        signed = getattr(message, "signed", None)
        name = server.host.name
        if signed is None or signed.signer != name or signed.kind not in _NAMES:
            return
        at = (name, signed.kind, signed.height, signed.view)
        what = (signed.digest, signed.valid)
        before = self.said.setdefault(at, what)
        kind = f"{_NAMES[signed.kind]} of height {signed.height}, view {signed.view}"
        if before != what:
            raise Broken(f"contradiction: {name} has two {kind}")
        promised = self._durable(server)
        if promised is None or promised.height < signed.height:
            raise Broken(f"durability: {name} sends a {kind}, and its disk knows nothing of it")
        if promised.height > signed.height or promised.view > signed.view:
            return
        if promised.view < signed.view or promised.said[signed.kind] != signed.digest:
            raise Broken(
                f"durability: {name} sends a {kind}, and its disk has view {promised.view},"
                f" {promised.said[signed.kind].hex()[:8] or 'nothing'}"
            )
        if signed.kind == PRECOMMIT and signed.digest != NIL:
            self._is_locked(server, promised, signed.digest)

    def _is_locked(self, server: Any, promised: _Promised, digest: bytes) -> None:
        """Whoever has precommitted a block has it on its disk, and is locked on it."""
        durable = server.store.durable
        tail = durable.entries[max(0, promised.position - durable.start) :]
        if promised.locked != digest or not tail or verifier.decision(tail).digest != digest:
            raise Broken(
                f"durability: {server.host.name} precommits what is not locked and on its disk"
            )

    def _durable(self, server: Any) -> _Promised | None:
        data = server.store.durable.hard_state
        name = server.host.name
        known = self._promised.get(name)
        if known is None or known.data is not data:
            if not data:
                return None
            known = self._promised[name] = _Promised(data)
        return known

    def applied(self, server: Any, entry: Any) -> None:
        """An entry is applied; with the last one of its block, all of that is looked at."""
        seen = self._seen[server.host.name]
        seen.open.append(entry)
        if len(seen.open) == verifier.entries_in(seen.open[0].data):
            entries, seen.open = seen.open, []
            self._decides(server, verifier.decision(entries))

    def _decides(self, server: Any, found: Decision) -> None:
        name, height = server.host.name, found.height
        known = self.decided.get(height)
        if known is not None and known.digest != found.digest:
            raise Broken(
                f"agreement: {name} decides {found.digest.hex()[:8]} at height {height}, and"
                f" {known.digest.hex()[:8]} is decided there"
            )
        if known is None:
            before = self.decided.get(height - 1)
            if (before.digest if before else NIL) != found.parent:
                raise Broken(f"agreement: {name} decides {height}, which does not follow")
            self.decided[height] = found
        why = verifier.why_no_certificate(
            self._certificate(server, found),
            PRECOMMIT,
            height,
            found.digest,
            self.voters[height],
            self.ring.verify,
            self._form,
        )
        if why:
            raise Broken(f"certificate: {name} decides height {height}: {why}")
        self.certified += 1

    def _certificate(self, server: Any, found: Decision) -> Any:
        """What a server has to show for a block: as the last one, or in the head of the next."""
        engine = server.engine
        held = engine.certificate
        if held is not None and held.height == found.height:
            return msgspec.structs.astuple(held)
        following = found.position + 1 + len(found.commands)
        head = next(self._heads(server, following), None)
        if head is not None:
            return verifier.certificate_in(head.data)
        # decided and durable, and handed out when a state that was taken in is about to take its place
        promised = self._durable(server)
        last = None if promised is None else promised.certificate
        return last if last is not None and last[2] == found.height else None

    def _heads(self, server: Any, position: int) -> Iterator[Any]:
        """What a server has at a position: to be written, in a write that failed, written, and durable."""
        stored, durable = server.store.stored, server.store.durable
        writes = self._seen[server.host.name].writes
        for entries in (server.engine._entries, writes, stored.entries, durable.entries):
            yield from (one for one in entries if one.position == position)

    def state(self, name: str, position: int, dump: bytes) -> None:
        """The state of a server at a checkpoint."""
        if self.states.setdefault(position, dump) != dump:
            raise Broken(f"states differ at {position}: {name} has another one")

    def installed(self, server: Any, height: int, position: int) -> None:
        """A snapshot has taken the place of the state."""
        name = server.host.name
        found = self.decided.get(height)
        if found is None or found.position + len(found.commands) != position:
            raise Broken(f"checkpoint: {name} takes a state of height {height}, not decided")
        if self.states.get(position) != server.machine.dump():
            raise Broken(f"checkpoint: {name} takes a state at {position} that no honest node had")
        if found.digest != server.engine.standing.digest and height == (
            server.engine.standing.height
        ):
            raise Broken(f"checkpoint: {name} takes a standing that is not of what was decided")
        self._seen[name].open.clear()
        self.taken += 1

    def told(self, server: Any, event: Any) -> None:
        """Something that a person may want to know."""
        self.views += event.kind == "view"
        self.censored += event.kind == "censored"
        if event.kind in ("evidence", "accused"):
            self._accuses(server.host.name, event.about)

    def _accuses(self, name: str, liar: str) -> None:
        if liar in self.honest:
            raise Broken(f"evidence: {name} accuses {liar}, which is honest")
        self.accused.setdefault(liar, set()).add(name)

    def heard(self, server: Any, message: Any, before: tuple[int, int], taken: bool) -> None:
        """A server was told something when it was at a height and view: contradictions are evidence."""
        signed = getattr(message, "signed", None)
        if signed is None or signed.kind not in _NAMES or signed.signer in self.honest:
            return
        seen = self._seen[server.host.name]
        at = (signed.signer, signed.kind, signed.height, signed.view)
        what = (signed.digest, signed.valid)
        first = seen.heard.get(at)
        height, view = before
        now = signed.height == height and view - 32 < signed.view <= view
        if first is None:
            if taken and now and (signed.kind != PROPOSAL or hasattr(message, "block")):
                seen.heard[at] = what
            return
        if first == what or not now or not self._signed(signed):
            return
        if signed.kind != PROPOSAL and signed.valid != -1:
            return
        if signed.kind == PROPOSAL and (signed.valid >= signed.view or signed.digest == NIL):
            return
        engine = server.engine
        if engine.failed:
            return
        self.caught += 1
        if signed.signer not in engine.evidence and signed.signer not in engine.standing.accused:
            raise Broken(
                f"evidence: {server.host.name} hears two {_NAMES[signed.kind]}s of {signed.signer},"
                " and keeps no evidence"
            )

    def _signed(self, signed: Any) -> bool:
        voters = self.voters.get(signed.height)
        if voters is None or signed.epoch != voters.epoch or signed.signer not in voters.names:
            return False
        said = self._form(
            signed.kind,
            voters.cluster,
            signed.epoch,
            signed.height,
            signed.view,
            signed.valid,
            signed.digest,
        )
        return self.ring.verify(voters.keys[signed.signer], said, signed.signature)

    # ---- after every step

    def look(self, server: Any) -> None:
        """A server has done something."""
        name, standing = server.host.name, server.engine.standing
        seen = self._seen[name]
        if standing is seen.standing:
            return
        if standing.height < seen.standing.height:
            raise Broken(f"{name} goes back to height {standing.height}")
        seen.standing = standing
        self._epoch(name, standing)
        for liar in standing.accused:
            self._accuses(name, liar)

    def _epoch(self, name: str, standing: Any) -> None:
        """All honest servers think that the same voters decide a height."""
        epoch = standing.epoch
        found = Voters(standing.cluster, epoch.number, epoch.voters, dict(epoch.keys))
        if self.voters.setdefault(standing.height + 1, found) != found:
            raise Broken(f"epochs: {name} has other voters for height {standing.height + 1}")
