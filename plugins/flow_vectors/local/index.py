"""A vector index in files of this node."""

from __future__ import annotations

import logging
import pathlib
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
import trio

from flow_vectors.checking import Ids, Vectors, checked, checked_ids, checked_query
from flow_vectors.local import files
from flow_vectors.local.files import sync_folder
from flow_vectors.local.graphs import GraphMaker
from flow_vectors.local.options import Options
from flow_vectors.local.policy import Plan, in_one, plan
from flow_vectors.local.residence import Residence, waits
from flow_vectors.local.rows import Front, Segment, Snapshot
from flow_vectors.local.searching import Found, Task, search
from flow_vectors.local.state import STATE, Loaded, load, on_disk, sweep, write_state
from flow_vectors.local.tending import Tending
from flow_vectors.measures import Measures
from flow_vectors.nearest import Where
from flow_vectors.sampling import Sampling
from flowcore.routing import Hits, Space, Troubles
from flowcore.telemetry import Reading

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_AT_ONCE = 600_000
"""Numbers that are looked at on the event loop: about a quarter of a millisecond."""
_SOON = 1e-3
"""Seconds: a search that usually takes less is done on the event loop, and costs no change of threads."""
_BULK = 500
"""So many vectors in `_QUIET` say that more are coming: what is built then waits until they are all there."""
_SAMPLES = 100
"""Searches that were done again exactly, by which it is told whether graphs look far enough."""
_QUIET = 0.5
"""Seconds; after so many without that many vectors building begins."""


