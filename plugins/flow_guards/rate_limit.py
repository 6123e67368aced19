"""`rate_limit`: how many requests a principal may make, how many an agent gets, how many there are in all.

Each limit is a token bucket; a request takes one token of each that applies to it, or as many as its tool
weighs. It takes them all or none: what one limit refuses costs nothing of the others, so whoever is
over the limit takes nothing from anybody else.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flow_guards.measures import ALLOWED, REFUSED
from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.envelope import Envelope, Principal
from flowcore.errors import Overloaded
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.requests import Guard
from flowcore.resilience import Bucket, Buckets, Key, Rate
from flowcore.telemetry import Reading, gauge

_LONGEST_NAME = 64
"""A principal's name of more characters is remembered by its digest, so that memory has a bound."""


@attrs.frozen(kw_only=True)
class RateLimitConfig:
    """How many requests pass. `agent` and `total` hold where they are set."""

    principal: Rate = setting(
        factory=Rate, help="for each principal by itself, whatever it asks for"
    )
    principals: dict[str, Rate] = setting(
        factory=dict, help="for principals of these names instead of `principal`"
    )
    agent: Rate | None = setting(None, help="for each agent by itself, whoever asks")
    agents: dict[str, Rate] = setting(
        factory=dict, help="for agents of these names instead of `agent`"
    )
    total: Rate | None = setting(None, help="for all requests together")
    weights: dict[str, int] = setting(
        factory=dict,
        help='what a call of a tool counts for: `"agent.tool" = 5`, `"agent.*" = 2`; others count for 1',
    )
    keys: int = setting(
        100_000,
        validator=v.ge(1),
        help="most principals that are remembered; while as many are below their limit, new ones wait",
    )

    def __attrs_post_init__(self) -> None:
        for name, weight in self.weights.items():
            agent, dot, tool = name.partition(".")
            if not (agent and dot and tool):
                raise ValueError(f'expected weights of "agent.tool" or "agent.*", not {name!r}')
            if weight < 1:
                raise ValueError(f"expected weights of at least 1, not {weight} of {name!r}")
        heaviest = max(self.weights.values(), default=1)
        for rate in self._rates():
            if rate.at_once < heaviest:
                raise ValueError(
                    f"expected bursts of at least {heaviest}, the heaviest weight, not {rate.at_once}:"
                    " such a call would never pass"
                )

    def _rates(self) -> list[Rate]:
        return [
            self.principal,
            *(rate for rate in (self.agent, self.total) if rate is not None),
            *self.principals.values(),
            *self.agents.values(),
        ]


