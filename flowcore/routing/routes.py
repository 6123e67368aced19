"""What a router answered, and the routes that still wait to be told how they turned out. Sans-IO."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import msgspec

from flowcore.envelope import Owner
from flowcore.errors import UnknownTarget

if TYPE_CHECKING:
    from flowcore.routing.interfaces import Vectors

_LOOKED_AT = 256


class Ranked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One expert of an answer, and why it is there."""

    expert: str
    """The tool's public name."""
    agent: str
    probability: float
    """Calibrated: of all that are given 0.8, four of five are right."""
    reasons: Mapping[str, float]
    """What spoke for it: `gate`, `nearest`, `words`, `load`, ... and how much."""
    load: float
    """How busy its agent is, 0 to 1."""


class Neighbour(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pattern that is near to the query: what was asked then, and who it was for."""

    text: str
    expert: str
    similarity: float
    """The cosine, -1 to 1."""
    weight: float
    """Above 0 for what was right, below 0 for what was wrong."""


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a router makes of a request in words."""

    id: str
    """To give feedback by, for a while."""
    text: str
    ranked: tuple[Ranked, ...]
    """Experts, best first."""
    nearest: tuple[Neighbour, ...]
    known: float
    """How sure it is that any expert fits; greater is surer."""
    threshold: float
    in_scope: bool
    """False: it does not know; what is ranked are guesses."""
    explored: bool
    """Whether the first is there to learn about it rather than for being the best."""
    lessons: int
    """What the gate has learned from; with 0 it judges by what experts say of themselves."""


@attrs.define(eq=False)
class Pending:
    """A route that may be given feedback."""

    text: str
    vector: Vectors
    ranked: Mapping[str, float]
    """Experts and their probabilities."""
    propensity: float
    """The probability with which the first of them was to be the first."""
    owner: Owner
    until: float
    settled: bool = False
    """Whether a call that followed it has told how it turned out."""

    def propensity_of(self, expert: str) -> float:
        """The probability with which an expert was chosen: 1 unless it was first by a draw."""
        first = next(iter(self.ranked), None)
        return self.propensity if expert == first else 1.0


class Routes:
    """Routes that wait for feedback: each `keep` seconds, at most `most` of them. Time is given."""

    def __init__(self, *, keep: float, most: int) -> None:
        self._keep = keep
        self._most = most
        self._waiting: OrderedDict[str, Pending] = OrderedDict()
        self._last: dict[Owner, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self,
        id_: str,
        text: str,
        vector: Vectors,
        ranked: Mapping[str, float],
        propensity: float,
        owner: Owner,
        now: float,
    ) -> None:
        """Remember a route; those that are too old, or too many, are forgotten."""
        self._waiting[id_] = Pending(text, vector, ranked, propensity, owner, now + self._keep)
        self._last[owner] = id_
        while self._waiting:
            oldest, pending = next(iter(self._waiting.items()))
            if pending.until > now and len(self._waiting) <= self._most:
                break
            self._forget(oldest)

    def of(self, id_: str, owner: Owner, now: float) -> Pending:
        """A route by its id. Raises UnknownTarget if it is not there any more, or somebody else's."""
        pending = self._waiting.get(id_)
        if pending is None or pending.until <= now or pending.owner != owner:
            raise UnknownTarget(
                f"there is no route {id_[:64]!r} of yours that waits for feedback",
                data={"route": id_[:64]},
            )
        return pending

    def last_of(self, owner: Owner, now: float) -> tuple[str, Pending] | None:
        """The latest route of an owner that still waits."""
        id_ = self._last.get(owner)
        pending = self._waiting.get(id_) if id_ is not None else None
        return None if id_ is None or pending is None or pending.until <= now else (id_, pending)

    def naming(self, expert: str, owner: Owner, since: float) -> list[tuple[str, Pending]]:
        """Unsettled routes of an owner, asked since then, that name an expert: the latest two, at most.

        Only the latest routes of all are looked at.
        """
        found: list[tuple[str, Pending]] = []
        for id_, pending in itertools.islice(reversed(self._waiting.items()), _LOOKED_AT):
            if pending.until - self._keep < since or len(found) == 2:
                break
            if pending.owner == owner and expert in pending.ranked and not pending.settled:
                found.append((id_, pending))
        return found

    def settle(self, id_: str) -> None:
        """It was told how it turned out: it waits no more."""
        self._forget(id_)

    def _forget(self, id_: str) -> None:
        pending = self._waiting.pop(id_, None)
        if pending is not None and self._last.get(pending.owner) == id_:
            del self._last[pending.owner]