class LocalIndex:
    """`flowcore.routing.VectorIndex`, with its files in a folder. Changes are made one at a time."""

    def __init__(
        self,
        folder: pathlib.Path,
        space: Space,
        maker: GraphMaker | None,
        options: Options,
        loaded: Loaded,
        chance: random.Random,
        limiter: trio.CapacityLimiter,
        troubles: Troubles,
    ) -> None:
        self.folder = folder
        self.troubles = troubles
        self.space = space
        self.maker = maker
        self.options = options
        self.changing = trio.Lock()
        self.front = loaded.front
        self.segments = loaded.segments
        self.version = 1
        self.position = loaded.position
        self.dirty = False
        """Whether there were changes since it was saved."""
        self.quiet_at = -1.0
        """When building may begin, if vectors come in bulk."""
        self._since = -_QUIET
        self._come = 0
        """When counting began of what comes in `_QUIET`, and how much has come."""
        self._opened = loaded.opened
        self._limiter = limiter
        self._measures = Measures()
        self._bytes_on_disk = 0
        self._dimensions = space.identity.dimensions
        self._residence = Residence()
        self._held = 0.0
        """Seconds that searches took on the event loop since they last gave others their turn."""
        self._kept = loaded.opened == "as saved"
        """Whether there is a state on disk that holds what there was at `position`."""
        self._least = 1 << 62 if maker is None else maker.least
        self._grows = maker is not None and maker.grows
        self._sampling = Sampling(self._measures, options.sample, chance, self._found)
        self._shares: list[float] = []
        """What searches found of the nearest that were done again exactly, of late."""
        self._candidates = 0
        """At how many all graphs look at least, as live searches have told."""
        self.now = self._snapshot()
        self.tending = Tending(self)

    @property
    def count(self) -> int:
        return len(self.front.places) + sum(one.alive for one in self.segments)

    @property
    def memory(self) -> int:
        return (
            self.front.bytes
            + sum(one.bytes for one in self.segments)
            + sum(one.graph.memory for one in self.segments if one.graph is not None)
            + self.tending.memory
        )

    async def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors, or put them in the place of others."""
        size = int(np.size(vectors))
        ids, vectors = await self._done(size * 4, checked, ids, vectors, self.space)
        if not len(ids):
            await trio.lowlevel.checkpoint()
            return
        given = [vectors]  # let go of where it is added, in a thread if it is much
        del vectors
        self._comes(len(ids))
        await self.tending.room()
        async with self.changing:
            grows = self.front.count + len(ids) > len(self.front.ids)
            copied = self.front.rows.size if grows else 0
            await self._done(size * 4 + copied, self._add, ids, given)
            held = [self.now]
            self._changed()
            if copied:  # what searches saw until now was another table
                await self._done(copied, held.clear)

    def _comes(self, count: int) -> None:
        """Tell from how fast vectors come whether they come in bulk."""
        now = trio.current_time()
        if now - self._since >= _QUIET:
            self._since, self._come = now, 0
        self._come += count
        if self._come >= _BULK:
            self.quiet_at = now + _QUIET

    def _add(self, ids: Ids, given: list[Vectors]) -> None:
        self.front.reserve(len(ids))  # if there is no memory for it, nothing has happened
        self._kill(ids)
        self.front.append(ids, given.pop())

    def _kill(self, ids: Ids) -> int:
        gone = self.front.kill(ids, self.version + 1)
        for one in self.segments:
            gone += one.kill(one.find(ids), self.version + 1)
        return gone

    async def remove(self, ids: Ids) -> int:
        """Remove vectors; how many of them were there."""
        ids = np.unique(checked_ids(ids))
        async with self.changing:
            gone = await self._done(len(ids) * 400, self._kill, ids)
            if gone:
                self._changed()
        return gone

    def _changed(self) -> None:
        """Make the next version what searches see."""
        self.version += 1
        self.dirty = True
        self.publish()

    def publish(self) -> None:
        """Let searches see what there is now."""
        self.now = self._snapshot()
        self.tending.look()

    def _snapshot(self) -> Snapshot:
        count = self.front.count
        graphs = tuple(one.graph for one in self.segments if one.graph is not None)
        for one in graphs:
            one.at_least(self._candidates)
        return Snapshot(
            self.version,
            self.front.ids[:count],
            self.front.rows[:count],
            self.front.died[:count],
            self.segments,
            graphs,
            count + sum(len(one.ids) for one in self.segments if one.graph is None),
            any(one.mapped for one in graphs),
            count == len(self.front.places),
        )

    async def search(self, vector: Vectors, k: int, where: Where | None = None) -> Hits:
        """The k nearest, by their own vectors' scores."""
        began = time.perf_counter()
        if k < 1:
            raise ValueError(f"k is {k!r}, at least 1 expected")
        query = checked_query(vector, self.space)
        task = Task(query, k, self.space.metric, where)
        now = self.now
        if where is None and self._soon(now):
            await trio.lowlevel.checkpoint_if_cancelled()
            before, started = waits() if now.mapped else 0, time.thread_time()
            found = search(now, task, self._least)
            inside = time.thread_time() - started
            if now.mapped:
                self._residence.searched(waits() - before)
            self._held += inside
            if self._held > _SOON:  # who searches again and again gives others their turn
                await trio.lowlevel.cancel_shielded_checkpoint()
                self._held = 0.0
        else:
            if query is vector:  # what happens to the caller's array meanwhile does not matter
                task.query = query.copy()
            found, inside, waited = await trio.to_thread.run_sync(
                _watched, partial(search, now, task, self._least), limiter=self._limiter
            )
            self._residence.searched(waited)
        self._measures.searched(time.perf_counter() - began, inside, found.fallbacks)
        if now.graphs:
            self._sampling.perhaps(now, task, found)
        return Hits(found.ids, found.scores)

    def _found(self, share: float) -> None:
        """A search has found that share of the nearest: where many find too little, graphs look further."""
        self._shares.append(share)
        if len(self._shares) < _SAMPLES:
            return
        found = fmean(self._shares)
        self._shares.clear()
        graphs = self.now.graphs
        if found >= self.options.recall or self.maker is None or not graphs:
            return
        before = max(int(one.told.get("candidates", 0)) for one in graphs)
        after = self.maker.further(before)
        if after > before:
            self._candidates = after
            for one in graphs:
                one.at_least(after)
            logger.info(
                "index %s: searches find %.3f of the nearest, less than %g: %d candidates are looked at from"
                " now on, not %d",
                *(self.folder.name, found, self.options.recall, after, before),
            )

    def _soon(self, now: Snapshot) -> bool:
        """Whether a search may be done on the event loop."""
        if now.each * self._dimensions > _AT_ONCE:
            return False
        if not now.graphs:
            return True
        if now.mapped and not self._residence.sure(trio.current_time()):
            return False
        if self._measures.usual >= _SOON:
            return False
        return all(not one.busy for one in now.graphs)

    async def save(self, position: int) -> None:
        """Keep everything, with this position."""
        if position < 0:
            raise ValueError(f"position is {position!r}, at least 0 expected")
        async with self.changing:
            await self._save(position)

    async def _save(self, position: int) -> None:
        """With the lock held."""
        about = f"the index {self.folder.name} cannot be saved"
        try:
            work = partial(_saved, self.folder, self.space, self.now, position, self._used)
            self._bytes_on_disk = await trio.to_thread.run_sync(work, limiter=self._limiter)
        except OSError as error:
            self.troubles.set(about, error)
            raise
        self.troubles.clear(about)
        self.position = position
        self.dirty = False
        self._kept = True

    def _used(self, name: str) -> bool:
        """Whether a segment is in use, or being made; asked from a thread. What is made becomes used before
        it stops being made, so it is looked for in that order."""
        return name in self.tending.names or any(one.name == name for one in self.segments)

    async def swap(self, front: Front | None, segments: tuple[Segment, ...]) -> None:
        """Let others take the place of what there was, with the lock held; the content is the same.

        If nothing had changed since the last save, that is brought up to date: no merge is done again.
        """
        if front is not None:
            self.front = front
        self.segments = segments
        self.publish()
        if self._kept and not self.dirty:
            await self._save(self.position)

    async def clear(self) -> None:
        """Forget everything, on disk too."""
        async with self.changing:
            self.tending.give_up()
            self._kept = False
            await trio.to_thread.run_sync(_unsaved, self.folder, limiter=self._limiter)
            self.tending.give_up()  # also what was begun meanwhile, with what is forgotten now
            self.front = Front.empty(self.space.identity.dimensions)
            self.segments = ()
            self.position = 0
            self._changed()
            self.dirty = False
            await trio.to_thread.run_sync(sweep, self.folder, self._used, limiter=self._limiter)
            self._opened = "cleared"
            self._bytes_on_disk = 0

    async def settle(self) -> None:
        """Wait until nothing is being built."""
        await self.tending.settled()

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        return self._measures.readings(self.status(), name)

    def status(self) -> dict[str, Any]:
        """What was measured; sizes in bytes, times in seconds."""
        return {
            "count": self.count,
            "position": self.position,
            "opened": self._opened,
            "memory": self.memory,
            "disk": self._bytes_on_disk,
            "front": len(self.front.places),
            "segments": [
                {
                    "rows": one.alive,
                    "removed": one.dead,
                    "graph": one.graph is not None,
                    **({} if one.graph is None else one.graph.told),
                }
                for one in self.segments
            ],
            **self.tending.status(),
            **self._measures.status(),
            "exact": self.maker is None,
        }

    def planned(self) -> Plan | None:
        """What is to be merged or built next."""
        return plan(self.segments, None if self.maker is None else self._least, self._grows)

    def in_one(self) -> Plan | None:
        """What is to be merged so that a search has fewer graphs to look at."""
        return None if self.maker is None else in_one(self.segments, self._grows)

    async def _done(self, numbers: int, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do work that looks at so many numbers, in a thread if that takes long; it is done to its end."""
        if numbers <= _AT_ONCE:
            return work(*arguments)
        return await trio.to_thread.run_sync(work, *arguments, limiter=self._limiter)


def _watched(work: Callable[[], Found]) -> tuple[Found, float, int]:
    """What was found, how many seconds of a processor it took, and for how many pages it waited.

    Where others keep all processors busy, waiting for one says nothing of the work: it is as long elsewhere.
    """
    before, began = waits(), time.thread_time()
    return work(), time.thread_time() - began, waits() - before


def _saved(
    folder: pathlib.Path, space: Space, now: Snapshot, position: int, used: Callable[[str], bool]
) -> int:
    write_state(folder, space, now, position)
    sweep(folder, used)
    return on_disk(folder)


def _unsaved(folder: pathlib.Path) -> None:
    (folder / STATE).unlink(missing_ok=True)
    sync_folder(folder)


@asynccontextmanager
async def open_local(
    folder: pathlib.Path,
    space: Space,
    maker: GraphMaker | None,
    options: Options,
    chance: random.Random,
    troubles: Troubles,
) -> AsyncGenerator[LocalIndex]:
    """Open an index in a folder of its own. What was not saved is not kept when the block is left."""
    limiter = trio.CapacityLimiter(4)
    loaded = await trio.to_thread.run_sync(_loaded, folder, space, maker, limiter=limiter)
    index = LocalIndex(folder, space, maker, options, loaded[0], chance, limiter, troubles)
    index._bytes_on_disk = loaded[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(index.tending.seal)
        await nursery.start(index.tending.build)
        nursery.start_soon(index._sampling.run)
        try:
            yield index
        finally:
            index.tending.give_up()
            nursery.cancel_scope.cancel()


def _loaded(folder: pathlib.Path, space: Space, maker: GraphMaker | None) -> tuple[Loaded, int]:
    files.private_folder(folder)
    loaded = load(folder, space, maker)
    return loaded, on_disk(folder)
