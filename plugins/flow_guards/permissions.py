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

A URI can be spelled in many ways (`..`, escapes, upper case). A resource is allowed only if it is in every
reading of its URI (`flow_guards.uris`), and denied if it is in any.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec

from flow_guards.measures import ALLOWED, REFUSED
from flow_guards.uris import READINGS, has_dots, readings
from flowcore.config import setting
from flowcore.envelope import Envelope, Principal
from flowcore.errors import InvalidArguments, PermissionDenied
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.requests import Guard
from flowcore.telemetry import Reading

_REMEMBERED = 20_000
_LONGEST = 512
"""Characters of a name beyond which what was decided is not remembered."""
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
            uri = _uri_of(name)
            if uri is not None and (has_dots(uri) or readings(uri) is None):
                raise ValueError(f"expected a URI without `.` and `..` segments, not {uri!r}")

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


_Patterns = tuple[re.Pattern[str], ...]
"""What rules name, in each reading; empty if they name nothing."""


@attrs.frozen
class _Compiled:
    rule: Rule
    allow: _Patterns
    deny: _Patterns
    admin: re.Pattern[str] | None


@attrs.frozen
class Offer:
    """What a request is about."""

    agent: str
    name: str
    uri: bool
    """Whether the name is a resource's URI or template, not a tool's or prompt's name."""

    def __str__(self) -> str:
        """The offer as rules write it."""
        return f"{self.agent}{':' if self.uri else '.'}{self.name}"

    def readings(self) -> tuple[str, ...] | None:
        """The offer in each way in which it may be read; None if it is not to be read at all."""
        if not self.uri:
            return (str(self),)
        found = readings(self.name)
        return None if found is None else tuple(f"{self.agent}:{one}" for one in found)


class Permissions(Guard):
    """The guard: decides by the rules that speak of the principal."""

    def __init__(self, config: PermissionsConfig) -> None:
        self._rules = tuple(
            _Compiled(one, _allowing(one.allow), _denying(one.deny), _any_of(one.admin))
            for one in config.rules
        )
        self._views: dict[Principal, tuple[int, ...]] = {}
        self._known: dict[tuple[tuple[int, ...], Offer], bool] = {}
        self.allowed = 0
        self.denied = 0

    def enter(self, envelope: Envelope, now: float) -> None:
        """Raises PermissionDenied for what no rule allows, or one denies."""
        del now
        view = self.view(envelope.principal)
        offer = offer_of(envelope)
        if not self._may(view, offer):
            self.denied += 1
            raise self._denied(envelope.principal, offer)
        self.allowed += 1

    def admit(self, principal: Principal, action: str, target: str) -> None:
        """Raises PermissionDenied for an action that no rule allows."""
        if self.may(principal, action, target):
            return
        self.denied += 1
        raise PermissionDenied(f"{principal.name!r} may not do {action!r}", began=False)

    def may(self, principal: Principal, action: str, target: str) -> bool:
        """Whether a rule allows an action."""
        del target
        rules = [self._rules[number].admin for number in self.view(principal)]
        return not self._rules or any(one is not None and one.fullmatch(action) for one in rules)

    def shows(self, principal: Principal, agent: str, kind: str, name: str) -> bool:
        """Whether the principal may use it, so that lists show nobody what is not for them."""
        offer = Offer(agent, name, kind in ("resources", "templates"))
        return self._may(self.view(principal), offer)

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

    def _may(self, view: tuple[int, ...], offer: Offer) -> bool:
        known = self._known.get((view, offer))
        if known is None:
            known = not self._rules or self._decide(view, offer)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            if len(offer.name) <= _LONGEST:
                self._known[view, offer] = known
        return known

    def _decide(self, view: tuple[int, ...], offer: Offer) -> bool:
        """Whether every reading is allowed, and none is denied."""
        rules = [self._rules[number] for number in view]
        texts = offer.readings()
        if texts is None or any(
            one.deny and any(map(re.Pattern.fullmatch, one.deny, texts)) for one in rules
        ):
            return False
        return all(
            any(one.allow and one.allow[reading].fullmatch(text) for one in rules)
            for reading, text in enumerate(texts)
        )

    def _denied(self, principal: Principal, offer: Offer) -> PermissionDenied:
        """The refusal; with the scopes that would help, where only those lack (RFC 6750 section 3.1)."""
        name = str(offer)
        scopes = {
            scope
            for one in self._rules
            if one.allow
            and one.allow[0].fullmatch(name)
            and one.rule.names(principal)
            and not one.rule.has_scope(principal)
            for scope in one.rule.scopes
        }
        data = {"scope": " ".join(sorted(scopes))} if scopes else None
        name = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
        return PermissionDenied(f"{principal.name!r} may not use {name!r}", data=data, began=False)

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        yield ALLOWED.of(self.allowed, name)
        yield REFUSED.of(self.denied, name, "permission")

    def status(self) -> dict[str, Any]:
        """What was decided."""
        return {"rules": len(self._rules), "allowed": self.allowed, "denied": self.denied}


