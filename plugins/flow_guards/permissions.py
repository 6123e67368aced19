"""`permissions`: who may call what. Nothing is allowed that no rule allows; a rule that denies wins.

    [guard.permissions]
    type = "permissions"
    rules = [
      { allow = ["time.*"] },                                   # everybody who came in
      { allow = ["git.git_log", "docs:file:///public/*"], roles = ["reader"] },
      { allow = ["*"], admin = ["*"], principals = ["ann"] },
      { deny = ["*.delete_*"], scopes = ["guest"] },
    ]

What is allowed is written as it is listed: `agent.tool` and `agent.prompt`, `agent:uri` for resources, with
`*` for any text; `agent.*` is all of an agent, its resources too.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from flowcore.config import setting
from flowcore.envelope import Envelope, Principal
from flowcore.errors import PermissionDenied
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.requests import Guard

_REMEMBERED = 20_000
_RESOURCES = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})


@attrs.frozen(kw_only=True)
class Rule:
    """Whom a rule speaks of, and what they may, or may not. Of each condition one must hold."""

    allow: tuple[str, ...] = setting((), help="tools, prompts and resources that may be used")
    deny: tuple[str, ...] = setting((), help="those that may not, whatever else allows them")
    admin: tuple[str, ...] = setting(
        (), help="operators' actions that may be taken, such as `agents.pause` or `status.*`"
    )
    principals: tuple[str, ...] = setting(
        (), help="names it speaks of, or `scheme:name`; unset: any"
    )
    roles: tuple[str, ...] = setting((), help="roles it speaks of; unset: any")
    scopes: tuple[str, ...] = setting((), help="scopes it speaks of; unset: any")

    def __attrs_post_init__(self) -> None:
        if not (self.allow or self.deny or self.admin):
            raise ValueError("expected a rule to allow or deny something")
        for name in (*self.allow, *self.deny):
            if name != "*" and "." not in name and ":" not in name:
                raise ValueError(f"expected agent.tool, agent.* or agent:uri, not {name!r}")

    def names(self, principal: Principal) -> bool:
        """Whether the principal is of those it names, but for its scopes."""
        if self.principals and not (
            principal.name in self.principals
            or f"{principal.scheme}:{principal.name}" in self.principals
        ):
            return False
        return not self.roles or not principal.roles.isdisjoint(self.roles)

    def has_scope(self, principal: Principal) -> bool:
        """Whether the principal has one of the scopes it asks for."""
        return not self.scopes or not principal.scopes.isdisjoint(self.scopes)


@attrs.frozen(kw_only=True)
class PermissionsConfig:
    """Who may call what, by rules."""

    rules: tuple[Rule, ...] = setting((), help="the rules; without any, nothing is denied")


@attrs.frozen
class _Compiled:
    rule: Rule
    allow: re.Pattern[str] | None
    deny: re.Pattern[str] | None
    admin: re.Pattern[str] | None


class Permissions(Guard):
    """The guard: decides by the rules that speak of the principal."""

    def __init__(self, config: PermissionsConfig) -> None:
        self._rules = tuple(
            _Compiled(one, _any_of(one.allow), _any_of(one.deny), _any_of(one.admin))
            for one in config.rules
        )
        self._views: dict[Principal, tuple[int, ...]] = {}
        self._known: dict[tuple[tuple[int, ...], str], bool] = {}
        self.allowed = 0
        self.denied = 0

    def enter(self, envelope: Envelope, now: float) -> None:
        """Raises PermissionDenied for what no rule allows, or one denies."""
        del now
        view = self.view(envelope.principal)
        name = offer_of(envelope)
        if not self._may(view, name):
            self.denied += 1
            raise self._denied(envelope.principal, name)
        self.allowed += 1

    def admit(self, principal: Principal, action: str, target: str) -> None:
        """Raises PermissionDenied for an action that no rule allows."""
        del target
        if not self._rules:
            return
        for number in self.view(principal):
            admin = self._rules[number].admin
            if admin is not None and admin.fullmatch(action):
                return
        self.denied += 1
        raise PermissionDenied(f"{principal.name!r} may not do {action!r}", began=False)

    def shows(self, principal: Principal, agent: str, kind: str, name: str) -> bool:
        """Whether the principal may use it, so that lists show nobody what is not for them."""
        mark = ":" if kind in ("resources", "templates") else "."
        return self._may(self.view(principal), f"{agent}{mark}{name}")

    def view(self, principal: Principal) -> tuple[int, ...]:
        """The rules that speak of the principal."""
        known = self._views.get(principal)
        if known is None:
            known = tuple(
                number
                for number, one in enumerate(self._rules)
                if one.rule.names(principal) and one.rule.has_scope(principal)
            )
            if len(self._views) >= _REMEMBERED:
                self._views.clear()
            self._views[principal] = known
        return known

    def _may(self, view: tuple[int, ...], name: str) -> bool:
        known = self._known.get((view, name))
        if known is None:
            known = not self._rules or self._decide(view, name)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[view, name] = known
        return known

    def _decide(self, view: tuple[int, ...], name: str) -> bool:
        rules = [self._rules[number] for number in view]
        if any(one.deny is not None and one.deny.fullmatch(name) for one in rules):
            return False
        return any(one.allow is not None and one.allow.fullmatch(name) for one in rules)

    def _denied(self, principal: Principal, name: str) -> PermissionDenied:
        """The refusal; with the scopes that would help, where only those lack (RFC 6750 section 3.1)."""
        scopes = {
            scope
            for one in self._rules
            if one.allow is not None
            and one.allow.fullmatch(name)
            and one.rule.names(principal)
            and not one.rule.has_scope(principal)
            for scope in one.rule.scopes
        }
        data = {"scope": " ".join(sorted(scopes))} if scopes else None
        return PermissionDenied(f"{principal.name!r} may not use {name!r}", data=data, began=False)

    def status(self) -> dict[str, Any]:
        """What was decided."""
        return {"rules": len(self._rules), "allowed": self.allowed, "denied": self.denied}


def offer_of(envelope: Envelope) -> str:
    """What a request is about, as rules write it."""
    uri = envelope.method in _RESOURCES or (
        envelope.method == "completion/complete" and ":" in envelope.name
    )
    return f"{envelope.agent}{':' if uri else '.'}{envelope.name}"


def _any_of(names: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that matches what any of the names, with `*` for any text, means."""
    parts = []
    for name in names:
        if name.endswith(".*") and name.count("*") == 1:
            parts.append(f"{re.escape(name[:-2])}[.:].*")  # all of an agent, resources too
        else:
            parts.append(".*".join(map(re.escape, name.split("*"))))
    return re.compile("|".join(parts), re.DOTALL) if parts else None


@asynccontextmanager
async def open_permissions(
    config: PermissionsConfig, context: Context
) -> AsyncGenerator[Permissions]:
    """The rules, compiled."""
    del context
    yield Permissions(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory("guard", "permissions", PermissionsConfig, open_permissions, stability="beta")
    )
