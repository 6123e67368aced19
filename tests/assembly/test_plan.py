"""The plan: order, circles, references and claims, found before anything is opened."""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from flowcore import Context, Factory, Registry, hookimpl
from flowcore.assembly import Plan, discover, make_plan, read, read_config
from flowcore.config import ConfigError, reference, setting


@attrs.frozen(kw_only=True)
class FriendConfig:
    """An agent that needs an edge or another agent."""

    edge: str | None = reference("edge", None, help="an edge it needs")
    friends: tuple[str, ...] = reference("agent", (), help="agents it needs")


@attrs.frozen(kw_only=True)
class PortConfig:
    """An edge that takes a port."""

    port: int = setting(1, help="the port")


@asynccontextmanager
async def open_nothing(config: Any, context: Context) -> AsyncGenerator[None]:
    yield


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("agent", "friend", FriendConfig, open_nothing))
    registry.add(
        Factory(
            "edge", "port", PortConfig, open_nothing, claims=lambda config: (f"tcp {config.port}",)
        )
    )


GIVEN = types.SimpleNamespace(flow_register=flow_register, __name__="friends")
PLUGINS = discover(given=[GIVEN])


def plan(text: str) -> Plan:
    return make_plan(read_config(text, PLUGINS), PLUGINS.registry)


def test_what_is_required_opens_first_and_edges_open_last() -> None:
    made = plan(
        '[edge.e]\ntype = "port"\n[agent.a]\ntype = "friend"\nfriends = ["b"]\n[agent.b]\ntype = "friend"\n'
    )
    paths = [one.path for one in made.components]
    assert paths.index("agent.b.balancer") < paths.index("agent.b") < paths.index("agent.a")
    assert paths[-1] == "edge.e"
    assert made.find("agent.a").requires == ("agent.a.balancer", "agent.b")
    with pytest.raises(KeyError):
        made.find("agent.c")


def test_the_graph_has_an_arrow_to_each_requirement() -> None:
    text = plan(
        '[agent.a]\ntype = "friend"\nfriends = ["b"]\n[agent.b]\ntype = "friend"\n'
    ).mermaid()
    ids = {
        line.split('"')[1].split(" ")[0]: line.split("[")[0].strip()
        for line in text.splitlines()
        if '"' in line
    }
    assert f"    {ids['agent.a']} --> {ids['agent.b']}" in text.splitlines()


def test_a_circle_is_reported_with_its_way() -> None:
    with pytest.raises(ConfigError, match="components require each other in a circle") as raised:
        plan(
            '[agent.a]\ntype = "friend"\nfriends = ["b"]\n[agent.b]\ntype = "friend"\nfriends = ["a"]\n'
        )
    assert "agent.a → agent.b → agent.a" in str(
        raised.value
    ) or "agent.b → agent.a → agent.b" in str(raised.value)


def test_every_circle_is_reported() -> None:
    pairs = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("e", "e")]
    text = "".join(f'[agent.{a}]\ntype = "friend"\nfriends = ["{b}"]\n' for a, b in pairs)
    with pytest.raises(ConfigError) as raised:
        plan(text)
    said = [one.message.partition("circle: ")[2].split(" → ") for one in raised.value.problems]
    assert sorted(sorted(set(way)) for way in said) == [
        ["agent.a", "agent.b"],
        ["agent.c", "agent.d"],
        ["agent.e"],
    ]


def test_an_agent_that_needs_an_edge_is_a_circle() -> None:
    with pytest.raises(ConfigError, match="in a circle: .*edge.e"):
        plan('[agent.a]\ntype = "friend"\nedge = "e"\n[edge.e]\ntype = "port"\n')


def test_a_missing_reference_is_reported_with_a_near_miss() -> None:
    with pytest.raises(
        ConfigError, match=r"<text>:3: agent.a.friends\[0\]: there is no \[agent.c\]"
    ):
        plan('[agent.a]\ntype = "friend"\nfriends = ["c"]\n[agent.b]\ntype = "friend"\n')


def test_everything_wrong_with_a_plan_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        plan(
            '[edge.one]\ntype = "port"\n[edge.two]\ntype = "port"\n[edge.three]\ntype = "port"\n'
            '[agent.a]\ntype = "friend"\nedge = "one"\n'
        )
    texts = [one.message for one in raised.value.problems]
    assert sum("tcp 1 is claimed here and by edge." in text for text in texts) == 2
    assert sum("in a circle" in text for text in texts) == 1


def test_what_can_be_planned_is_checked_though_the_rest_is_wrong() -> None:
    text = (
        '[node]\nnmae = "x"\n[edge.one]\ntype = "port"\n[edge.two]\ntype = "port"\n'
        '[edge.three]\ntype = "port"\nport = "3"\n[agent.a]\ntype = "friend"\nfriends = ["a"]\n'
    )
    with pytest.raises(ConfigError) as raised:
        read(text, given=[GIVEN])
    said = [str(one).partition(": ")[2] for one in raised.value.problems]
    assert [one.partition(" (known")[0] for one in said] == [
        "node.nmae: unknown key, did you mean 'name'?",
        "edge.two: tcp 1 is claimed here and by edge.one",
        "edge.three.port: expected an integer, not a string",
        "agent.a: components require each other in a circle: agent.a → agent.a",
    ]


@attrs.frozen(kw_only=True)
class FaultyConfig:
    """A configuration class that fails in its own ways."""

    how: str = setting("", validator=lambda value: {}[value] if value == "check" else None, help="")

    def __attrs_post_init__(self) -> None:
        if self.how == "make":
            raise ZeroDivisionError("by nothing")


def claims(config: FaultyConfig) -> tuple[str, ...]:
    if config.how == "claims":
        raise OSError("nothing to claim")
    return ()


def exposed(config: FaultyConfig) -> str | None:
    if config.how == "exposed":
        raise KeyError("host")
    return None


@hookimpl(specname="flow_register")
def register_faulty(registry: Registry) -> None:
    registry.add(
        Factory("edge", "faulty", FaultyConfig, open_nothing, claims=claims, exposed=exposed)
    )


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (
            "check",
            "<text>:3: edge.e.how: this cannot be checked, for the check itself failed: KeyError",
        ),
        ("make", "<text>:1: edge.e: this cannot be checked, for the check itself failed: ZeroDiv"),
        ("claims", "<text>:1: edge.e: the plugin's own 'claims' failed: OSError: nothing to claim"),
        ("exposed", "<text>:1: edge.e: the plugin's own 'exposed' failed: KeyError: 'host'"),
    ],
)
def test_a_plugin_whose_checks_fail_is_a_problem_of_its_table(how: str, says: str) -> None:
    faulty = types.SimpleNamespace(flow_register=register_faulty, __name__="faulty")
    with pytest.raises(ConfigError) as raised:
        read(f'[edge.e]\ntype = "faulty"\nhow = "{how}"\n', given=[faulty])
    (problem,) = raised.value.problems
    assert str(problem).startswith(says)
