"""From a configuration's source to the plugins it loads and the settings it holds."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from flowcore.assembly.builtin import BUILTIN
from flowcore.assembly.discovery import Plugins, discover
from flowcore.assembly.registry import FactoryRegistry
from flowcore.assembly.settings import FlowConfig, PluginSettings
from flowcore.config import (
    ConfigError,
    Document,
    Listing,
    NothingKnown,
    Problem,
    dotted,
    load,
    structure,
    structure_part,
)
from flowcore.errors import PluginError

Source = FlowConfig | Mapping[str, Any] | pathlib.Path | str


def discover_for(
    source: Source, overrides: Sequence[str] = (), given: Sequence[object] = ()
) -> Plugins:
    """The plugins that a configuration asks for. Raises ConfigError."""
    if isinstance(source, FlowConfig):
        settings = source.plugins
        return discover(disable=settings.disable, files=settings.files, given=given)
    document = load(source, overrides=overrides)
    settings = structure_part(document, "plugins", PluginSettings, NothingKnown())
    try:
        return discover(disable=settings.disable, files=settings.files, given=given)
    except PluginError as error:
        where = document.where(("plugins", "disable"))
        raise ConfigError(
            [Problem(where=where, path="plugins.disable", message=str(error))]
        ) from None


def read_config(
    source: Mapping[str, Any] | pathlib.Path | str | FlowConfig,
    plugins: Plugins,
    overrides: Sequence[str] = (),
) -> FlowConfig:
    """The settings, checked against what the plugins know. Raises ConfigError with every problem."""
    if isinstance(source, FlowConfig):
        return source
    document = load(source, overrides=overrides)
    problems = list(_reserved(document))
    try:
        config = structure(document, FlowConfig, plugins.registry)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return config


def _reserved(document: Document) -> list[Problem]:
    """Names that a configuration may not give away."""
    agents = document.tree.get("agent")
    if not isinstance(agents, Mapping):
        return []
    problems = []
    for name in agents:
        path = ("agent", name)
        if name == BUILTIN:
            text = "this name is the node's own (flow.agents, flow.status); take another"
        elif not name or not all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
            text = f"expected an agent's name of letters, digits, _ and -, not {name!r}"
        else:
            continue
        problems.append(Problem(where=document.where(path), path=dotted(path), message=text))
    return problems


def listing(registry: FactoryRegistry) -> Listing:
    """kind → type → configuration class, of everything that can be selected."""
    kinds: dict[str, dict[str, type]] = {}
    for one in registry.all():
        kinds.setdefault(one.factory.kind, {})[one.factory.type] = one.factory.config
    return kinds
