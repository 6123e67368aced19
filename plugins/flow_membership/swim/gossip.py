"""What is news, and how often it has been passed on: SWIM section 4.1.

Each piece of news goes out lambda · ln(members) times from each node, with whatever is sent anyway. What
was sent least goes first; what matters most goes before that.
"""

from __future__ import annotations

import enum
import math

import attrs

from flow_membership.swim.wire import MOST_HEAD


class Weight(enum.IntEnum):
    """What goes first when not everything fits."""

    REFUTED = 0
    GONE = 1
    SUSPECTED = 2
    ALIVE = 3
    ABOUT = 4


@attrs.define(eq=False)
class _News:
    weight: Weight
    message: bytes
    order: int
    until: float
    sent: int = 0


class Gossip:
    """The news of one node, one for each subject and slot."""

    def __init__(self, retransmit: float) -> None:
        self._retransmit = retransmit
        self._news: dict[tuple[str, str], _News] = {}
        self._orders = 0
        self.expired = 0

    def __len__(self) -> int:
        return len(self._news)

    @property
    def waiting(self) -> int:
        """Bytes of what is still to be passed on about who is there, each once; not of what they tell."""
        return sum(
            len(one.message) for one in self._news.values() if one.weight is not Weight.ABOUT
        )

    def times(self, members: int) -> int:
        """How often a piece of news is passed on among so many members, at least once."""
        return max(1, math.ceil(self._retransmit * math.log(members + 1)))

    def put(
        self, weight: Weight, subject: str, slot: str, message: bytes, until: float = math.inf
    ) -> None:
        """Pass this on from now, in place of what was in the same slot of the subject.

        After `until` it is no news any more: an accusation that waited while nobody could be reached must
        not be told as if it had just been found.
        """
        self._orders += 1
        self._news[subject, slot] = _News(weight, message, self._orders, until)

    def drop(self, subject: str, *slots: str) -> None:
        """Stop passing this on."""
        for slot in slots:
            self._news.pop((subject, slot), None)

    def clear(self) -> None:
        """Nothing is news any more."""
        self._news.clear()

    def drop_all_accusations(self) -> None:
        """Stop passing on what anybody says of others."""
        self._news = {at: one for at, one in self._news.items() if at[1] in OWN_SLOTS}

    def drop_accusations(self, subject: str) -> None:
        """Stop passing on anything that others say of a subject."""
        gone = [at for at in self._news if at[0] == subject and at[1] not in OWN_SLOTS]
        self.drop(subject, *(slot for _, slot in gone))

    def fill(self, room: int, members: int, now: float, without: bytes = b"") -> list[bytes]:
        """As much as fits into so many bytes; counted as sent. `without` is in the datagram already."""
        if not self._news:
            return []
        most = self.times(members)
        chosen: list[bytes] = []
        ended: list[tuple[str, str]] = []
        room -= MOST_HEAD
        for one in sorted(self._news.values(), key=_urgency):
            if one.until < now:
                continue
            size = len(one.message)
            if size <= room and one.message != without:
                room -= size
                chosen.append(one.message)
                one.sent += 1
            if room < _LEAST:
                break
        for at, one in self._news.items():
            if one.sent >= most or one.until < now:
                ended.append(at)
                self.expired += one.until < now and one.sent == 0
        for at in ended:
            del self._news[at]
        return chosen


OWN_SLOTS = ("alive", "about")
"""Slots of what a subject says of itself."""
_LEAST = 100
"""Bytes below which no news fits."""


def _urgency(one: _News) -> tuple[int, int, int]:
    return one.weight, one.sent, -one.order
