"""Whose work an upstream may be speaking of, where nothing in the protocol says it.

On stdio, and on the HTTP stream that belongs to no call, all that a server says shares one channel. What it
says there may be of any call that is under way, or of one that was given up and goes on all the same. It is
told to somebody only if all of these are one owner's. A server may even log something after its answer: so a
log message is withheld, too, if another principal's call was answered a while ago. Whoever wants more
certainty has a connection do one call at a time (`pool = { concurrency = 1 }`).
"""

from __future__ import annotations

import math
from typing import Final

from flowcore.envelope import ANONYMOUS, Envelope, Principal
from flowcore.mcp.meta import AFFINITY

Owner = tuple[object, ...]
"""Who may see what is of a call: the same for two calls only if they are certainly of one and the same."""

_NOBODY: Final[Owner] = ()


def principal_of(envelope: Envelope) -> Owner:
    """Whom a call is of by name."""
    return envelope.principal.scheme, envelope.principal.name


def owner_of(envelope: Envelope) -> Owner:
    """A principal owns its calls. Without authentication everybody has the same name: then it is the
    session that owns them, and where there is none, each call stands alone."""
    principal = envelope.principal
    if principal.scheme != ANONYMOUS.scheme or principal.name != ANONYMOUS.name:
        return principal.scheme, principal.name
    if envelope.affinity is not None and AFFINITY not in envelope.meta:
        return envelope.edge, envelope.affinity  # drawn by the edge for each session
    return (envelope.id,)


class Trail:
    """Whose calls have ended, and when, as far as it takes to know whether they were one owner's.

    Two are kept, whatever happens: if a third one's ended later than either, there are still two.
    """

    def __init__(self) -> None:
        self._last = self._other = _NOBODY
        self._last_at = self._other_at = -math.inf

    def note(self, owner: Owner, now: float) -> None:
        """One of this owner's calls ended."""
        if owner != self._last:
            self._other, self._other_at = self._last, self._last_at
            self._last = owner
        self._last_at = now

    def since(self, when: float) -> set[Owner]:
        """At most two of the owners whose calls ended then or later."""
        owners = set()
        if self._last_at >= when:
            owners.add(self._last)
        if self._other_at >= when:
            owners.add(self._other)
        return owners - {_NOBODY}


class Served:
    """For whom a connection has ever worked: nobody, one principal, or several."""

    def __init__(self) -> None:
        self.principal: Principal | None = None
        """The first one."""
        self.several = False

    def note(self, principal: Principal) -> None:
        """It works for this one now."""
        first = self.principal
        if first is principal:
            return
        if first is None:
            self.principal = principal
        elif (first.scheme, first.name) != (principal.scheme, principal.name):
            self.several = True
