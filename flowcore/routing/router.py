"""The router: a request in words becomes ranked experts, and what came of them becomes lessons.

Design section 7: text → vector → nearest patterns → gate → ranked experts → call → outcome → lesson. Read
`route` from top to bottom, then `came` and `teach`. What is learned goes through the state's log, so that
every node learns the same in the same order; the gate follows the log (`learning`).
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

import msgspec
import trio

from flowcore.envelope import ANONYMOUS, LOCAL, Envelope, Owner, Principal, Reply, new_request_id
from flowcore.errors import (
    CallError,
    DeadlineExceeded,
    InvalidArguments,
    OutcomeUnknown,
    Overloaded,
    UnknownTarget,
    UpstreamFailure,
)
from flowcore.resilience import Buckets
from flowcore.routing.drift import Drift
from flowcore.routing.experts import Experts, Known
from flowcore.routing.given import Given
from flowcore.routing.interfaces import Embedder, Lesson, Query, Ranking
from flowcore.routing.learning import TOLD, Learning
from flowcore.routing.memory import Memory
from flowcore.routing.porting import Porting
from flowcore.routing.reembedding import Reembedded, Reembedding
from flowcore.routing.routes import Neighbour, Pending, Ranked, Route, Routes
from flowcore.routing.settings import RouterSettings
from flowcore.routing.telling import Telling
from flowcore.telemetry import Span, SpanKind, Value, current_span

logger = logging.getLogger(__name__)

SOON = 300.0
"""Seconds in which a call of a tool that was found counts as what came of the search."""
LOAD_AGE = 0.1
"""Seconds for which the agents' loads are taken as they were."""
ROUTE_SPAN = "flowcore.route"
_BLAMED = (UpstreamFailure, DeadlineExceeded, OutcomeUnknown)
"""Errors that say something of the expert; all others are the caller's, or nobody's."""


class Sights(Protocol):
    """Who is shown what (`flowcore.requests.Guards`)."""

    def shows(self, edge: str, principal: Principal, agent: str, kind: str, name: str) -> bool: ...
    def view(self, edge: str, principal: Principal) -> Hashable: ...


class _Outcome(msgspec.Struct, gc=False):
    isError: bool = False  # noqa: N815 - the wire's name


_decode_outcome = msgspec.json.Decoder(_Outcome).decode