class RateLimit(Guard):
    """The guard: asks every bucket, then takes from all of them."""

    def __init__(
        self, config: RateLimitConfig, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._config = config
        self._clock = clock
        self._principals = Buckets(config.principal, config.keys)
        self._named = {name: Buckets(rate, config.keys) for name, rate in config.principals.items()}
        self._agents: dict[str, Bucket | None] = {
            name: Bucket(rate) for name, rate in config.agents.items()
        }
        self._total = None if config.total is None else Bucket(config.total)
        self._weights = {
            (agent, tool): float(weight)
            for (agent, _, tool), weight in (
                (name.partition("."), weight) for name, weight in config.weights.items()
            )
        }
        self.allowed = 0
        self.refused: dict[str, int] = {"principal": 0, "agent": 0, "total": 0, "memory": 0}

    def knock(self, principal: Principal, now: float) -> None:
        """Refuse whom not even the lightest request is left to. Takes nothing."""
        mine, key = self._bucket(principal)
        wait = mine.wait(key, 1.0, now)
        if wait > 0.0:
            self._refuse_principal(mine, key, wait)
        total = self._total
        if total is not None:
            wait = total.wait(1.0, now)
            if wait > 0.0:
                self._refuse("total", _too_many("of all principals", total.rate), wait)

    def attend(self, principal: Principal, now: float) -> None:
        """Take one token for what the edge itself answers, or raise Overloaded."""
        self.knock(principal, now)
        if self._total is not None:
            self._total.take(1.0, now)
        mine, key = self._bucket(principal)
        mine.take(key, 1.0, now)
        self.allowed += 1

    def _bucket(self, principal: Principal) -> tuple[Buckets, Key]:
        """Where a principal's bucket is, and by which key."""
        mine = self._named.get(principal.name, self._principals)
        if len(principal.name) > _LONGEST_NAME:
            return mine, _digest(principal)
        return mine, (principal.scheme, principal.name)

    def enter(self, envelope: Envelope, now: float) -> None:
        """Take a request's tokens, or raise Overloaded saying which limit it was, and when to come back."""
        cost = self._cost(envelope) if self._weights else 1.0
        mine, key = self._bucket(envelope.principal)
        wait = mine.wait(key, cost, now)
        if wait > 0.0:
            self._refuse_principal(mine, key, wait)
        theirs = self._agents.get(envelope.agent, _UNKNOWN)
        if theirs is _UNKNOWN:
            theirs = self._meet(envelope.agent)
        if theirs is not None:
            wait = theirs.wait(cost, now)
            if wait > 0.0:
                self._refuse("agent", _too_many(f"for agent {envelope.agent!r}", theirs.rate), wait)
        total = self._total
        if total is not None:
            wait = total.wait(cost, now)
            if wait > 0.0:
                self._refuse("total", _too_many("of all principals", total.rate), wait)
            total.take(cost, now)
        if theirs is not None:
            theirs.take(cost, now)
        mine.take(key, cost, now)
        self.allowed += 1

    def _cost(self, envelope: Envelope) -> float:
        if envelope.method != "tools/call":
            return 1.0
        weights = self._weights
        weight = weights.get((envelope.agent, envelope.name))
        return weights.get((envelope.agent, "*"), 1.0) if weight is None else weight

    def _meet(self, agent: str) -> Bucket | None:
        """The bucket of an agent that is asked for the first time; there are as many as agents."""
        rate = self._config.agent
        made = self._agents[agent] = None if rate is None else Bucket(rate)
        return made

    def _refuse_principal(self, buckets: Buckets, key: Key, wait: float) -> None:
        if buckets.knows(key):
            self._refuse("principal", _too_many("of this principal", buckets.rate), wait)
        self._refuse(
            "memory", f"too many principals at a time: {self._config.keys} are remembered", wait
        )

    def _refuse(self, limit: str, message: str, wait: float) -> None:
        self.refused[limit] += 1
        raise Overloaded(message, data={"limit": limit}, retry_after=wait)

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        yield ALLOWED.of(self.allowed, name)
        for limit, count in self.refused.items():
            yield REFUSED.of(count, name, limit)
        yield PRINCIPALS.of(
            sum(len(one) for one in (self._principals, *self._named.values())), name
        )
        yield TOKENS.of(_level(self._total, self._clock()), name)

    def status(self) -> dict[str, Any]:
        """What passed, what each limit refused, and the tokens that are left."""
        now = self._clock()
        return {
            "allowed": self.allowed,
            "refused": dict(self.refused),
            "principals": sum(len(one) for one in (self._principals, *self._named.values())),
            "tokens": {
                "total": _level(self._total, now),
                "agents": {
                    name: _level(one, now) for name, one in self._agents.items() if one is not None
                },
            },
        }


PRINCIPALS = gauge(
    "flowcore.rate_limit.principals",
    "{principal}",
    "Principals whose requests are remembered.",
    "guard",
)
TOKENS = gauge(
    "flowcore.rate_limit.tokens", "{request}", "What the limit of all together has left.", "guard"
)
_UNKNOWN: Any = object()


def _digest(principal: Principal) -> Key:
    name = hashlib.blake2b(principal.name.encode("utf-8", "surrogatepass"), digest_size=16)
    return principal.scheme, "", name.hexdigest()


@functools.lru_cache(1024)
def _too_many(whose: str, rate: Rate) -> str:
    return f"too many requests {whose}: {rate.rate:g} a second are allowed, {rate.at_once} at once"


def _level(bucket: Bucket | None, now: float) -> float | None:
    return None if bucket is None else round(bucket.tokens(now), 3)


@asynccontextmanager
async def open_rate_limit(config: RateLimitConfig, context: Context) -> AsyncGenerator[RateLimit]:
    """One set of buckets, full at first."""
    del context
    yield RateLimit(config)


def _mentioned(config: RateLimitConfig) -> Iterator[tuple[str, str]]:
    for name in (*config.agents, *(tool.partition(".")[0] for tool in config.weights)):
        yield "agent", name


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "guard",
            "rate_limit",
            RateLimitConfig,
            open_rate_limit,
            stability="beta",
            mentions=_mentioned,
        )
    )