class _Ref(msgspec.Struct, gc=False):
    type: str


_decode_ref = msgspec.json.Decoder(_Ref).decode


def offer_of(envelope: Envelope) -> Offer:
    """What a request is about."""
    uri = envelope.method in _RESOURCES or (
        envelope.method == "completion/complete" and _completes_resource(envelope)
    )
    return Offer(envelope.agent, envelope.name, uri)


def _completes_resource(envelope: Envelope) -> bool:
    """Whether a completion is of a resource, as its reference says. Raises InvalidArguments."""
    try:
        return _decode_ref(envelope.params["ref"]).type == "ref/resource"
    except (KeyError, msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidArguments(
            "params.ref must be a ref/prompt or a ref/resource", began=False
        ) from None


def _uri_of(rule: str) -> str | None:
    """The URI that a rule names, if it names one."""
    mark = re.search("[.:]", rule)
    return rule[mark.end() :] if mark is not None and mark[0] == ":" else None


def _allowing(names: tuple[str, ...]) -> _Patterns:
    """Patterns that match what the names mean, and no more: no tool's name matches a resource."""
    return _in_each_reading(names, "[^:]*", "")


def _denying(names: tuple[str, ...]) -> _Patterns:
    """Patterns that match all that the names may mean: a URI without a query means it with any, or with what
    careless readers do not see, or see the end in."""
    return _in_each_reading(names, ".*", r"(?:[?#\x00].*)?")


def _in_each_reading(names: tuple[str, ...], any_agent: str, tail: str) -> _Patterns:
    if not names:
        return ()
    return tuple(
        re.compile("|".join(_pattern(name, reading, any_agent, tail) for name in names), re.DOTALL)
        for reading in range(READINGS)
    )


def _pattern(name: str, reading: int, any_agent: str, tail: str) -> str:
    """What a name in a rule means, in one of the readings, as a regular expression."""
    if name == "*":
        return ".*"
    if name.endswith(".*") and ":" not in name:
        return f"{_starred(name[:-2], any_agent)}[.:].*"  # all of an agent, resources too
    mark = re.search("[.:]", name)
    assert mark is not None  # or it is no rule
    agent, rest = name[: mark.start()], name[mark.end() :]
    if mark[0] == ":":
        uris = readings(rest)
        assert uris is not None  # or it is no rule
        rest = uris[reading]
    after = tail if mark[0] == ":" and "?" not in rest else ""
    if mark[0] == ":":
        any_agent = "[^:]*"  # no agent's name has one: the first colon ends it
    return _starred(agent, any_agent) + re.escape(mark[0]) + _starred(rest, ".*") + after


def _starred(text: str, any_text: str) -> str:
    """A pattern of a text in which stars are any text.

    Of each part between two stars the first place is as good as any later one, so it is not looked for again
    (an atomic group): else a long URI of many such places would take a time that grows with their power.
    """
    first, *parts = map(re.escape, text.split("*"))
    if not parts:
        return first
    *middle, last = parts
    return "".join((first, *(f"(?>{any_text}?{one})" for one in middle if one), any_text, last))


def _any_of(names: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that matches any of the names of operators' actions."""
    parts = [_starred(name, ".*") for name in names]
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
