"""Guards: what lets a request pass, and learns what came of it. Permissions, breakers, limits are guards."""

from __future__ import annotations

from typing import Protocol

from flowcore.envelope import Envelope
from flowcore.errors import CallError


class Guard(Protocol):
    """Asked for each request, in order, after it is accepted and before its arguments are looked at."""

    def enter(self, envelope: Envelope, now: float) -> None:
        """Let the request pass. Raises CallError, with `began` False, to refuse it.

        Called in the hot path: it must be quick, and it cannot wait. A guard that raises anything else
        refuses, too.
        """
        ...

    def leave(self, envelope: Envelope, now: float, error: CallError | None) -> None:
        """A request that was let pass has ended: with a result, or with this error.

        A request whose caller went away ends with CallCancelled.
        """
        ...
