"""Room for connections: caps in all and by address, and who goes so that another can come.

Whoever wants to shut others out opens many connections and is slow on each. So a full server does not turn
the next one away while it keeps some that it does nothing for: the one that has dawdled for longest goes.
Only those that are being answered are never made to go; with these alone, it is full. Sans-IO.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, deque
from typing import Protocol

Mark = tuple[int, float]
"""A class, and since when: the least goes first."""

_BATCH = 64
"""Most guests that one look over all of them chooses: under a flood, a look for each would be quadratic."""


class Guest(Protocol):
    """What takes up room: a connection, or a handshake."""

    @property
    def client(self) -> str:
        """The other side's address, as text."""
        ...

    def dispensable(self) -> Mark | None:
        """What would be missed of it; None while it is being answered."""
        ...

    def evict(self) -> bool:
        """Go at once; False if something has come just now, so that it stays."""
        ...


class Room:
    """At most `most` guests, and `each` of one address."""

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._guests: dict[Guest, str] = {}  # and to whom it belongs
        self._of: Counter[str] = Counter()
        self._going: dict[str | None, deque[tuple[Guest, Mark]]] = {}  # by owner; None: of all
        self.evicted = 0
        """How many guests had to go."""

    def __len__(self) -> int:
        return len(self._guests)

    def admit(self, guest: Guest) -> bool:
        """Let it in, if need be in another's place; False if everyone here is being answered."""
        owner = _owner(guest.client)
        if self._of[owner] >= self._each:
            if not self.evict(owner):
                return False
        elif len(self._guests) >= self._most and not self.evict():
            return False
        self._guests[guest] = owner
        self._of[owner] += 1
        return True

    def evict(self, owner: str | None = None) -> bool:
        """Make the one go that is missed least, of one owner or of all; False if there is none."""
        going = self._going.setdefault(owner, deque())
        if self._evict_one(going):
            return True
        self._choose(owner, going)
        return self._evict_one(going)

    def leave(self, guest: Guest) -> None:
        """It is gone, perhaps because it had to go."""
        owner = self._guests.pop(guest, None)
        if owner is not None:
            self._of[owner] -= 1
            if not self._of[owner]:
                del self._of[owner]
                self._going.pop(owner, None)

    def _evict_one(self, going: deque[tuple[Guest, Mark]]) -> bool:
        """Evict the first of these for which nothing has changed since it was chosen."""
        while going:
            guest, as_it_was = going.popleft()
            if guest in self._guests and guest.dispensable() == as_it_was and guest.evict():
                self.leave(guest)
                self.evicted += 1
                return True
        return False

    def _choose(self, owner: str | None, going: deque[tuple[Guest, Mark]]) -> None:
        """Add those that can go, the first to go first."""
        found = [
            (guest, mark)
            for guest, theirs in self._guests.items()
            if (owner is None or theirs == owner) and (mark := guest.dispensable()) is not None
        ]
        found.sort(key=lambda one: one[1])
        going.extend(found[:_BATCH])


def _owner(client: str) -> str:
    """Whom an address stands for: itself in IPv4, its network of 64 bits in IPv6, which one host may have."""
    if ":" not in client:
        return client
    address = ipaddress.IPv6Address(client.partition("%")[0])
    mapped = address.ipv4_mapped
    return str(int(address) >> 64) if mapped is None else str(mapped)
