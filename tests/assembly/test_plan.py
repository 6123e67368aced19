"""The plan: order, circles, references and claims, found before anything is opened."""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from flowcore import Context, Factory, Registry, hookimpl
from flowcore.assembly import Plan, discover, make_plan, read_config
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


PLUGINS = discover(given=[types.SimpleNamespace(flow_register=flow_register, __name__="friends")])


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
