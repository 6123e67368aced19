"""What the agents of a flow tell those who watch."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from flowcore.agents.state import State
from flowcore.envelope import Principal


class StateChanged(Struct, frozen=True, gc=False):
    """An agent went from one state to another; `at` is in seconds on the flow's clock."""

    agent: str
    old: State
    new: State
    reason: str
    at: float


class CatalogChanged(Struct, frozen=True, gc=False):
    """What an agent offers, or whether it offers it now, is not what it was."""

    agent: str
    tools: bool
    resources: bool
    prompts: bool


class Notification(Struct, frozen=True, gc=False):
    """An agent said something outside any call."""

    agent: str
    method: str
    params: Raw
    audience: Principal | None = None
    """Whom alone it is for; None for all who listen."""


class AccessDenied(Struct, frozen=True, gc=False):
    """Somebody was not let in: by which edge, from which address, and why."""

    edge: str
    address: str
    error: str
    reason: str


class BreakerChanged(Struct, frozen=True, gc=False):
    """An agent's breaker went from one state to another (`closed`, `open`, `half open`, `forced open`,
    `forced closed`); `at` is in seconds on the flow's clock."""

    agent: str
    old: str
    new: str
    reason: str
    at: float


class Lost(Struct, frozen=True, gc=False):
    """This watcher was too slow: so many events were not delivered."""

    count: int


class LinkChanged(Struct, frozen=True, gc=False):
    """Something happened to a link to another node: `link.up`, `link.down`, `link.refused`, with details."""

    what: str
    details: dict[str, Any]


class ConsensusNoted(Struct, frozen=True, gc=False):
    """The engine of the hard state has found out what somebody should look at: `consensus.evidence` that a
    voter lies, `consensus.diverged`, ..., with details."""

    what: str
    details: dict[str, Any]


class FaultInjected(Struct, frozen=True, gc=False):
    """A rehearsal has done something (`begun`, `request`, `undone`, `failed`), or would have (`dry_run`)."""

    experiment: str
    fault: str
    what: str
    target: str
    dry_run: bool
    more: dict[str, str]


class Elsewhere(Struct, frozen=True, gc=False):
    """Something happened at another node of the swarm.

    Of one node these come in order, each once; None in the place of an event tells that some are missing.
    """

    node: str
    event: StateChanged | CatalogChanged | Notification | None


Event = (
    StateChanged
    | CatalogChanged
    | Notification
    | AccessDenied
    | ConsensusNoted
    | BreakerChanged
    | Elsewhere
    | FaultInjected
    | LinkChanged
    | Lost
)
