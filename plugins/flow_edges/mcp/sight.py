"""What a principal is shown of what is on offer: what the guards before it say."""

from __future__ import annotations

from collections.abc import Hashable

from flowcore.agents import Listed, Prompt, Resource, Tool
from flowcore.interfaces import Host
from flowcore.requests import Guards, Principal


class Sight:
    """The guards of an edge, as far as lists and notifications go."""

    def __init__(self, host: Host, edge: str) -> None:
        self.edge = edge
        self._host = host

    @property
    def _guards(self) -> Guards:
        return self._host.requests.guards

    def view(self, principal: Principal) -> Hashable:
        """Principals of equal views are shown the same; None: everything."""
        return self._guards.view(self.edge, principal)

    def shows(self, principal: Principal, kind: str, entry: Listed) -> bool:
        """Whether a principal's lists have an entry."""
        return self.shows_name(principal, entry.agent, kind, _own_name(entry))

    def shows_name(self, principal: Principal, agent: str, kind: str, name: str) -> bool:
        """Whether a principal is shown what an agent itself calls so."""
        return self._guards.shows(self.edge, principal, agent, kind, name)


def _own_name(entry: Listed) -> str:
    offer = entry.offer
    if isinstance(offer, Tool | Prompt):
        return offer.name
    return offer.uri if isinstance(offer, Resource) else offer.uri_template
