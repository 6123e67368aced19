"""Guards: what lets a request pass, and learns what came of it. Permissions, breakers, limits are guards."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from flowcore.envelope import Envelope, Principal
from flowcore.errors import CallError, InternalError, UnknownTarget

logger = logging.getLogger(__name__)


class Guard:
    """Asked for each request, in order, after it is accepted and before its arguments are looked at.

    To be inherited from: what a guard does not write itself lets everything pass.
    """

    sees_all: ClassVar[bool] = False
    """Whether it must be asked about every request, also those that a later guard would refuse unseen."""

    def knock(self, principal: Principal, now: float) -> None:
        """Let a principal's request be looked at, whatever it is. Raises CallError to refuse it unseen.

        Asked by edges before they find out what a request is for, so that one that cannot pass costs
        little. It takes nothing: a request that is looked at comes to `enter`, or to `attend`.
        """
        del principal, now

    def attend(self, principal: Principal, now: float) -> None:
        """Let the edge itself answer a principal: with a list, a ping. Raises CallError to refuse it."""
        del principal, now

    def enter(self, envelope: Envelope, now: float) -> None:
        """Let the request pass. Raises CallError, with `began` False, to refuse it.

        Called in the hot path: it must be quick, and it cannot wait. A guard that raises anything else
        refuses, too.
        """
        del envelope, now

    async def hold(self, envelope: Envelope) -> None:
        """Keep a request waiting that all guards have let pass. Raises CallError to refuse it.

        For rehearsals and the like: what can be decided at once belongs into `enter`. Its deadline goes on.
        """
        del envelope

    def leave(self, envelope: Envelope, now: float, error: CallError | None) -> None:
        """A request that was let pass has ended: with a result, or with this error.

        A request whose caller went away ends with CallCancelled.
        """
        del envelope, now, error

    def stray(self, envelope: Envelope, error: CallError) -> None:
        """A request was for what is not there, or not there now: it has no agent, and comes to no `enter`."""
        del envelope, error

    def admit(self, principal: Principal, action: str, target: str) -> None:
        """Let an operator's call pass, such as ("agents.pause", "time"). Raises CallError to refuse it."""
        del principal, action, target

    def may(self, principal: Principal, action: str, target: str) -> bool:
        """Whether it would let an operator's call pass: asked to show who may do what, and never noted."""
        try:
            self.admit(principal, action, target)
        except CallError:
            return False
        return True

    def decided(
        self, principal: Principal, action: str, target: str, error: CallError | None
    ) -> None:
        """An operator's call was let pass by all guards, or refused by one of them with this error."""
        del principal, action, target, error

    def shows(self, principal: Principal, agent: str, kind: str, name: str) -> bool:
        """Whether a principal's lists have this offer of an agent's; `kind` is `tools`, `resources`,
        `templates` or `prompts`. When the answer changes, call `host.directory.changed()`."""
        del principal, agent, kind, name
        return True

    def view(self, principal: Principal) -> Hashable:
        """Principals of equal views are shown the same; None: everybody is."""
        del principal
        return None

    def act(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Do what an operator asks of this guard (`flowctl guard NAME ACTION`), and tell what came of it.

        Raises UnknownTarget for an action it does not have, InvalidArguments.
        """
        del arguments
        raise UnknownTarget(f"this guard has no action {action!r}")

    def status(self) -> dict[str, Any]:
        """What it has done, measured, as plain data that JSON can carry."""
        return {}

    def breaker(self, agent: str) -> str:
        """The state of its circuit breaker for an agent, as one is shown; empty if it has none."""
        del agent
        return ""


class Guards:
    """Which guards stand before which requests: the node's, the edge's, the agent's, in this order."""

    def __init__(
        self,
        node: Sequence[Guard] = (),
        edges: Mapping[str, Sequence[Guard]] | None = None,
        agents: Mapping[str, Sequence[Guard]] | None = None,
    ) -> None:
        self._node = tuple(node)
        self._edges = dict(edges or {})
        self._agents = dict(agents or {})
        self._known: dict[tuple[str, str], tuple[Guard, ...]] = {}
        self._seeing: dict[str, tuple[Guard, ...]] = {}
        self._knocking: dict[str, tuple[Guard, ...]] = {}
        self._holding: dict[tuple[str, str], tuple[Guard, ...]] = {}

    def place(self, agent: str, guards: Sequence[Guard]) -> None:
        """These stand before an agent's requests from now on."""
        self._agents[agent] = tuple(guards)
        self._known.clear()
        self._seeing.clear()
        self._holding.clear()

    def before(self, edge: str, agent: str) -> tuple[Guard, ...]:
        """The guards of requests that come by an edge ("" for the program itself) for an agent."""
        known = self._known.get((edge, agent))
        if known is None:
            known = self._unique(self._node, self._edges.get(edge, ()), self._agents.get(agent, ()))
            self._known[edge, agent] = known
        return known

    def holding(self, edge: str, agent: str) -> tuple[Guard, ...]:
        """Those of the guards before these requests that may keep them waiting."""
        found = self._holding.get((edge, agent))
        if found is None:
            guards = self.before(edge, agent)
            found = tuple(one for one in guards if type(one).hold is not Guard.hold)
            self._holding[edge, agent] = found
        return found

    def knocking(self, edge: str) -> tuple[Guard, ...]:
        """The guards that an edge asks, by `knock`, before it looks at a principal's request."""
        knocking = self._knocking.get(edge)
        if knocking is None:
            first = itertools.takewhile(lambda guard: not guard.sees_all, self.before(edge, ""))
            knocking = tuple(one for one in first if type(one).knock is not Guard.knock)
            self._knocking[edge] = knocking
        return knocking

    def attend(self, edge: str, principal: Principal, now: float) -> None:
        """Let an edge itself answer a principal. Raises CallError to refuse it."""
        for guard in self.before(edge, ""):
            guard.attend(principal, now)

    def stray(self, envelope: Envelope, error: CallError) -> None:
        """Tell the node's and the edge's guards of a request that was for what is not there."""
        for guard in self.before(envelope.edge, ""):
            guard.stray(envelope, error)

    def admit(self, edge: str, principal: Principal, action: str, target: str) -> None:
        """Let an operator's call pass. Raises CallError to refuse it."""
        guards = self.before(edge, "")
        error: CallError | None = None
        try:
            for guard in guards:
                guard.admit(principal, action, target)
        except CallError as refusal:
            error = refusal
            raise
        except Exception as failure:
            logger.exception("a guard failed, and so refuses")
            error = InternalError("the guards failed", began=False)
            raise error from failure
        finally:
            for guard in guards:
                guard.decided(principal, action, target, error)

    def may(self, edge: str, principal: Principal, action: str, target: str = "") -> bool:
        """Whether an operator's call would pass; nobody is told, and nothing counted."""
        try:
            return all(one.may(principal, action, target) for one in self.before(edge, ""))
        except Exception:
            logger.exception("a guard failed, and so refuses")
            return False

    def done(self, edge: str, principal: Principal, action: str, target: str) -> None:
        """An operator's call did what is said in full here, such as which tool it approved."""
        for guard in self.before(edge, ""):
            guard.decided(principal, action, target, None)

    def shows(self, edge: str, principal: Principal, agent: str, kind: str, name: str) -> bool:
        """Whether a principal's lists have this offer."""
        return all(guard.shows(principal, agent, kind, name) for guard in self.before(edge, agent))

    def view(self, edge: str, principal: Principal) -> Hashable:
        """Principals of equal views are shown the same lists by this edge; None: everybody is."""
        seeing = self._seeing.get(edge)
        if seeing is None:  # found once: a list request is not to walk through every agent
            seeing = self._unique(self._node, self._edges.get(edge, ()), *self._agents.values())
            self._seeing[edge] = seeing
        views = tuple(guard.view(principal) for guard in seeing)
        return None if all(view is None for view in views) else views

    @staticmethod
    def _unique(*groups: Iterable[Guard]) -> tuple[Guard, ...]:
        """All of them in order, each once, so that none is asked twice."""
        found = {id(guard): guard for group in groups for guard in group}
        return tuple(found.values())
