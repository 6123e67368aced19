"""Broadcasts along a tree: who passes what on to whom, and who has confirmed it. Sans-IO, bounded memory.

The root sends to its children in the topology's tree, they to theirs. A child to whom no way leads is
left out, and its own children take its place. Whoever has it signs so, and the signatures go up the
tree, many in a message. Whom the root misses after a while it sends it to directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from flowcore.swarm.interfaces import Topology
from flowcore.swarm.overlay.frames import Content, Heard
from flowcore.swarm.overlay.seen import Seen

MOST_CASTS = 1024
"""Broadcasts of others that are remembered as under way."""

Key = tuple[str, int, int]
"""Root, its boot, number."""


def reached_children(
    topology: Topology, root: str, node: str, members: Sequence[str], reachable: Mapping[str, int]
) -> list[str]:
    """To whom a node passes a root's broadcast on, now that not everybody can be reached."""
    found = []
    waiting = list(topology.children(root, node, members))
    for child in waiting:
        if child in reachable:
            found.append(child)
        else:
            waiting += topology.children(root, child, members)
    return found


@attrs.define(eq=False)
class _Passed:
    """A broadcast of another node's, as this one has passed it on."""

    parent: str
    until: float
    given: bool
    proofs: dict[str, bytes] = attrs.field(factory=dict)
    """Those that have not gone up yet."""


class Passing:
    """The broadcasts of others."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._passed: dict[Key, _Passed] = {}
        self._due: dict[Key, None] = {}
        self.duplicates = 0

    def is_new(self, content: Content) -> bool:
        """Whether it has not come before."""
        seen = self._seen.get(content.root)
        return seen is None or not seen.has(content.boot, content.number)

    def begin(self, content: Content, parent: str, until: float) -> None:
        """It has come, proven, for the first time."""
        self._seen.setdefault(content.root, Seen()).add(content.boot, content.number)
        key = (content.root, content.boot, content.number)
        self._passed[key] = _Passed(parent, until, given=False)
        if len(self._passed) > MOST_CASTS:
            oldest = next(iter(self._passed))
            del self._passed[oldest]
            self._due.pop(oldest, None)

    def again(self, content: Content) -> bool | None:
        """It has come again: whether it was given to who listens; None if nothing is remembered."""
        self.duplicates += 1
        passed = self._passed.get((content.root, content.boot, content.number))
        return None if passed is None else passed.given

    def confirm(self, content: Content, proof: Mapping[str, bytes]) -> None:
        """It was given to who listens here."""
        key = (content.root, content.boot, content.number)
        passed = self._passed.get(key)
        if passed is not None:
            passed.given = True
            passed.proofs.update(proof)
            self._due[key] = None

    def heard(self, heard: Heard, members: Iterable[str]) -> None:
        """Others have it, who stand below this node."""
        key = (heard.root, heard.boot, heard.number)
        passed = self._passed.get(key)
        if passed is not None:
            known = set(members)
            passed.proofs.update(
                (name, proof) for name, proof in heard.proofs.items() if name in known
            )
            self._due[key] = None

    @property
    def waits(self) -> bool:
        """Whether something has to go up."""
        return bool(self._due)

    def upward(self) -> list[tuple[str, Heard]]:
        """What goes up the tree now: to whom, and what."""
        made = []
        for key in self._due:
            passed = self._passed[key]
            if passed.proofs:
                made.append((passed.parent, Heard(*key, passed.proofs)))
                passed.proofs = {}
        self._due.clear()
        return made

    def forget(self, now: float, members: Iterable[str]) -> None:
        """What nobody waits for any more, and who is not known any more."""
        for key in [key for key, passed in self._passed.items() if passed.until <= now]:
            del self._passed[key]
            self._due.pop(key, None)
        for name in self._seen.keys() - set(members):
            del self._seen[name]


class Casting:
    """One broadcast of this node's own."""

    def __init__(self, content: Content, members: Iterable[str], deadline: float) -> None:
        self.content = content
        self.deadline = deadline
        self._missing = dict.fromkeys(members)
        self._reached: set[str] = set()

    @property
    def missing(self) -> list[str]:
        """Who has not confirmed it."""
        return list(self._missing)

    @property
    def reached(self) -> set[str]:
        """Who has."""
        return self._reached

    def heard(self, heard: Heard, holds: Callable[[str, bytes], bool]) -> int:
        """Confirmations have come: how many of them do not hold."""
        wrong = 0
        for name, proof in heard.proofs.items():
            if name in self._missing:
                if holds(name, proof):
                    del self._missing[name]
                    self._reached.add(name)
                else:
                    wrong += 1
        return wrong
