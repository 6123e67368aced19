"""The plan: which components there will be, what each requires, and the order they open in.

Made from the configuration alone, before anything is opened, so that `--check-config` walks the same
code as a start. All that is wrong with a plan is reported at once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import attrs

from flowcore.access import EdgeSettings
from flowcore.agents import AgentSettings
from flowcore.assembly.registry import FactoryRegistry
from flowcore.assembly.settings import FlowConfig
from flowcore.config import ConfigError, Problem, Selection, Where, about, references
from flowcore.config.problems import known_words
from flowcore.hookspecs import Factory

BUILTIN = "flow"
"""The name of the agent that every node has; no other may have it."""
MEMORY = "memory"
"""The name of the agent that a router with memory has."""

_NAMED_IN = {
    "auth": "`auth` of an edge",
    "guard": "`guards` of [requests], of an edge or of an agent",
}
"""Kinds that do something only where they are named."""


@attrs.frozen(kw_only=True)
class Component:
    """One thing to open: its path in the configuration, its factory and settings, what it requires."""

    path: str
    kind: str
    name: str
    factory: Factory
    selection: Selection
    requires: tuple[str, ...]
    """Paths of the components that must be open before it."""


@attrs.frozen
class Plan:
    """Components in the order in which they open; they close in reverse."""

    components: tuple[Component, ...]

    def find(self, path: str) -> Component:
        """The component at a path. Raises KeyError."""
        for one in self.components:
            if one.path == path:
                return one
        raise KeyError(path)

    def of_kind(self, kind: str) -> tuple[Component, ...]:
        """The components of one kind, in order."""
        return tuple(one for one in self.components if one.kind == kind)

    def mermaid(self) -> str:
        """The plan as a Mermaid flowchart: an arrow from each component to what it requires."""
        lines = ["flowchart LR"]
        ids = {one.path: f"c{number}" for number, one in enumerate(self.components)}
        lines.extend(
            f'    {ids[one.path]}["{one.path} ({one.factory.type})"]' for one in self.components
        )
        for one in self.components:
            lines.extend(f"    {ids[one.path]} --> {ids[path]}" for path in one.requires)
        return "\n".join(lines) + "\n"


def make_plan(config: FlowConfig, registry: FactoryRegistry) -> Plan:
    """Lay out the components of a configuration.

    Raises ConfigError with every cycle, every exclusive thing that two claim, every edge that would
    be reachable from other machines without authentication, every name that is nobody's, and every table
    that nobody names.
    """
    chosen = chosen_components(config, registry)
    problems = [
        *plan_problems(chosen, registry),
        *_not_there(config, chosen, registry),
        *_taken_names(config),
        *_not_single(config, chosen),
        *_unused(chosen, config),
    ]
    if problems:
        raise ConfigError(problems)
    components = {one.path: one for one in _components(chosen, registry)}
    graph = {path: one.requires for path, one in components.items()}
    return Plan(tuple(components[path] for path in TopologicalSorter(graph).static_order()))


DEFAULTS = {"storage": "sqlite", "consensus": "single"}
"""What the hard state stands on where the configuration does not say, in the order in which it opens."""


def needs_state(config: FlowConfig) -> bool:
    """Whether the configuration has something that keeps what must not be forgotten."""
    asked = (config.router, config.state, config.consensus, config.storage)
    return any(one is not None for one in asked) or any(_singletons(config))


def _singletons(config: FlowConfig) -> Iterator[Selection]:
    for one in config.agent.values():
        if isinstance(one.common, AgentSettings) and one.common.singleton:
            yield one


def _not_single(config: FlowConfig, chosen: Sequence[Selection]) -> Iterator[Problem]:
    """Singletons of nodes that have no state in common: each would run its own."""
    types = [one.type for one in chosen if one.path == "consensus"]
    if config.swarm is not None and types == ["single"]:
        for one in _singletons(config):
            text = (
                "a singleton of a swarm needs a state that its nodes share, and consensus is 'single':"
                ' say [consensus] type = "raft"'
            )
            yield _problem(one, text)


def chosen_components(config: FlowConfig, registry: FactoryRegistry) -> list[Selection]:
    """Every component that a configuration chooses, by name or alone, with those that it needs unsaid."""
    chosen = []
    for kind, default in DEFAULTS.items() if needs_state(config) else ():
        said = getattr(config, kind)
        chosen.append(
            said if isinstance(said, Selection) else _bare(kind, said or default, registry, kind)
        )
    if config.swarm is not None:
        chosen += _selected(config.swarm, "swarm", registry)
    if config.router is not None:
        chosen += _selected(config.router, "router", registry)
    tables = (config.exporter, config.auth, config.guard, config.agent, config.edge)
    return chosen + [one for table in tables for one in table.values()]


def _bare(
    kind: str, type_: str, registry: FactoryRegistry, path: str, where: Where | None = None
) -> Selection:
    """A component chosen by its type alone, as settings made by hand do."""
    return Selection(
        kind=kind,
        type=type_,
        name=path.rpartition(".")[2],
        config=registry.factory(kind, type_).config(),
        path=path,
        where=Where() if where is None else where,
    )


def plan_problems(chosen: Sequence[Selection], registry: FactoryRegistry) -> list[Problem]:
    """What keeps these components from being opened together."""
    components = {one.path: one for one in _components(chosen, registry)}
    return [
        *_claimed_twice(components),
        *_exposed(components),
        *_asks_nobody(components),
        *_circles(components),
    ]


def _circles(components: Mapping[str, Component]) -> Iterator[Problem]:
    graph = {
        path: [required for required in one.requires if required in components]
        for path, one in components.items()
    }
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = error.args[1]
            way = " → ".join(reversed(circle))
            first = components[circle[0]].selection
            yield _problem(first, f"components require each other in a circle: {way}")
            graph[circle[1]].remove(circle[0])  # open it, to see whether there is another one
        else:
            return


def _components(chosen: Sequence[Selection], registry: FactoryRegistry) -> Iterator[Component]:
    agents = tuple(one.path for one in chosen if one.kind == "agent")
    for selection in chosen:
        inner = tuple(_inner(selection, registry))
        for one in inner:
            yield _component(one, registry, ())
        required = [one.path for one in inner]
        required += [f"{kind}.{name}" for kind, name in _referred(selection)]
        # an edge opens after everything it can reach, and so closes before it
        required += agents if selection.kind == "edge" else ()
        required += ("storage",) if selection.path == "consensus" else ()
        yield _component(selection, registry, tuple(dict.fromkeys(required)))


def _component(
    selection: Selection, registry: FactoryRegistry, requires: tuple[str, ...]
) -> Component:
    return Component(
        path=selection.path,
        kind=selection.kind,
        name=selection.name,
        factory=registry.factory(selection.kind, selection.type),
        selection=selection,
        requires=requires,
    )


def _inner(selection: Selection, registry: FactoryRegistry) -> Iterator[Selection]:
    """Selections written inside another's table, such as an agent's balancer."""
    for part in (selection.common, selection.config):
        if part is not None:
            yield from _selected(part, selection.path, registry, selection.where)


def _selected(
    part: Any, path: str, registry: FactoryRegistry, where: Where | None = None
) -> Iterator[Selection]:
    """Selections that are fields of a settings object."""
    for field in attrs.fields(type(part)):
        value = getattr(part, field.name)
        kind = about(field).selects
        if isinstance(value, Selection):
            yield value
        elif kind is not None and isinstance(value, str):
            # settings made by hand keep the bare type that a TOML file would have had resolved
            yield _bare(kind, value, registry, f"{path}.{field.name}", where)


def _referred(selection: Selection) -> Iterator[tuple[str, str]]:
    """The (kind, name) of every component that a selection's settings refer to."""
    for part in (selection.common, selection.config):
        if part is not None:
            yield from references(part)


