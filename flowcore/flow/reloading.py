"""Applying a reload to a node that runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs
import trio

from flowcore.agents import Agent
from flowcore.assembly import FlowConfig, Plan, Plugins, Source, make_plan, read, read_config
from flowcore.config import ConfigError
from flowcore.errors import AssemblyError
from flowcore.flow.reload import AgentChanges, Reloaded, Steps, placed, places, steps
from flowcore.requests import Requests
from flowcore.telemetry import Telemetry


class Running(Protocol):
    """A node, as it is changed."""

    config: FlowConfig
    plan: Plan
    plugins: Plugins
    agents: dict[str, Agent]
    requests: Requests
    telemetry: Telemetry
    changes: AgentChanges | None

    @property
    def closed(self) -> bool: ...
    def settle(self, config: FlowConfig) -> None: ...


class Reloading:
    """The reloads of one node, one after the other."""

    def __init__(self, flow: Running, given: Sequence[object]) -> None:
        """`given` are the plugins that the program brought along."""
        self._flow = flow
        self._given = tuple(given)
        self._turn = trio.Lock()

    async def reload(self, source: Source, overrides: Sequence[str]) -> Reloaded:
        """See `Flow.reload`."""
        flow = self._flow
        if flow.closed or flow.changes is None:
            raise AssemblyError("this flow is closed")
        async with self._turn:
            before = flow.config
            todo = steps(before, self._read_again(source, overrides))
            flow.settle(todo.config)
            flow.requests.retune(todo.config.requests)
            flow.telemetry.retune(todo.config.telemetry)
            for name in todo.retuned:
                flow.agents[name].retune(todo.config.agent[name].common)
            if any(path.startswith("swarm.topology") for path in todo.applied):
                await flow.changes.replace_topology()
            failed = await self._change_agents(flow.changes, todo)
            if failed:  # whose old versions go on
                agents = {**flow.config.agent, **{name: before.agent[name] for name in failed}}
                flow.settle(attrs.evolve(flow.config, agent=agents))
            return Reloaded(
                applied=tuple(one for one in todo.applied if one[6:] not in failed),
                restart=placed(todo.fixed, places(source, overrides)),
                failed=tuple(f"agent.{name}: {why}" for name, why in failed.items()),
            )

    def _read_again(self, source: Source, overrides: Sequence[str]) -> FlowConfig:
        """With the plugins that are loaded, where it asks for no others."""
        flow = self._flow
        if not isinstance(source, FlowConfig):
            try:
                again = read_config(source, flow.plugins, overrides)
            except ConfigError:
                # it may ask for other plugins: what is wrong in truth is told by reading it with them
                again = read(source, overrides, self._given).config
            if again.plugins == flow.config.plugins:
                make_plan(again, flow.plugins.registry)
                return again
        return read(source, overrides, self._given).config

    async def _change_agents(self, changes: AgentChanges, todo: Steps) -> dict[str, str]:
        """Start, replace and end agents, all at once; which could not be replaced, and why."""
        flow, failed = self._flow, dict[str, str]()
        seconds = flow.config.node.drain

        async def replace(name: str) -> None:
            why = await changes.replace_agent(flow.plan.find(f"agent.{name}"), seconds)
            if why is not None:
                failed[name] = why

        async with trio.open_nursery() as nursery:
            for name in todo.removed:
                nursery.start_soon(changes.remove_agent, flow.agents[name], seconds)
            for name in todo.replaced:
                nursery.start_soon(replace, name)
            for name in todo.added:
                nursery.start_soon(changes.add_agent, flow.plan.find(f"agent.{name}"))
        return failed
