"""A request as its node knows it, from its acceptance on, and for a while after it has ended."""

from __future__ import annotations

import enum
from typing import Final, Protocol

import msgspec

from flowcore.structs import stored_to

MOST_TEXT: Final = 256
"""Characters of a name that are kept."""
ENTRY_BYTES: Final = 448
"""What an entry takes besides its texts, measured with CPython 3.11 (object, dictionary, queue)."""


class Outcome(enum.Enum):
    """How a request ended. There is exactly one outcome, and none is ever changed."""

    RESULT = "result"
    ERROR = "error"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class UnderWay(Protocol):
    """A request that is under way: an envelope."""

    began: bool
    """Whether a worker has been given it."""

    @property
    def until(self) -> float:
        """The deadline that holds now, in seconds on the flow's clock."""
        ...

    def cut(self, now: float) -> None:
        """The deadline is over now."""
        ...


@stored_to
class Entry(msgspec.Struct, gc=False, eq=False):
    """One request as the tracker knows it; times are in seconds on the flow's clock.

    A plain struct that the garbage collector need not look at: there may be 100,000 of them.
    """

    id: str
    agent: str
    method: str
    name: str
    principal: str
    accepted: float
    deadline: float
    edge: str = ""
    """The edge it came by; "" if the program itself asked."""
    outcome: Outcome | None = None
    error: str = ""
    ended: float = 0.0
    envelope: UnderWay | None = None
    """The request itself, while it is under way."""
    size: int = ENTRY_BYTES
    """About how many bytes it takes: with its texts, once it has ended."""

    @property
    def began(self) -> bool:
        """Whether it has come so far as to be worked on."""
        return self.outcome is not None or (self.envelope is not None and self.envelope.began)