def _claimed_twice(components: Mapping[str, Component]) -> Iterator[Problem]:
    takers: dict[str, Component] = {}
    reserved: list[tuple[str, Component]] = []
    for one in components.values():
        if one.factory.reserved is None:
            continue
        try:
            reserved += ((what, one) for what in one.factory.reserved(one.selection.config))
        except Exception as error:
            yield _problem(one.selection, _fault("reserved", error))
    for one in components.values():
        if one.factory.claims is None:
            continue
        try:
            claims = tuple(one.factory.claims(one.selection.config))
        except Exception as error:  # the plugin's fault is told like any other problem
            yield _problem(one.selection, _fault("claims", error))
            continue
        workers = _most_workers(one.selection)
        if claims and workers > 1:
            yield _problem(
                one.selection,
                f"{claims[0]} would be claimed by each of its {workers} workers; set pool.max = 1, or, "
                "where the settings know {port}, let each have its own",
            )
        for claim in claims:
            first = takers.setdefault(claim, one)
            if first is not one:
                yield _problem(one.selection, f"{claim} is claimed here and by {first.path}")
            own = next((by for what, by in reserved if _covers(what, claim)), None)
            if own is not None:
                yield _problem(one.selection, f"{claim} is what {own.path} has itself")


def _covers(reserved: str, claim: str) -> bool:
    """Whether a claim is of what is reserved, segment by segment."""
    pairs = zip(reserved.split("/"), claim.split("/"), strict=False)
    return reserved.count("/") == claim.count("/") and all(
        mine in ("*", its) for mine, its in pairs
    )


