"""What an agent was told to do: its life ends, or begins again, as soon as it has looked."""

from __future__ import annotations

import attrs

PAUSED = "paused by an operator"
"""Why a paused agent is paused, also after a restart."""


@attrs.define
class Orders:
    """What an agent was told to do."""

    paused: bool = False
    """To take no calls; it goes on through restarts until it is told to resume."""
    restart: bool = False
    drain_by: float | None = None
    """To stop, and until when accepted calls may go on."""
    crash: str = ""
    """To fail, as if by itself, and of what; for who rehearses failure."""
    end: bool = False
    """To stop for good."""
    undecided: bool = False
    """To wait, starting, until it is known whether it is to run here."""
    standby: str = ""
    """Why it is to be stopped until it is told to take over; empty if it is not."""

    @property
    def stops(self) -> bool:
        """Whether it is to be stopped."""
        return self.drain_by is not None

    @property
    def any(self) -> bool:
        """Whether this life is to end."""
        return self.end or self.restart or self.stops
