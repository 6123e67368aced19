"""What goes on behind an index: its front becomes segments, segments are merged, graphs are built.

Each step works on a snapshot, in a thread. Then, with the lock that changes take, what was removed meanwhile
is marked as dead in what was made, and that takes the place of what it was made of.
"""

from __future__ import annotations

import math
import pathlib
import secrets
from typing import Any, Protocol

import numpy as np
import trio

from flow_vectors.local import graphs
from flow_vectors.local.options import Options
from flow_vectors.local.policy import Plan
from flow_vectors.local.rows import (
    ALIVE,
    Front,
    Part,
    Segment,
    Snapshot,
    alive_at,
    read_rows,
    whole_at,
    write_rows,
)
from flowcore.errors import DamagedState
from flowcore.routing import Space, Troubles

_SEALING = "the front cannot be written away"
_MERGING = "segments cannot be merged"
_AGAIN = 5.0
"""Seconds after which a step that failed is tried again."""
_PLENTY = 131_072
"""Rows without a graph that get one even while vectors come in bulk."""
_SPARED = 10
"""After a merge, so many times what it took pass before graphs are merged only to have fewer of them."""


class GivenUp(Exception):
    """The index is closed or cleared: what was being made is not needed."""


class Tended(Protocol):
    """What of an index is worked on."""

    folder: pathlib.Path
    troubles: Troubles
    space: Space
    maker: graphs.GraphMaker | None
    options: Options
    changing: trio.Lock
    front: Front
    segments: tuple[Segment, ...]
    version: int
    now: Snapshot
    quiet_at: float

    def planned(self) -> Plan | None:
        """What is to be merged or built next."""
        ...

    def in_one(self) -> Plan | None:
        """What is to be merged so that a search has fewer graphs to look at."""
        ...

    def publish(self) -> None:
        """Let searches see what there is now."""
        ...

    async def swap(self, front: Front | None, segments: tuple[Segment, ...]) -> None:
        """Let others take the place of what there was, with the lock held; the content is the same."""
        ...


