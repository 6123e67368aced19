"""The guard `permissions`: rules, what they decide, what lists show, what a refusal says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_guards.permissions import Permissions, PermissionsConfig, Rule
from flowcore.envelope import ANONYMOUS, Envelope, Principal
from flowcore.errors import PermissionDenied

ANN = Principal(name="ann", scheme="idp", roles=frozenset({"reader"}), scopes=frozenset({"mcp"}))
BOB = Principal(name="bob", scheme="idp", scopes=frozenset({"guest"}))


def guard(*rules: dict[str, Any]) -> Permissions:
    made = [Rule(**{key: tuple(value) for key, value in rule.items()}) for rule in rules]
    return Permissions(PermissionsConfig(rules=tuple(made)))


def asked(principal: Principal, agent: str, name: str, method: str = "tools/call") -> Envelope:
    return Envelope(
        method=method, agent=agent, name=name, params={}, deadline=1e9, principal=principal
    )


def may(
    it: Permissions, principal: Principal, agent: str, name: str, method: str = "tools/call"
) -> bool:
    try:
        it.enter(asked(principal, agent, name, method), 0.0)
    except PermissionDenied as error:
        assert not error.began
        return False
    return True


def test_without_rules_everything_passes_and_with_one_only_what_it_allows() -> None:
    assert may(guard(), ANONYMOUS, "time", "now")
    guard().admit(ANONYMOUS, "agents.pause", "time")
    it = guard({"allow": ["time.now"]})
    assert may(it, ANONYMOUS, "time", "now")
    for agent, name in (("time", "then"), ("time", "no"), ("time", "nowx"), ("times", "now")):
        assert not may(it, ANN, agent, name)
    with pytest.raises(PermissionDenied, match=r"'ann' may not do 'agents\.pause'"):
        it.admit(ANN, "agents.pause", "time")
    assert it.status() == {"rules": 1, "allowed": 1, "denied": 5}


def test_conditions_must_all_hold() -> None:
    it = guard(
        {"allow": ["a.*"], "principals": ["ann", "idp:bob"]},
        {"allow": ["b.*"], "roles": ["writer", "reader"]},
        {"allow": ["c.*"], "scopes": ["mcp"], "roles": ["writer"]},
    )
    other = Principal(name="bob", scheme="other")
    assert [may(it, one, "a", "x") for one in (ANN, BOB, other)] == [True, True, False]
    assert [may(it, one, "b", "x") for one in (ANN, BOB, other)] == [True, False, False]
    assert [may(it, one, "c", "x") for one in (ANN, BOB, other)] == [False, False, False]


def test_a_rule_that_denies_wins_wherever_it_stands() -> None:
    for rules in (
        [{"allow": ["*"]}, {"deny": ["*.delete_*"]}],
        [{"deny": ["*.delete_*"]}, {"allow": ["*"]}],
    ):
        it = guard(*rules)
        assert may(it, ANN, "files", "read")
        assert not may(it, ANN, "files", "delete_all")
    it = guard({"allow": ["*"]}, {"deny": ["files.*"], "scopes": ["guest"]})
    assert may(it, ANN, "files", "read")
    assert not may(it, BOB, "files", "read")


def test_resources_are_named_by_uri_and_all_of_an_agent_has_them_too() -> None:
    it = guard({"allow": ["docs:file:///public/*", "notes.*", "time.now"]})
    read = "resources/read"
    assert may(it, ANN, "docs", "file:///public/a.txt", read)
    assert not may(it, ANN, "docs", "file:///private/a.txt", read)
    assert not may(it, ANN, "docs", "read_file")
    assert may(it, ANN, "notes", "note://1", read)
    assert may(it, ANN, "notes", "note://1", "resources/subscribe")
    assert may(it, ANN, "notes", "add")
    assert not may(it, ANN, "time", "now", read)
    assert may(it, ANN, "time", "now", "prompts/get")


def test_no_name_breaks_out_of_a_pattern() -> None:
    it = guard({"allow": ["a.b+c", "x.(y|z)"]})
    assert may(it, ANN, "a", "b+c")
    assert not may(it, ANN, "a", "bbc")
    assert may(it, ANN, "x", "(y|z)")
    assert not may(it, ANN, "x", "y")
    assert not may(guard({"allow": ["a.b"]}), ANN, "a", "b\nc")
    assert not may(guard({"allow": ["a.b"]}), ANN, "a", "b\n")


def test_lists_show_only_what_may_be_called_and_views_say_who_sees_the_same() -> None:
    it = guard({"allow": ["a.*"]}, {"allow": ["b.*"], "roles": ["reader"]})
    assert [it.shows(ANN, agent, "tools", "x") for agent in ("a", "b", "c")] == [True, True, False]
    assert [it.shows(BOB, agent, "tools", "x") for agent in ("a", "b", "c")] == [True, False, False]
    assert it.shows(BOB, "a", "resources", "file:///x")
    assert it.view(ANN) != it.view(BOB)
    assert it.view(BOB) == it.view(ANONYMOUS)


def test_a_refusal_names_the_scopes_that_would_help_and_no_others() -> None:
    it = guard(
        {"allow": ["a.*"], "scopes": ["tools:write"]},
        {"allow": ["b.*"], "scopes": ["x"], "principals": ["carl"]},
    )
    with pytest.raises(PermissionDenied) as caught:
        it.enter(asked(ANN, "a", "x"), 0.0)
    assert caught.value.data == {"scope": "tools:write"}
    with pytest.raises(PermissionDenied) as caught:
        it.enter(asked(ANN, "b", "x"), 0.0)
    assert caught.value.data is None


def test_operators_actions_are_allowed_by_name() -> None:
    it = guard({"admin": ["agents.*"], "principals": ["ann"]}, {"admin": ["status"]})
    it.admit(ANN, "agents.pause", "time")
    it.admit(BOB, "status", "")
    for principal, action in ((BOB, "agents.pause"), (ANN, "tools.approve"), (ANN, "agents")):
        with pytest.raises(PermissionDenied):
            it.admit(principal, action, "time")


@pytest.mark.parametrize(
    ("rule", "why"),
    [({}, "allow or deny something"), ({"allow": ("time",)}, "expected agent.tool")],
)
def test_wrong_rules_are_refused(rule: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Rule(**rule)


def fits(name: str) -> bool:
    try:
        Rule(allow=(name,))
    except ValueError:
        return False
    return True


names = st.text("ab.:*/", min_size=1, max_size=6)


@given(st.lists(names, max_size=4), st.lists(names, max_size=4), st.text("ab", min_size=1), names)
def test_what_is_shown_is_what_may_be_called(
    allow: list[str], deny: list[str], agent: str, name: str
) -> None:
    def written(found: list[str]) -> list[str]:
        return [one for one in found if fits(one)]

    rules = [{"allow": ["zz.z"]}]
    if written(allow):
        rules.append({"allow": written(allow)})
    if written(deny):
        rules.append({"deny": written(deny)})
    it = guard(*rules)
    assert it.shows(ANN, agent, "tools", name) == may(it, ANN, agent, name)
    assert it.shows(ANN, agent, "resources", name) == may(it, ANN, agent, name, "resources/read")
    if "*" in deny or not written(allow):
        assert not may(it, ANN, agent, name)