class Router:
    """Finds the experts for a text. Made by `flowcore.routing.open_router`."""

    def __init__(
        self,
        settings: RouterSettings,
        embedder: Embedder,
        experts: Experts,
        memory: Memory,
        learning: Learning,
        porting: Porting,
        reembedding: Reembedding,
        sights: Callable[[], Sights],
        loads: Callable[[], Mapping[str, float]],
    ) -> None:
        self.settings = settings
        self.embedder = embedder
        self.memory = memory
        self.porting = porting
        self._reembedding = reembedding
        self._experts = experts
        self.learning = learning
        self._sights = sights
        self._loads = loads
        self._load: Mapping[str, float] = {}
        self._load_at = -LOAD_AGE
        self._routes = Routes(keep=settings.feedback.keep, most=settings.feedback.routes)
        self._shares = Buckets(settings.feedback.lessons)
        self._allowed: dict[tuple[str, Hashable], frozenset[str]] = {}
        self._allowed_of: object = None
        self._public: dict[tuple[str, str], str] = {}
        self.drift = Drift(settings.drift)
        self.told = Telling()
        self._counts: Counter[str] = Counter()

    # ---- the way of a text

    async def route(
        self,
        text: str,
        k: int | None = None,
        *,
        principal: Principal = LOCAL,
        edge: str = "",
        explore: bool = False,
    ) -> Route:
        """The experts for a text, best first, at most `k`: only those that the principal may use.

        With `explore` the first may be there to learn about it. Raises InvalidArguments for a text that is
        empty or too long, OtherEmbedder while patterns are of another embedder, EmbeddingFailed.
        """
        above = current_span()
        if above is None:
            return await self._route(text, k, principal, edge, explore)
        span = above.child(ROUTE_SPAN, SpanKind.INTERNAL, trio.current_time(), of_route)
        try:
            span.about = route = await self._route(text, k, principal, edge, explore)
        except CallError as error:
            span.failed_by(error)
            raise
        finally:
            span.finish(trio.current_time())
        return route

    async def _route(
        self, text: str, k: int | None, principal: Principal, edge: str, explore: bool
    ) -> Route:
        began = trio.current_time()
        k = self.settings.top_k if k is None else k
        if not 1 <= k <= 16:
            raise InvalidArguments(f"expected a k of 1 to 16, not {k}")
        self.memory.check_text(text)
        self.memory.check_embedder()
        await self._renew()
        (vector,) = await self.embedder.embed([text])
        near = await self.learning.near(vector, self.settings.near)
        query = Query(
            text=text,
            vector=vector,
            near=near,
            load=self._busy(began),
            allowed=self._allowed_to(principal, edge),
            explore=explore,
        )
        ranking = await self.learning.rank(query, k)
        self.drift.asked(vector)
        route = self._answer(text, ranking, near)
        self._routes.add(
            route.id,
            text,
            vector,
            {one.expert: one.probability for one in route.ranked},
            ranking.propensity,
            principal.owner,
            began,
        )
        self._counts["known" if route.in_scope else "unknown"] += 1
        self._counts["explored"] += route.explored
        self.told.routed(route, trio.current_time() - began)
        return route

    def _answer(self, text: str, ranking: Ranking, near: Any) -> Route:
        ranked = []
        for one in ranking.choices:
            known = self._experts.get(one.expert)
            if known is not None:
                ranked.append(
                    Ranked(
                        expert=one.expert,
                        agent=known.listed.agent,
                        probability=one.probability,
                        reasons=one.reasons,
                        load=self._load.get(one.expert, 0.0),
                    )
                )
        return Route(
            id=new_request_id(),
            text=text,
            ranked=tuple(ranked),
            nearest=tuple(
                Neighbour(
                    text=self.learning.text_of(one.id),
                    expert=one.expert,
                    similarity=one.similarity,
                    weight=one.weight,
                )
                for one in near[:TOLD]
            ),
            known=ranking.known,
            threshold=ranking.threshold,
            in_scope=ranking.in_scope,
            explored=ranking.explored,
            lessons=self.learning.lessons,
        )

    def expert(self, name: str) -> Known | None:
        """An expert by its public name, if it is there now."""
        return self._experts.get(name)

    async def _renew(self) -> None:
        """Have the gate know the experts that are there now."""
        if await self._experts.renew():
            self.learning.set_experts(self._experts.all())
            self._public = {
                (one.listed.agent, one.own): name for name, one in self._experts.items()
            }
        await self.learning.told()

    def _busy(self, now: float) -> Mapping[str, float]:
        if now - self._load_at >= LOAD_AGE:
            loads = self._loads()
            self._load = {
                name: loads[one.listed.agent]
                for name, one in (self._experts.items() if loads else ())
                if one.listed.agent in loads
            }
            self._load_at = now
        return self._load

    def _allowed_to(self, principal: Principal, edge: str) -> frozenset[str] | None:
        """The experts that a principal may be told of; None for all."""
        sights = self._sights()
        view = sights.view(edge, principal)
        if view is None:
            return None
        if self._allowed_of is not self._experts.listing or len(self._allowed) >= 1024:
            self._allowed.clear()
            self._allowed_of = self._experts.listing
        key = (edge, view)
        allowed = self._allowed.get(key)
        if allowed is None:
            allowed = self._allowed[key] = frozenset(
                name
                for name, one in self._experts.items()
                if sights.shows(edge, principal, one.listed.agent, "tools", one.own)
            )
        return allowed

    # ---- what came of it

    async def feedback(
        self,
        route: str,
        expert: str,
        reward: float,
        *,
        principal: Principal = LOCAL,
    ) -> None:
        """Tell how an expert was for a route: 1 was right, 0 was wrong. Durable when it returns.

        Raises UnknownTarget for a route that is not the principal's, or is too old, and for an expert that it
        did not name; InvalidArguments for a reward that is none; Overloaded where the principal has said too
        much.
        """
        now = trio.current_time()
        pending = self._routes.of(route, principal.owner, now)
        if expert not in pending.ranked and self._experts.get(expert) is None:
            raise UnknownTarget(
                f"there is no expert {expert[:200]!r}", data={"known": sorted(pending.ranked)}
            )
        self._take(principal.owner, now)
        await self._learn(route, pending, expert, _reward(reward), principal.owner, "explicit")
        self._routes.settle(route)

    async def teach(
        self, text: str, expert: str, reward: float = 1.0, *, principal: Principal = LOCAL
    ) -> None:
        """Tell whom a text is for, without having asked. Durable when it returns. Raises as `feedback`."""
        self.memory.check_text(text)
        self.memory.check_embedder()
        await self._renew()
        if self._experts.get(expert) is None:
            raise UnknownTarget(f"there is no expert {expert[:200]!r}")
        self._take(principal.owner, trio.current_time())
        (vector,) = await self.embedder.embed([text])
        pending = Pending(text, vector, {expert: 1.0}, 1.0, principal.owner, 0.0)
        await self._learn("", pending, expert, _reward(reward), principal.owner, "explicit")

    def came(
        self,
        route: str,
        expert: str,
        principal: Principal,
        outcome: Reply | CallError,
        seconds: float,
    ) -> None:
        """What came of a call that a route led to. Never waits: the lesson is given in the background."""
        now = trio.current_time()
        try:
            pending = self._routes.of(route, principal.owner, now)
        except UnknownTarget:
            return
        reward = self._judged(outcome, seconds)
        if reward is None or not self.settings.feedback.implicit:
            return
        if self._shares.wait(principal.owner, 1.0, now) > 0.0:
            self._counts["beyond share"] += 1
            return
        self._shares.take(principal.owner, 1.0, now)
        owner = principal.owner
        self.learning.later(lambda: self._learn(route, pending, expert, reward, owner, "implicit"))

    def heard(self, envelope: Envelope, outcome: Reply | CallError, seconds: float) -> None:
        """A call has ended, whoever made it: if a search of its principal's led to it, learn from it."""
        if envelope.method != "tools/call":
            return
        expert = self._public.get((envelope.agent, envelope.name))
        if expert is None:
            return
        now = trio.current_time()
        if envelope.principal == ANONYMOUS:
            # any number of clients have this name: whose search it was can be told only if one fits
            routes = self._routes.naming(expert, ANONYMOUS.owner, now - SOON)
            if len(routes) != 1:
                self._counts["ambiguous"] += len(routes) > 1
                return
            found = routes[0]
        else:
            last = self._routes.last_of(envelope.principal.owner, now)
            if last is None:
                return
            found = last
        id_, pending = found
        if expert not in pending.ranked or pending.settled:
            return
        if now > pending.until - self.settings.feedback.keep + SOON:
            return
        pending.settled = True
        self.came(id_, expert, envelope.principal, outcome, seconds)

    def _judged(self, outcome: Reply | CallError, seconds: float) -> float | None:
        """The reward of an outcome; None where it says nothing of the expert."""
        if isinstance(outcome, CallError):
            return 0.0 if isinstance(outcome, _BLAMED) else None
        try:
            failed = _decode_outcome(outcome.result).isError
        except msgspec.MsgspecError:
            return None
        if failed:
            return 0.0
        return 0.5 if seconds > self.settings.feedback.slow else 1.0

    def _take(self, owner: Owner, now: float) -> None:
        wait = self._shares.wait(owner, 1.0, now)
        if wait > 0.0:
            self._counts["beyond share"] += 1
            raise Overloaded("you have given as many lessons as one may for now", retry_after=wait)
        self._shares.take(owner, 1.0, now)

    async def _learn(
        self, route: str, pending: Pending, expert: str, reward: float, owner: Owner, source: str
    ) -> None:
        lesson = Lesson(
            text=pending.text,
            vector=pending.vector,
            expert=expert,
            reward=reward,
            propensity=pending.propensity_of(expert),
            exclusive=source == "explicit",
            weight=1.0 if source == "explicit" else self.settings.feedback.implicit_weight,
        )
        await self.learning.give(Given(lesson=lesson, owner=owner, source=source, request=route))
        self._counts[source] += 1
        if route:
            exclusive = source == "explicit"
            self.told.learned(pending.ranked, expert, reward, exclusive=exclusive)

    # ---- another embedder

    async def reembed(
        self,
        told: Callable[[int, int], None] | None = None,
        *,
        within: float = math.inf,
        wait: bool = True,
    ) -> Reembedded:
        """Embed anew what another embedder has embedded, and gates trained anew, by commands of the log.

        For `within` seconds at most, about: the next call goes on. `told(done, of)` hears how far the
        patterns are. The gate has learned it all when this returns; without `wait` it is being trained.
        Raises CallError; what is done by then stays done.
        """
        await self._renew()
        return await self._reembedding.run(told, within=within, wait=wait)

    # ---- what is true of it

    def status(self) -> dict[str, Any]:
        """What it knows, did and learned, measured, as plain data that JSON can carry; times in seconds."""
        return {
            "embedder": {"identity": str(self.embedder.identity), **self.embedder.status()},
            "experts": len(self._experts),
            "routes": {
                "known": self._counts["known"],
                "unknown": self._counts["unknown"],
                "explored": self._counts["explored"],
                "waiting": len(self._routes),
                "durations": msgspec.to_builtins(self.told.took.durations()),
            },
            "feedback": {
                name: self._counts[name]
                for name in ("explicit", "implicit", "beyond share", "ambiguous")
            },
            "learning": self.learning.status(),
            "drift": self.drift.status(),
            "memory": self.memory.status(),
        }


def _reward(value: float) -> float:
    if not 0.0 <= value <= 1.0:  # which no NaN is
        raise InvalidArguments(f"expected a reward of 0 (wrong) to 1 (right), not {value!r}")
    return value


def of_route(span: Span) -> dict[str, Value]:
    """What the span of a route says: whom it chose, and how sure it was. The text is the caller's own."""
    route = span.about
    if not isinstance(route, Route):
        return {}
    said: dict[str, Value] = {
        "flowcore.route.id": route.id,
        "flowcore.route.in_scope": route.in_scope,
        "flowcore.route.known": round(float(route.known), 4),
        "flowcore.route.experts": tuple(one.expert for one in route.ranked),
    }
    if route.ranked:
        said["flowcore.route.probability"] = round(float(route.ranked[0].probability), 4)
    if span.trace.tracer.content:
        said["flowcore.route.text"] = route.text[:1024]
    return said
