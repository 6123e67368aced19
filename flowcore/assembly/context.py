"""What a component is given when it opens."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Mapping
from typing import Any

from flowcore.access import Access, EdgeSettings
from flowcore.assembly.plan import Component
from flowcore.assembly.status import Status, StatusBoard
from flowcore.interfaces import Host
from flowcore.processes import Launcher, SharedLauncher


class OpenContext:
    """`flowcore.hookspecs.Context`, for one component."""

    def __init__(
        self,
        component: Component,
        host: Host,
        board: StatusBoard,
        handles: Mapping[str, Any],
        *,
        data_dir: pathlib.Path,
        config_dir: pathlib.Path,
        chance: random.Random,
        launcher: SharedLauncher,
        accesses: dict[str, Access],
    ) -> None:
        """`accesses` is where it is noted who may come in, by edge."""
        self._component = component
        self._board = board
        self._handles = handles
        self._data_dir = data_dir
        self._launcher = launcher
        self._accesses = accesses
        self.host = host
        self.config_dir = config_dir
        self.random = chance

    @property
    def name(self) -> str:
        return self._component.path

    @property
    def data_dir(self) -> pathlib.Path:
        folder = self._data_dir / self._component.path
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def launcher(self) -> Launcher:
        return await self._launcher.get()

    @property
    def access(self) -> Access:
        settings = self._component.selection.common
        if not isinstance(settings, EdgeSettings):
            settings = EdgeSettings()
        schemes = [self.component("auth", name) for name in settings.auth]
        access = Access(self._component.name, settings, schemes, self.host.emit, self.host.revoked)
        if schemes:
            self._accesses[self._component.name] = access
        return access

    def component(self, kind: str, name: str = "") -> Any:
        path = f"{kind}.{name}" if name else kind
        if path not in self._component.requires:
            raise LookupError(f"{self.name} does not refer to {path}, so it may not use it")
        return self._handles[path]

    def report(self, status: Status, reason: str = "") -> None:
        self._board.set(self.name, self._component.factory.type, status, reason)
