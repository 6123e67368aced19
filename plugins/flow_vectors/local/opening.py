"""The indexes of one plugin, each in a folder of its own."""

from __future__ import annotations

import pathlib
import random
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from flow_vectors.checking import checked_name
from flow_vectors.local.files import sync_folder
from flow_vectors.local.graphs import GraphMaker
from flow_vectors.local.index import LocalIndex, open_local
from flow_vectors.local.options import Options
from flowcore.assembly import Status
from flowcore.errors import RoutingError
from flowcore.routing import Space, Troubles

_ATTEMPTS = 10
"""How often a folder is removed in which something is written meanwhile."""


class LocalIndexes:
    """`flowcore.routing.VectorIndexes`, in a folder."""

    def __init__(
        self,
        folder: pathlib.Path,
        maker: GraphMaker | None,
        options: Options,
        chance: random.Random,
        report: Callable[[Status, str], None],
    ) -> None:
        """`report` is told when something cannot be written, and when it can be again."""
        self._folder = folder
        self._maker = maker
        self._options = options
        self._chance = chance
        self._troubles = Troubles(lambda why: report(Status.DEGRADED if why else Status.OK, why))
        self._open: set[str] = set()

    @asynccontextmanager
    async def open_index(self, name: str, space: Space) -> AsyncGenerator[LocalIndex]:
        """Open the index of this name, as it was last saved."""
        self._closed(name)
        self._open.add(name)
        folder = self._folder / name
        try:
            async with open_local(
                folder, space, self._maker, self._options, self._chance, self._troubles
            ) as one:
                yield one
        finally:
            self._open.discard(name)

    async def discard(self, name: str) -> None:
        """Forget what is saved under a name."""
        self._closed(name)
        await trio.to_thread.run_sync(_removed, self._folder / name)

    def _closed(self, name: str) -> None:
        if checked_name(name) in self._open:
            raise RoutingError(f"index {name!r} is open")


def _removed(folder: pathlib.Path) -> None:
    """Remove a folder, though a graph that nobody waits for may still be written to a file in it."""
    for left in range(_ATTEMPTS, 0, -1):
        if not folder.exists():
            break
        try:
            shutil.rmtree(folder, onerror=_unless_gone)
        except OSError:
            if left == 1:
                raise
    if folder.parent.exists():
        sync_folder(folder.parent)


def _unless_gone(function: object, path: str, raised: tuple[type[BaseException], Any, Any]) -> None:
    """Whatever was to be removed, and is gone, is as it should be."""
    del function, path
    if not issubclass(raised[0], FileNotFoundError):
        raise raised[1]
