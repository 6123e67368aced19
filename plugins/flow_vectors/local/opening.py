"""The indexes of one plugin, each in a folder of its own."""

from __future__ import annotations

import pathlib
import random
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from flow_vectors.checking import checked_name
from flow_vectors.local.files import sync_folder
from flow_vectors.local.graphs import GraphMaker
from flow_vectors.local.index import LocalIndex, open_local
from flow_vectors.local.options import Options
from flowcore.errors import RoutingError
from flowcore.routing import Space


class LocalIndexes:
    """`flowcore.routing.VectorIndexes`, in a folder."""

    def __init__(
        self,
        folder: pathlib.Path,
        maker: GraphMaker | None,
        options: Options,
        chance: random.Random,
    ) -> None:
        self._folder = folder
        self._maker = maker
        self._options = options
        self._chance = chance
        self._open: set[str] = set()

    @asynccontextmanager
    async def open_index(self, name: str, space: Space) -> AsyncGenerator[LocalIndex]:
        """Open the index of this name, as it was last saved."""
        self._closed(name)
        self._open.add(name)
        folder = self._folder / name
        try:
            async with open_local(folder, space, self._maker, self._options, self._chance) as one:
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
    if folder.exists():
        shutil.rmtree(folder)
        sync_folder(folder.parent)
