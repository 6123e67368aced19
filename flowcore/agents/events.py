"""What the agents of a flow tell those who watch."""

from __future__ import annotations

import attrs
from msgspec import Raw

from flowcore.agents.state import State


@attrs.frozen
class StateChanged:
    """An agent went from one state to another; `at` is in seconds on the flow's clock."""

    agent: str
    old: State
    new: State
    reason: str
    at: float


@attrs.frozen
class CatalogChanged:
    """What an agent offers, or whether it offers it now, is not what it was."""

    agent: str
    tools: bool
    resources: bool
    prompts: bool


@attrs.frozen
class Notification:
    """An agent said something outside any call."""

    agent: str
    method: str
    params: Raw


@attrs.frozen
class Lost:
    """This watcher was too slow: so many events were not delivered."""

    count: int


Event = StateChanged | CatalogChanged | Notification | Lost
