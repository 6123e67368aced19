"""Keeping the shelves as the state is: every change of a pattern is taken in, in its order.

The state is the truth, a shelf a copy: what cannot be trusted on disk is filled anew from the state.
"""

from __future__ import annotations

import logging
import math
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio

from flowcore.errors import TooOld
from flowcore.routing.facts import Facts
from flowcore.routing.files import read_kept, save_often, write_kept
from flowcore.routing.shelf import Shelf
from flowcore.routing.troubles import Troubles

if TYPE_CHECKING:
    from flowcore.routing.interfaces import VectorIndex
    from flowcore.state import Changes, Pattern, State

logger = logging.getLogger(__name__)

ROUTES = "flow.routes"
"""The namespace of what requests were for which expert."""
_PAGE = 500


class Following:
    """The shelf of routes and the shelf of all other memory, as far as the state has been followed."""

    def __init__(
        self,
        state: State,
        shelves: Mapping[str, Shelf],
        embedder: str,
        folder: pathlib.Path | None,
        save: float,
        troubles: Troubles,
    ) -> None:
        """`shelves` has `routes` and `memory`; `embedder` is the identity whose vectors they take."""
        self._state = state
        self._shelves = shelves
        self._embedder = embedder
        self._folder = folder
        self._save = save
        self._troubles = troubles
        self._position = 0
        self._saved = 0
        self._moved = trio.Event()
        self._changing = trio.Lock()
        """Held while the shelves change, and while what is to be saved of them is copied."""
        self.foreign: dict[int, str] = {}
        """Patterns whose vectors another embedder made, by id: not found until they are embedded anew."""

    @property
    def position(self) -> int:
        """How far the state has been followed."""
        return self._position

    def shelf(self, namespace: str) -> Shelf:
        """Where the patterns of a namespace are."""
        return self._shelves["routes" if namespace == ROUTES else "memory"]

    async def wait_followed(self, position: int) -> None:
        """Wait until everything up to a position is taken in."""
        while self._position < position:
            await self._moved.wait()

    # ---- beginning

    async def begin(self) -> None:
        """Take up what was saved, and what has changed since; everything, where nothing can be trusted."""
        facts = await trio.to_thread.run_sync(self._kept)
        if facts is not None and facts["state"] == self._state.identity:
            # a crash between two files leaves one behind: to take in a change twice does no harm
            saved = [facts["position"], *(one.index.position for one in self._shelves.values())]
            self._position = min(saved) if max(saved) <= self._state.position else 0
        if self._position and facts is not None:
            for name, shelf in self._shelves.items():
                shelf.restore(facts[name])
            self.foreign = {int(id_): name for id_, name in facts["foreign"].items()}
            self._saved = self._position
        else:
            await self._anew()
        await self._follow()

    async def _anew(self) -> None:
        if self._position or any(one.index.count for one in self._shelves.values()):
            logger.warning("the vector indexes are made anew from the state")
        for shelf in self._shelves.values():
            await shelf.clear()
        self.foreign = {}
        self._position = self._saved = 0

    def _kept(self) -> dict[str, Any] | None:
        return None if self._folder is None else read_kept(self._folder / "facts")

    # ---- following

    async def run(self) -> None:
        """Follow the state, and save now and then, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                save_often, self.save, self._save, "the vector indexes", self._troubles
            )
            while True:
                await self._state.wait_applied(self._position)
                await self._follow()

    async def _follow(self) -> None:
        while True:
            try:
                changes = await self._state.pattern_changes(self._position, _PAGE)
            except TooOld:
                async with self._changing:
                    await self._anew()
                continue
            async with self._changing:
                await self._take(changes)
                self._position = changes.position
            self._moved.set()
            self._moved = trio.Event()
            if changes.complete:
                return

    async def _take(self, changes: Changes) -> None:
        of: dict[str, list[Pattern]] = {name: [] for name in self._shelves}
        strange: list[Pattern] = []
        for one in changes.changed:
            self.foreign.pop(one.id, None)
            if one.vector and one.embedder != self._embedder:
                self.foreign[one.id] = one.embedder
                strange.append(one)
            else:
                of["routes" if one.namespace == ROUTES else "memory"].append(one)
        for name, shelf in self._shelves.items():
            if of[name]:
                await shelf.put(of[name])
            gone = [*changes.removed, *(one.id for one in strange)]
            for id_ in changes.removed:
                self.foreign.pop(id_, None)
            if gone:
                await shelf.remove(gone)
        for one in strange:
            self.shelf(one.namespace).note([Facts.of(one)])

    # ---- saving

    async def save(self) -> bool:
        """Keep everything on disk, where it has changed. Raises OSError; what was kept before stays."""
        if self._folder is None or self._position == self._saved:
            return True
        async with self._changing:
            position = self._position
            facts = await trio.to_thread.run_sync(self._facts)
        for shelf in self._shelves.values():
            await shelf.index.save(position)
        await trio.to_thread.run_sync(write_kept, self._folder / "facts", facts)
        self._saved = position
        return True

    def _facts(self) -> dict[str, Any]:
        """What is known of patterns, copied, in a thread: there may be a million of them."""
        return {
            "state": self._state.identity,
            "position": self._position,
            "foreign": {str(id_): name for id_, name in self.foreign.items()},
            **{name: shelf.kept() for name, shelf in self._shelves.items()},
        }

    def indexes(self) -> dict[str, VectorIndex]:
        """The vector indexes, by their names."""
        return {name: shelf.index for name, shelf in self._shelves.items()}

    def status(self) -> dict[str, Any]:
        """How far it is, and what is found where."""
        behind = max(self._state.position - self._position, 0)
        return {
            "position": self._position,
            "behind": behind if math.isfinite(behind) else None,
            "saved": self._saved,
            "foreign": len(self.foreign),
            "indexes": {
                name: {**shelf.index.status(), "facts_memory": shelf.memory - shelf.index.memory}
                for name, shelf in self._shelves.items()
            },
        }
