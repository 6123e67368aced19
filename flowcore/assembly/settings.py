"""The whole configuration of a node, as attrs classes: what a TOML file is checked against."""

from __future__ import annotations

import pathlib
from typing import Literal

import attrs

from flowcore.access import EdgeSettings
from flowcore.agents import AgentSettings
from flowcore.config import Duration, Secret, Selection, selection, setting
from flowcore.config import validators as v
from flowcore.requests import RequestSettings
from flowcore.routing import RouterSettings
from flowcore.secrets import read_seal_keys
from flowcore.state import StateSettings
from flowcore.swarm import SwarmSettings
from flowcore.telemetry import ExporterSettings, TelemetrySettings


def _is_seal_key(key: Secret) -> bool:
    return bool(read_seal_keys(key.reveal()).keys)


@attrs.frozen(kw_only=True)
class NodeSettings:
    """Who this node is."""

    name: str = setting(
        "flow", validator=v.matches(r"[a-z0-9][a-z0-9-]{0,62}"), help="the node's name"
    )
    data_dir: pathlib.Path = setting(
        pathlib.Path("data"),
        help="where the node keeps what it must not forget; made when first needed",
    )
    seal_key: Secret | None = setting(
        None,
        validator=v.Check(_is_seal_key, "a key made by `flowctl seal --new-key FILE`"),
        help="opens the values of this file that are sealed; unset: the environment's FLOW_SEAL_KEY",
    )
    seed: int | None = setting(
        None,
        help="seeds every random choice, so that a run can be repeated; unset: from the system",
    )
    drain: Duration = setting(
        10.0,
        help="how long requests may go on after TERM before they are cancelled",
        reloadable=True,
    )


@attrs.frozen(kw_only=True)
class PluginSettings:
    """Which plugins are loaded, besides those that are installed."""

    disable: tuple[str, ...] = setting(
        (), help="names of installed plugins that are not even imported"
    )
    files: tuple[pathlib.Path, ...] = setting(
        (), help="Python files that are plugins by themselves"
    )


@attrs.frozen(kw_only=True)
class LogSettings:
    """What the node says about itself on stderr."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", help="what is worth a line", reloadable=True
    )
    levels: dict[str, Literal["debug", "info", "warning", "error"]] = setting(
        factory=dict,
        help='the same for loggers by name, such as `"flowcore.swarm" = "debug"`',
        reloadable=True,
    )
    format: Literal["text", "json"] = setting(
        "text", help="lines for people, or one JSON object a line for machines", reloadable=True
    )


@attrs.frozen(kw_only=True)
class SupervisionSettings:
    """How often components may fail before their parent decides."""

    restarts: int = setting(5, validator=v.ge(0), help="restarts allowed within the period")
    period: Duration = setting(60.0, help="the period in which restarts are counted")
    shutdown: Duration = setting(
        5.0, help="how long a component may take to drain before it is cancelled"
    )


@attrs.frozen(kw_only=True)
class FlowConfig:
    """One node's configuration: the root of the TOML file."""

    node: NodeSettings = setting(factory=NodeSettings, help="who this node is")
    plugins: PluginSettings = setting(factory=PluginSettings, help="which plugins are loaded")
    log: LogSettings = setting(factory=LogSettings, help="what the node says about itself")
    telemetry: TelemetrySettings = setting(
        factory=TelemetrySettings, help="what the node tells of the requests it does"
    )
    supervision: SupervisionSettings = setting(
        factory=SupervisionSettings, help="how failures of components are met"
    )
    requests: RequestSettings = setting(
        factory=RequestSettings, help="how requests are taken and kept"
    )
    router: RouterSettings | None = setting(
        None, help="the right agent for a request in words, and shared memory; unset: neither"
    )
    swarm: SwarmSettings | None = setting(
        None, help="several nodes as one; unset: this node is alone"
    )
    state: StateSettings | None = setting(
        None, help="how much is kept that must not be forgotten: shared memory, patterns, feedback"
    )
    consensus: Selection | str | None = selection(
        "consensus",
        None,
        help="how what is kept gets its one order; unset: `single`, where something needs it",
    )
    storage: Selection | str | None = selection(
        "storage",
        None,
        help="where consensus keeps its log; unset: `sqlite`, where something needs it",
    )
    auth: dict[str, Selection] = selection(
        "auth", many=True, help="one table per way of telling who asks; the key is its name"
    )
    guard: dict[str, Selection] = selection(
        "guard", many=True, help="one table per guard of requests; the key is its name"
    )
    agent: dict[str, Selection] = selection(
        "agent",
        many=True,
        common=AgentSettings,
        help="one table per agent; the key is its name",
        reloadable=True,
    )
    exporter: dict[str, Selection] = selection(
        "exporter",
        many=True,
        common=ExporterSettings,
        help="one table per place to which traces, metrics and logs are taken; the key is its name",
    )
    edge: dict[str, Selection] = selection(
        "edge",
        many=True,
        common=EdgeSettings,
        help="one table per face to the outside; the key is its name",
    )
