"""Where a component is opened to be looked at: a context as in a flow, in a flow of its own."""

from __future__ import annotations

import gc
import pathlib
import random
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import attrs

from flowcore.access import EdgeSettings
from flowcore.assembly import DEFAULTS, Component, FactoryRegistry, OpenContext, lacks
from flowcore.config import Document, Selection, structure
from flowcore.flow import Flow, open_flow
from flowcore.hookspecs import Factory
from flowcore.processes import open_shared_launcher
from flowcore.telemetry import ExporterSettings
from flowcore.testing.findings import Wrong
from flowcore.testing.trial import Trial

_COMMON: Mapping[str, type] = {"edge": EdgeSettings, "exporter": ExporterSettings}
NAME = "probe"
"""The name under which the component stands in configurations."""
REQUIRED: Mapping[str, tuple[str, ...]] = {"consensus": ("storage",)}
"""The kinds that a component of a kind stands on."""


@attrs.frozen(kw_only=True)
class Bench:
    """A component with what is needed to try it."""

    factory: Factory
    registry: FactoryRegistry
    """Everything that is installed, and the plugin."""
    plugin: object | None
    """The plugin, where it is not installed and must be given to a flow."""
    trial: Trial
    _folders: dict[str, int] = attrs.field(factory=dict, init=False)
    """The numbers of those that were opened, by their folders."""

    @property
    def path(self) -> str:
        return self.name if self.factory.kind in DEFAULTS else f"{self.factory.kind}.{NAME}"

    @property
    def name(self) -> str:
        return self.factory.kind if self.factory.kind in DEFAULTS else NAME

    def made(self, **more: Any) -> Any:
        """The settings of the trial with some others. Raises ConfigError."""
        return self.read({**self.trial.settings, **more})

    def _own(self, folder: pathlib.Path) -> Mapping[str, Any]:
        """What the one in this folder has of its own."""
        number = self._folders.setdefault(str(folder), len(self._folders))
        return {} if self.trial.own is None else self.trial.own(number)

    def read(self, table: dict[str, Any]) -> Any:
        """Settings from a table as in TOML. Raises ConfigError."""
        document = Document(tree=table, folder=self.trial.folder)
        return structure(document, self.factory.config, self.registry)

    def selection(self, config: Any, name: str = NAME) -> Selection:
        """The component as a configuration chooses it."""
        kind = self.factory.kind
        return Selection(
            kind=kind,
            type=self.factory.type,
            name=name,
            config=config,
            common=_COMMON[kind]() if kind in _COMMON else None,
            path=f"{kind}.{name}",
        )

    @asynccontextmanager
    async def opened(
        self, *, seed: int = 7, folder: pathlib.Path | None = None
    ) -> AsyncGenerator[Any]:
        """What its `open` yields, with the settings of the trial; in a flow that has nothing else.

        A `folder` is for what it keeps, and what it requires; unset, one that is gone afterwards.
        """
        async with AsyncExitStack() as stack:
            if folder is None:
                name = stack.enter_context(tempfile.TemporaryDirectory())
                folder = pathlib.Path(name)
            flow = await stack.enter_async_context(open_flow({}))
            launcher = await stack.enter_async_context(open_shared_launcher())
            handles: dict[str, Any] = {}

            def context(component: Component) -> OpenContext:
                return OpenContext(
                    component,
                    flow,
                    flow.board,
                    handles,
                    data_dir=folder,
                    config_dir=self.trial.folder,
                    chance=random.Random(seed),
                    launcher=launcher,
                    accesses={},
                )

            for kind in REQUIRED.get(self.factory.kind, ()):
                required = self._required(kind)
                opening = required.factory.open(required.selection.config, context(required))
                handles[kind] = await stack.enter_async_context(opening)
            component = Component(
                path=self.path,
                kind=self.factory.kind,
                name=self.name,
                factory=self.factory,
                selection=self.selection(self.made(**self._own(folder))),
                requires=tuple(handles),
            )
            opening = self.factory.open(component.selection.config, context(component))
            if not isinstance(opening, AbstractAsyncContextManager):
                raise Wrong(f"it gives {opening!r:.100}; is @asynccontextmanager missing?")
            async with opening as opened:
                yield opened

    def _required(self, kind: str) -> Component:
        """What the component stands on: the type that a flow takes where its configuration says nothing."""
        factory = self.registry.factory(kind, DEFAULTS[kind])
        return Component(
            path=kind,
            kind=kind,
            name=kind,
            factory=factory,
            selection=Selection(
                kind=kind, type=factory.type, name=kind, config=factory.config(), path=kind
            ),
            requires=(),
        )

    @asynccontextmanager
    async def flow(self, **more: Any) -> AsyncGenerator[Flow]:
        """A flow that has the component, configured as by TOML, and nothing else."""
        table = {"type": self.factory.type, **self.trial.settings, **more}
        with tempfile.TemporaryDirectory() as folder:
            kind = self.factory.kind
            chosen = table if kind in DEFAULTS else {NAME: table}
            config = {"node": {"data_dir": folder}, kind: chosen}
            given = () if self.plugin is None else (self.plugin,)
            async with open_flow(config, plugins=given) as flow:
                await flow.wait_settled()
                yield flow


async def has_what_its_kind_has(bench: Bench) -> None:
    """what `open` yields has every name of its kind's protocol"""
    async with bench.opened() as opened:
        lacking = lacks(bench.factory.kind, opened)
        if lacking:
            raise Wrong(f"{opened!r:.100} has no {', '.join(lacking)}")


async def leaves_nothing_open(bench: Bench) -> None:
    """it can be opened and closed again and again, and leaves no file, socket or pipe open"""
    counts = []
    for _ in range(3):  # what is opened once for all, with the first of them, is no leak
        async with bench.opened():
            pass
        gc.collect()
        counts.append(_descriptors())
    if counts[2] > counts[1]:
        raise Wrong(f"each time leaves {counts[2] - counts[1]} more descriptors open")


def _descriptors() -> int:
    folder = pathlib.Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


_ELSEWHERE = (
    "trio",
    "flowcore.flow",
    "flowcore.assembly",
    "flowcore.agents",
    "logging",
    "builtins",
)
_PLAIN = (dict, list, tuple, set, frozenset)


def held(thing: object) -> int:
    """How many objects a thing holds on to: what its attributes and containers lead to, but for the flow,
    tasks and code."""
    seen = {id(thing)}
    waiting = [thing]
    while waiting:
        for other in gc.get_referents(waiting.pop()):
            if id(other) not in seen:
                seen.add(id(other))
                if isinstance(other, _PLAIN) or not type(other).__module__.startswith(_ELSEWHERE):
                    waiting.append(other)
    return len(seen)
