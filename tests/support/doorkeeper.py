"""A plugin of one file for tests: badges that say who somebody is, and shelves that only some may see."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager

import attrs

from flowcore.config import setting
from flowcore.errors import PermissionDenied, Unauthenticated
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.http import Request
from flowcore.requests import Envelope, Guard, Principal


@attrs.frozen(kw_only=True)
class BadgeConfig:
    """Bearer tokens of the form NAME:SCOPE,SCOPE@AUDIENCE."""

    servers: tuple[str, ...] = setting(("https://issuer.example",), help="who gives out badges")


@attrs.define(eq=False)
class Badges:
    """Takes badges that are meant for the edge."""

    authorization_servers: tuple[str, ...]
    challenge: str = "Bearer"
    scopes: tuple[str, ...] = ("tools:use",)
    headers: tuple[bytes, ...] = (b"authorization",)

    async def identify(self, request: Request, resource: str) -> Principal | None:
        given = request.headers.get(b"authorization", b"").decode()
        if not given.startswith("Bearer "):
            return None
        who, _, audience = given.removeprefix("Bearer ").partition("@")
        name, colon, scopes = who.partition(":")
        if not colon or audience != resource:
            raise Unauthenticated(f'this badge is not for "{resource}"')
        return Principal(name=name, scheme="badge", scopes=frozenset(scopes.split(",")))


@asynccontextmanager
async def open_badges(config: BadgeConfig, context: Context) -> AsyncGenerator[Badges]:
    del context
    yield Badges(config.servers)


@attrs.frozen(kw_only=True)
class ShelfConfig:
    """What only a scope opens."""

    closed: tuple[str, ...] = setting((), help="names that need the scope")
    scope: str = setting("closed:use", help="the scope they need")


class Shelf(Guard):
    """Closes some names to those who lack a scope."""

    def __init__(self, config: ShelfConfig) -> None:
        self._config = config

    def _open(self, principal: Principal, name: str) -> bool:
        return name not in self._config.closed or self._config.scope in principal.scopes

    def enter(self, envelope: Envelope, now: float) -> None:
        if not self._open(envelope.principal, envelope.name):
            scope = {"scope": self._config.scope}
            raise PermissionDenied(f"{envelope.name!r} is closed", data=scope)

    def admit(self, principal: Principal, action: str, target: str) -> None:
        if not self._open(principal, action):
            raise PermissionDenied(f"{action!r} is closed")

    def shows(self, principal: Principal, agent: str, kind: str, name: str) -> bool:
        del agent, kind
        return self._open(principal, name)

    def view(self, principal: Principal) -> Hashable:
        return self._config.scope in principal.scopes


@asynccontextmanager
async def open_shelf(config: ShelfConfig, context: Context) -> AsyncGenerator[Guard]:
    del context
    yield Shelf(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("auth", "badge", BadgeConfig, open_badges))
    registry.add(Factory("guard", "shelf", ShelfConfig, open_shelf))
