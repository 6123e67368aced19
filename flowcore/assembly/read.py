"""From a configuration's source to all that a flow is made from, or to everything that is wrong with it."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from flowcore.assembly.discovery import Plugins, discover, installed
from flowcore.assembly.plan import BUILTIN, Plan, make_plan, plan_problems
from flowcore.assembly.registry import FactoryRegistry
from flowcore.assembly.settings import FlowConfig, PluginSettings
from flowcore.config import (
    ConfigError,
    Document,
    Listing,
    NothingKnown,
    Problem,
    attempt,
    dotted,
    load,
)
from flowcore.config.problems import known_words

Source = FlowConfig | Mapping[str, Any] | pathlib.Path | str

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@attrs.frozen(kw_only=True)
class Reading:
    """A configuration that can be opened."""

    config: FlowConfig
    plugins: Plugins
    plan: Plan
    folder: pathlib.Path
    """What its relative paths are relative to."""


def read(source: Source, overrides: Sequence[str] = (), given: Sequence[object] = ()) -> Reading:
    """Read a configuration, load the plugins it asks for and plan it.

    Raises ConfigError with every problem: of the file, of what it says of plugins, and of the plan, as far
    as there is one. Overrides are for what is read; a FlowConfig is changed with attrs.evolve.
    """
    if isinstance(source, FlowConfig):
        if overrides:
            raise ValueError("a FlowConfig takes no overrides: change it with attrs.evolve")
        plugins = discover(disable=source.plugins.disable, files=source.plugins.files, given=given)
        plan = make_plan(source, plugins.registry)
        return Reading(config=source, plugins=plugins, plan=plan, folder=pathlib.Path())
    document = load(source, overrides=overrides)
    plugins, problems = _discover(document, given)
    config = _structure(document, plugins.registry, problems)
    return Reading(
        config=config,
        plugins=plugins,
        plan=make_plan(config, plugins.registry),
        folder=document.folder,
    )


def read_config(source: Source, plugins: Plugins, overrides: Sequence[str] = ()) -> FlowConfig:
    """The settings alone, checked against plugins that are loaded. Raises ConfigError."""
    if isinstance(source, FlowConfig):
        return source
    return _structure(load(source, overrides=overrides), plugins.registry, [])


def discover_for(source: Source, overrides: Sequence[str] = ()) -> Plugins:
    """The plugins that a configuration asks for, whatever else it says. Raises ConfigError."""
    if isinstance(source, FlowConfig):
        return discover(disable=source.plugins.disable, files=source.plugins.files)
    document = load(source, overrides=overrides)
    plugins, problems = _discover(document, ())
    table = document.tree.get("plugins", {})
    problems += attempt(
        document, PluginSettings, NothingKnown(), at=("plugins",), table=table
    ).problems
    if problems:
        raise ConfigError(problems)
    return plugins


def _structure(
    document: Document, registry: FactoryRegistry, problems: Sequence[Problem]
) -> FlowConfig:
    tried = attempt(document, FlowConfig, registry)
    whole = ("consensus", "storage")
    chosen = [
        one for one in tried.selections if one.path == f"{one.kind}.{one.name}" or one.path in whole
    ]
    found = [
        *problems,
        *_wrong_names(document),
        *tried.problems,
        *(plan_problems(chosen, registry) if tried.made is None else ()),
    ]
    if found or tried.made is None:
        raise ConfigError(found)
    return tried.made


def _discover(document: Document, given: Sequence[object]) -> tuple[Plugins, list[Problem]]:
    """The plugins, and what `[plugins]` asks for that is not there."""
    settings = _plugin_settings(document)
    problems = []
    names = [point.name for point in installed()] if settings.disable else []
    for index, name in enumerate(settings.disable):
        if name not in names:
            text = f"no installed plugin is named {name!r}{known_words(name, names)}"
            problems.append(_problem(document, ("plugins", "disable", index), text))
    for index, path in enumerate(settings.files):
        if not path.is_file():
            text = f"there is no plugin file {str(path)!r}"
            problems.append(_problem(document, ("plugins", "files", index), text))
    plugins = discover(
        disable=[name for name in settings.disable if name in names],
        files=[path for path in settings.files if path.is_file()],
        given=given,
    )
    return plugins, problems


def _plugin_settings(document: Document) -> PluginSettings:
    """As much of `[plugins]` as can be read; what cannot is told with the rest of the document."""
    table = document.tree.get("plugins")
    settings = PluginSettings()
    for key, value in table.items() if isinstance(table, Mapping) else ():
        tried = attempt(
            document, PluginSettings, NothingKnown(), at=("plugins",), table={key: value}
        )
        if tried.made is not None:
            settings = attrs.evolve(settings, **{key: getattr(tried.made, key)})
    return settings


def _wrong_names(document: Document) -> Iterator[Problem]:
    """Names that a configuration may not give to components."""
    for kind in ("auth", "guard", "agent", "edge"):
        table = document.tree.get(kind)
        for name in table if isinstance(table, Mapping) else ():
            if kind == "agent" and name == BUILTIN:
                text = "this name is the node's own (flow.agents, flow.status); take another"
            elif isinstance(name, str) and not _NAME.fullmatch(name):
                text = f"expected a name of 1 to 64 letters, digits, _ and -, not {name!r:.80}"
            else:
                continue
            yield _problem(document, (kind, name), text)


def _problem(document: Document, path: tuple[str | int, ...], text: str) -> Problem:
    return Problem(where=document.where(path), path=dotted(path), message=text)


def listing(registry: FactoryRegistry) -> Listing:
    """kind → type → configuration class, of everything that can be selected."""
    kinds: dict[str, dict[str, type]] = {}
    for one in registry.all():
        kinds.setdefault(one.factory.kind, {})[one.factory.type] = one.factory.config
    return kinds
