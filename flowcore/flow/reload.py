"""Reloading: what of a changed configuration takes effect while the node runs, and what needs a restart.

What is reloadable is declared where the setting is written (`reloadable=True`). Agents come and go as
wholes: one whose changes are all reloadable is told its new settings; any other that changed is replaced,
the new one being up before the old one goes. The rest of the configuration stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import attrs

from flowcore.agents import Agent
from flowcore.assembly import Component, FlowConfig, Source
from flowcore.config import Selection, about, differences, load, references


@attrs.frozen(kw_only=True)
class Reloaded:
    """What came of a reload."""

    applied: tuple[str, ...] = ()
    """The settings that took effect, by their paths; an agent that came, went or was replaced by its own."""
    restart: tuple[str, ...] = ()
    """What has changed and needs a restart, each as `path (file:line)`."""
    failed: tuple[str, ...] = ()
    """Agents whose new version did not come up, and why: the old ones go on."""


@attrs.frozen(kw_only=True)
class Steps:
    """What a reload has to do."""

    config: FlowConfig
    """The old configuration with all of the new one that may be applied."""
    applied: tuple[str, ...]
    fixed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    replaced: tuple[str, ...]
    retuned: tuple[str, ...]
    """Agents that are told new settings."""


class AgentChanges(Protocol):
    """Who starts and stops agents while a flow runs."""

    async def add_agent(self, component: Component) -> None:
        """Start an agent; it fails alone."""
        ...

    async def replace_agent(self, component: Component, seconds: float) -> str | None:
        """Put a new agent in the place of one of the same name once it is up; let the old one's calls end
        within `seconds`. Gives why not, where the new one did not come up: then nothing has changed."""
        ...

    async def remove_agent(self, agent: Agent, seconds: float) -> None:
        """Let an agent's calls end within `seconds`, and forget it."""
        ...

    async def replace_topology(self) -> None:
        """Link the nodes as the flow's configuration says now. Raises StartFailed."""
        ...

    def settle_guards(self, name: str) -> None:
        """The guards of an agent's requests are those of the flow's configuration from now on."""
        ...


def steps(old: FlowConfig, new: FlowConfig) -> Steps:
    """What to do to get from one configuration to the other, as far as that is possible."""
    changed = list(differences(old, new))
    of_agents: dict[str, list[tuple[str, bool]]] = {}
    applied: list[str] = []
    fixed: list[str] = []
    for path, reloadable in changed:
        if path.startswith("agent."):
            of_agents.setdefault(path.split(".")[1], []).append((path, reloadable))
        else:
            (applied if reloadable else fixed).append(path)
    agents = dict(old.agent)
    done: dict[str, list[str]] = {"added": [], "removed": [], "replaced": [], "retuned": []}
    for name, paths in sorted(of_agents.items()):
        before, after = old.agent.get(name), new.agent.get(name)
        if after is None and not _single(before):
            done["removed"].append(name)
            applied.append(f"agent.{name}")
            del agents[name]
            continue
        if after is None:
            fixed += [path for path, _ in paths]
            continue
        if before is not None and all(reloadable for _, reloadable in paths):
            done["retuned"].append(name)
            applied += [path for path, _ in paths]
        elif (
            old.plugins != new.plugins
            or not all(_there(after, old, new))
            or _single(before)
            or _single(after)
        ):
            fixed += [path for path, _ in paths]
            continue
        else:
            done["added" if before is None else "replaced"].append(name)
            applied.append(f"agent.{name}")
        agents[name] = after
    config = attrs.evolve(_merged(old, new), agent=agents)
    return Steps(
        config=config,
        applied=tuple(applied),
        fixed=tuple(fixed),
        **{what: tuple(names) for what, names in done.items()},
    )


def _single(agent: Selection | None) -> bool:
    """Whether it is a singleton: two of it, one coming and one going, would be one too many; and the state,
    which it needs, comes and goes with a restart."""
    return agent is not None and bool(getattr(agent.common, "singleton", False))


def _there(agent: Selection, old: FlowConfig, new: FlowConfig) -> Iterator[bool]:
    """Whether each component that an agent refers to is open, and is the one that is meant."""
    for part in (agent.common, agent.config):
        for kind, name in references(part) if part is not None else ():
            opened = getattr(old, kind, {}).get(name)
            yield opened is not None and opened == getattr(new, kind, {}).get(name)


def _merged(old: Any, new: Any) -> Any:
    """The old settings with what is reloadable of the new ones."""
    changed = {}
    for field in attrs.fields(type(old)):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        if about(field).reloadable:
            changed[field.name] = after
        elif type(before) is type(after) and attrs.has(type(before)):
            changed[field.name] = _merged(before, after)
    return attrs.evolve(old, **changed)


Places = Callable[[tuple[str, ...]], str]


def places(source: Source, overrides: Sequence[str]) -> Places:
    """Where a setting stands in a configuration, as `file:line`; "" in one that was made by hand."""
    if isinstance(source, FlowConfig):
        return lambda path: ""
    document = load(source, overrides=overrides)
    return lambda path: str(document.where(path))


def placed(paths: tuple[str, ...], where: Places) -> tuple[str, ...]:
    """Paths with the places where they stand."""
    return tuple(
        f"{path} ({place})" if (place := where(tuple(path.split(".")))) else path for path in paths
    )
