"""A connection from when it comes in until it has shaken hands."""

from __future__ import annotations

import attrs
import trio

from flowcore.http.room import Mark


@attrs.define(eq=False)
class Arrival:
    """A connection that says who it is, and has done nothing yet: the oldest of these goes first."""

    client: str
    since: float
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def dispensable(self) -> Mark:
        """See `Guest`: the oldest goes first."""
        return 0, self.since

    def evict(self) -> bool:
        """Give up."""
        self.scope.cancel()
        return True