def _most_workers(selection: Selection) -> int:
    """How many workers an agent's settings ask for; 0 if they leave that to its type."""
    if not isinstance(selection.common, AgentSettings):
        return 0
    pool = selection.common.pool
    return max(pool.min or 0, pool.max or 0)


def _exposed(components: Mapping[str, Component]) -> Iterator[Problem]:
    for one in components.values():
        if one.factory.exposed is None:
            continue
        try:
            host = one.factory.exposed(one.selection.config)
        except Exception as error:  # what cannot tell is not opened
            yield _problem(one.selection, _fault("exposed", error))
            continue
        guarded = isinstance(one.selection.common, EdgeSettings) and one.selection.common.auth
        if host is not None and not is_loopback(host) and not guarded:
            yield _problem(
                one.selection,
                f"listens on {host}, beyond this machine, without authentication, which is refused;"
                " say who may come in with auth = [...], or bind it to 127.0.0.1 (or [::1])",
            )


def _asks_nobody(components: Mapping[str, Component]) -> Iterator[Problem]:
    for one in components.values():
        settings = one.selection.common
        if one.factory.private and isinstance(settings, EdgeSettings) and settings.auth:
            yield _problem(
                one.selection,
                f"auth is for edges that strangers reach: the client of type {one.factory.type!r}"
                " started this node",
            )


def _fault(what: str, error: Exception) -> str:
    return f"the plugin's own {what!r} failed: {type(error).__name__}: {error}"


def _taken_names(config: FlowConfig) -> Iterator[Problem]:
    """Names of agents that are the node's own by what else the configuration says."""
    if MEMORY in config.agent and config.router is not None and config.router.memory.enabled:
        text = (
            "this name is the router's own (memory.put, memory.search, ...); take another,"
            " or set router.memory.enabled = false"
        )
        yield _problem(config.agent[MEMORY], text)


def _not_there(
    config: FlowConfig, chosen: Sequence[Selection], registry: FactoryRegistry
) -> Iterator[Problem]:
    """Names that settings speak of and nobody has."""
    there = {("agent", BUILTIN), *((one.kind, one.name) for one in chosen)}
    if config.router is not None:
        there |= {("router", "router"), ("agent", MEMORY)}
    if config.swarm is not None:
        there |= {("swarm", "swarm")}
    for one in chosen:
        mentions = registry.factory(one.kind, one.type).mentions
        if mentions is None:
            continue
        try:
            mentioned = dict.fromkeys(mentions(one.config))
        except Exception as error:
            yield _problem(one, _fault("mentions", error))
            continue
        for kind, name in mentioned:
            if (kind, name) in there:
                continue
            if kind in ("router", "swarm"):
                yield _problem(one, f"what it is to do needs a [{kind}], and there is none")
            else:
                known = [other.name for other in chosen if other.kind == kind]
                yield _problem(one, f"there is no {kind} {name!r}{known_words(name, known)}")


def _unused(chosen: Sequence[Selection], config: FlowConfig) -> Iterator[Problem]:
    """Tables that do nothing, since no other names them: whoever wrote one thinks that it protects."""
    named = {*references(config.requests), *(name for one in chosen for name in _referred(one))}
    for one in chosen:
        place = _NAMED_IN.get(one.kind)
        if place is not None and (one.kind, one.name) not in named:
            yield _problem(one, f"nothing uses it: name it in {place}")


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only. A name other than localhost is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _problem(selection: Selection, text: str) -> Problem:
    return Problem(where=selection.where, path=selection.path, message=text)