class Tending:
    """The work in the background of one index."""

    def __init__(self, index: Tended) -> None:
        self._index = index
        self._looked = trio.Event()
        self._life = 0
        self._idle = [False, False]
        """The sealing task, the building task."""
        self._spared_until = 0.0
        self._awaited = 0
        """How many wait until there is nothing to do."""
        self._building: dict[str, Any] | None = None
        self._failed = ""
        self.names: set[str] = set()
        """Of segments that are being made: their files are nobody's rubbish."""
        self.memory = 0
        """Bytes of what is being built, as far as it is known."""
        self.sealed = 0
        self.merged = 0
        self.built = 0
        self.added = 0
        """Rows that were added to graphs."""

    def status(self) -> dict[str, Any]:
        """What is being built now, and what was."""
        return {
            "building": self._building and dict(self._building),
            "failed": self._failed,
            "sealed": self.sealed,
            "merged": self.merged,
            "built": self.built,
            "added": self.added,
        }

    def look(self) -> None:
        """Something has changed: there may be work."""
        self._idle = [False, False]
        self._looked.set()
        self._looked = trio.Event()

    def give_up(self) -> None:
        """Stop what is being made."""
        self._life += 1
        self._failed = ""
        for what in (_SEALING, _MERGING):
            self._index.troubles.clear(self._about(what))

    async def settled(self) -> None:
        """Wait until there is nothing to do, which is not put off then. Does not return while what fails is
        tried again."""
        self._awaited += 1
        try:
            self.look()
            while not all(self._idle):
                await self._next()
        finally:
            self._awaited -= 1
        await trio.lowlevel.checkpoint()

    async def room(self) -> None:
        """Wait while the front is twice as large as it should be, unless it cannot be written away."""
        while self._index.front.count > 2 * self._index.options.spill and not self._failed:
            await self._next()

    async def _next(self) -> None:
        await self._looked.wait()

    def _wake(self) -> None:
        """Tell those who wait that something is done."""
        self._looked.set()
        self._looked = trio.Event()

    # ---- the front becomes a segment

    async def seal(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write the front away whenever it has grown; runs for as long as the index is open."""
        task_status.started()
        while True:
            options = self._index.options
            bulk = trio.current_time() < self._index.quiet_at
            if self._index.front.count >= (options.spill if bulk else options.front):
                await self._step(self._seal, _SEALING)
            elif bulk:
                with trio.move_on_at(self._index.quiet_at):
                    await self._next()
            else:
                await self._rest(0)

    async def _seal(self) -> None:
        index, life = self._index, self._life
        before, held = index.front, [index.now]
        made = await self._made([_alive(held[0])])
        try:
            async with index.changing:
                if life == self._life:
                    # a front that grew meanwhile is some 30 MB, and whoever adds waits for the lock
                    left = await trio.to_thread.run_sync(_sealed, index.front, made, held[0])
                    segments = index.segments if made is None else (*index.segments, made)
                    await index.swap(left, segments)
                    self.sealed += 1
        finally:
            self._finished(made)
        await trio.to_thread.run_sync(_let_go, held, None if before is index.front else before)

    # ---- segments become one

    async def build(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Merge segments and build graphs as the policy says; runs for as long as the index is open."""
        task_status.started()
        while True:
            began = trio.current_time()
            if began < self._index.quiet_at and not self._plenty():
                with trio.move_on_at(self._index.quiet_at):
                    await self._next()
                continue
            planned = self._index.planned()
            if planned is None and (self._awaited or began >= self._spared_until):
                planned = self._index.in_one()
            if planned is None or (
                self._index.front.count >= self._index.options.front
                and began >= self._index.quiet_at
            ):
                await self._rest(1, self._spared_until)
                continue
            try:
                await self._step(self._carry_out, _MERGING, planned)
            finally:
                self._building = None
            # what it was made of is let go of in a thread: to unmap a hundred megabytes takes 10 ms
            over, planned = [planned], None
            await trio.to_thread.run_sync(over.clear)
            ended = trio.current_time()
            self._spared_until = ended + _SPARED * (ended - began)

    def _plenty(self) -> bool:
        """Whether so much waits for a graph that it is not waited for the rest."""
        segments = self._index.segments
        return sum(one.alive for one in segments if one.graph is None) >= _PLENTY

    async def _carry_out(self, planned: Plan) -> None:
        one = planned.inputs[0]
        if len(planned.inputs) == 1 and not one.dead:
            await self._grow(one)
            return
        index, life = self._index, self._life
        version = index.now.version
        parts = await trio.to_thread.run_sync(_parts, planned, version)
        self._begin("merging", sum(len(one.ids) for one in parts))
        first = 0 if planned.base is None else len(planned.base.ids)
        made = await self._made(parts, first)
        try:
            if made is not None and planned.graph and not planned.at_once:
                made.graph = await self._graph(made, planned.base)
            async with index.changing:
                if life == self._life:
                    left = tuple(one for one in index.segments if one not in planned.inputs)
                    if made is not None:
                        await trio.to_thread.run_sync(_buried, made, planned, version)
                        left = (*left, made)
                    await index.swap(None, left)
                    self.merged += 1
        finally:
            self._finished(made)
        await trio.to_thread.run_sync(parts.clear)

    async def _grow(self, segment: Segment) -> None:
        """Build the graph of a segment that is in use."""
        self.names.add(segment.name)
        try:
            graph = await self._graph(segment)
            segment.graph = graph
            self._index.publish()
        finally:
            self.names.discard(segment.name)

    async def _graph(self, segment: Segment, base: Segment | None = None) -> graphs.Graph:
        maker = self._index.maker
        assert maker is not None
        self._begin("building the graph", len(segment.ids))
        graph = await trio.to_thread.run_sync(
            graphs.build,
            maker,
            self._index.folder,
            segment.name,
            segment.rows,
            self._index.space.metric,
            self._progress(),
            None if base is None else base.name,
            abandon_on_cancel=True,  # some libraries cannot be interrupted; it writes to files of its own
        )
        self.built += 1
        self.added += int(graph.told.get("added", len(segment.ids)))
        return graph

    def _begin(self, what: str, rows: int) -> None:
        """Say what is being made."""
        self._building = {"rows": 0, "of": rows, "what": what}
        self._wake()

    async def _made(self, parts: list[Part], first: int = 0) -> Segment | None:
        """A new segment of those rows, the `first` of which keep their places; None if there are none."""
        parts = [one for one in parts if len(one.ids)]
        if not parts:
            return None
        index = self._index
        name = f"{index.version:x}-{secrets.token_hex(6)}"
        self.names.add(name)
        progress = self._progress()

        def write() -> Segment:
            write_rows(
                index.folder / f"{name}.rows",
                parts,
                index.space.identity.dimensions,
                progress,
                first,
            )
            return read_rows(index.folder, name)

        try:
            return await trio.to_thread.run_sync(write)
        except BaseException:
            self.names.discard(name)
            raise

    def _progress(self) -> graphs.Progress:
        life, building = self._life, self._building

        def progress(rows: int) -> None:
            if life != self._life:
                raise GivenUp
            if building is not None:
                building["rows"] = rows

        return progress

    def _finished(self, made: Segment | None) -> None:
        """A segment is in use, or not needed."""
        if made is None:
            return
        self.names.discard(made.name)
        if made not in self._index.segments:
            for path in self._index.folder.glob(f"{made.name}.*"):
                path.unlink(missing_ok=True)

    async def _step(self, work: Any, what: str, *arguments: Any) -> None:
        """Do a step; one that fails for want of disk, or so, is tried again later, and is in the status."""
        life = self._life
        try:
            await work(*arguments)
        except GivenUp:
            await trio.lowlevel.checkpoint()
        except (OSError, MemoryError, DamagedState) as error:
            if life != self._life:
                return  # the index was cleared meanwhile, and its files were removed under its hands
            self._failed = f"{what}: {error}"
            self._index.troubles.set(self._about(what), error)
            self._wake()
            await trio.sleep(_AGAIN)
        else:
            self._failed = ""
            self._index.troubles.clear(self._about(what))
        self._wake()

    def _about(self, what: str) -> str:
        return f"of the index {self._index.folder.name}, {what}"

    async def _rest(self, task: int, until: float = math.inf) -> None:
        """Wait for a change, or until there may be more to do."""
        self._idle[task] = True
        self._wake()
        if until <= trio.current_time():
            until = math.inf
        with trio.move_on_at(until):
            while self._idle[task]:
                await self._next()
        self._idle[task] = False


def _parts(planned: Plan, version: int) -> list[Part]:
    """What of a plan's inputs was alive at a version; first all of the one whose graph is gone on with."""
    base = planned.base
    others = [one for one in planned.inputs if one is not base]
    parts = [alive_at(one.ids, one.rows, one.died, version) for one in others]
    if base is None:
        return parts
    return [whole_at(base.ids, base.rows, base.died, version), *parts]


def _alive(now: Snapshot) -> Part:
    """What of the front was alive at a snapshot."""
    return alive_at(now.ids, now.rows, now.died, now.version)


def _let_go(held: list[Snapshot], front: Front | None) -> None:
    """Let go of a snapshot and of a front that is not needed any more, in a thread.

    Memory that is given back to the system, some 100 MB at once, takes it 10 ms, and so many entries of a
    front's places as long, for which the interpreter is given up in between.
    """
    held.clear()
    if front is not None:
        front.let_go()


def _sealed(front: Front, made: Segment | None, now: Snapshot) -> Front:
    """What is left of the front when what there was of it at a snapshot has become a segment."""
    count = len(now.ids)
    if made is not None:
        _bury(made, now.ids, front.died[:count], now.version)
    return front.without(count)


def _buried(made: Segment, planned: Plan, version: int) -> None:
    """Mark as dead in a new segment what has died in those that it was made of."""
    for one in planned.inputs:
        _bury(made, one.ids, one.died, version)


def _bury(made: Segment, ids: Any, died: Any, version: int) -> None:
    """Mark as dead what has died since the version at which a segment was made."""
    gone = np.flatnonzero((died > version) & (died != ALIVE))
    if len(gone):
        rows = made.rows_of(ids[gone])
        made.died[rows] = died[gone]
        made.dead += len(rows)
