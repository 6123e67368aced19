"""Vector indexes in PostgreSQL."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import trio

from flow_vectors.checking import Ids, Vectors, checked, checked_ids, checked_name, checked_query
from flow_vectors.measures import Measures, recall
from flow_vectors.nearest import Scores, Where, asked
from flow_vectors.pgvector.connection import Connection, DatabaseFailed
from flow_vectors.pgvector.pool import Pool
from flow_vectors.pgvector.settings import PgvectorConfig
from flow_vectors.pgvector.table import MOST_DIMENSIONS, Table, discard
from flowcore.errors import RoutingError
from flowcore.routing import Hits, Space
from flowcore.telemetry import Reading

NARROW = "exact search: the filter leaves few"
FEW = "exact search: the index gave too few"
TOO_WIDE = f"exact search: more than {MOST_DIMENSIONS} dimensions have no index"

_WIDEN = 4
_MOST = 1000
"""Candidates beyond which all that pass a filter are looked at: the most that `hnsw.ef_search` may be."""
_WAITING = 8


class PgvectorIndex:
    """`flowcore.routing.VectorIndex`, as a table. Changes are made one at a time."""

    memory = 0
    """The database's is its own."""

    def __init__(
        self,
        table: Table,
        pool: Pool,
        space: Space,
        count: int,
        chance: random.Random,
        share: float,
    ) -> None:
        self._table = table
        self._pool = pool
        self._space = space
        self._chance = chance
        self._share = share
        self._count = count
        self._sure = True
        """Whether the count is known: it is not after a change whose end was not heard of."""
        self._changing = trio.Lock()
        self._measures = Measures()
        self._disk = 0
        self._give, self._take = trio.open_memory_channel[
            tuple[Vectors, int, Where | None, Scores]
        ](_WAITING)

    @property
    def count(self) -> int:
        return self._count

    @property
    def position(self) -> int:
        return self._table.position

    async def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors, or put them in the place of others."""
        ids, vectors = await trio.to_thread.run_sync(checked, ids, vectors, self._space)
        if len(ids):
            await self._change(lambda connection: self._table.add(connection, ids, vectors), 1)

    async def remove(self, ids: Ids) -> int:
        """Remove vectors; how many of them were there."""
        ids = np.unique(checked_ids(ids))
        return await self._change(lambda connection: self._table.remove(connection, ids), -1)

    async def _change(self, work: Any, sign: int) -> int:
        async with self._changing:
            if not self._sure:
                self._count = await self._pool.run(self._table.count)
                self._sure = True
            try:
                number: int = await self._pool.run(work)
            except DatabaseFailed:
                self._sure = False
                raise
            self._count += sign * number
            return number

    async def search(self, vector: Vectors, k: int, where: Where | None = None) -> Hits:
        """The k nearest, as far as the database's index knows."""
        began = time.perf_counter()
        if k < 1:
            raise ValueError(f"k is {k!r}, at least 1 expected")
        query = checked_query(vector, self._space)
        work = partial(self._searched, query=query, k=k, where=where)
        ids, scores, fallbacks = await self._pool.run(work, again=True)
        seconds = time.perf_counter() - began
        self._measures.searched(seconds, seconds, fallbacks)
        if self._share and self._chance.random() < self._share:
            try:
                self._give.send_nowait((query, k, where, scores))
            except trio.WouldBlock:
                self._measures.lost += 1
        return Hits(ids, scores)

    def _searched(
        self, connection: Connection, query: Vectors, k: int, where: Where | None
    ) -> tuple[Ids, Scores, tuple[str, ...]]:
        if not self._table.indexed:
            return (*self._exactly(connection, query, k, where), (TOO_WIDE,))
        wanted = k if where is None else max(k * _WIDEN, 64)
        while wanted <= _MOST:
            ids, scores = self._table.near(connection, query, wanted)
            given = len(ids)
            if where is not None and given:
                passed = asked(ids, where)
                ids, scores = ids[passed], scores[passed]
            if len(ids) >= k:
                return ids[:k], scores[:k], ()
            if given < wanted:
                break  # it has no more to give
            wanted *= _WIDEN
        with connection.transaction():
            if where is None and k >= self._table.count(connection):
                fallbacks: tuple[str, ...] = ()  # all there are were asked for
            else:
                fallbacks = (NARROW if where is not None else FEW,)
            return (*self._exactly(connection, query, k, where), fallbacks)

    def _exactly(
        self, connection: Connection, query: Vectors, k: int, where: Where | None
    ) -> tuple[Ids, Scores]:
        """Of one moment: what passes the filter, and the nearest of that."""
        if where is None:
            return self._table.each(connection, query, k)
        with connection.transaction():
            ids = self._table.ids(connection)
            passed = ids[asked(ids, where)] if len(ids) else ids
            return self._table.each(connection, query, k, passed)

    async def save(self, position: int) -> None:
        """Make what there is what was saved. Raises DatabaseFailed, an OSError."""
        if position < 0:
            raise ValueError(f"position is {position!r}, at least 0 expected")

        def save(connection: Connection) -> None:
            self._table.save(connection, position)
            self._disk = self._table.disk(connection)

        async with self._changing:
            await self._pool.run(save)

    async def clear(self) -> None:
        """Forget everything, in the database, too."""
        async with self._changing:
            await self._pool.run(self._table.clear)
            self._count = 0
            self._sure = True

    async def settle(self) -> None:
        """Nothing is built in the background: the database puts each vector into its index at once."""
        await trio.lowlevel.checkpoint()

    async def sample(self) -> None:
        """Repeat some searches exactly, for as long as the index is open."""
        async for query, k, where, scores in self._take:

            def exactly(
                connection: Connection,
                query: Vectors = query,
                k: int = k,
                where: Where | None = where,
            ) -> Scores:
                return self._exactly(connection, query, k, where)[1]

            try:
                right = await self._pool.run(exactly, again=True)
            except DatabaseFailed:
                self._measures.lost += 1
                continue
            worst = float(right[-1]) if len(right) else 0.0
            self._measures.compared(recall(scores.tolist(), right, worst))

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        return self._measures.readings(self.status(), name)

    def status(self) -> dict[str, Any]:
        """What was measured; sizes in bytes as of the last save, times in seconds."""
        return {
            "count": self._count,
            "position": self.position,
            "memory": self.memory,
            "disk": self._disk,
            "building": None,
            "connections": self._pool.made,
            **self._measures.status(),
            "exact": not self._table.indexed,
        }


class PgvectorIndexes:
    """`flowcore.routing.VectorIndexes`, in a schema of a database."""

    def __init__(self, pool: Pool, config: PgvectorConfig, chance: random.Random) -> None:
        self._pool = pool
        self._config = config
        self._chance = chance
        self._open: set[str] = set()

    @asynccontextmanager
    async def open_index(self, name: str, space: Space) -> AsyncGenerator[PgvectorIndex]:
        """Open the index of this name, as it was last saved."""
        self._closed(name)
        self._open.add(name)
        try:
            table = Table(name, space, self._config, self._pool.owner)
            count = await self._pool.run(table.open)
            index = PgvectorIndex(
                table, self._pool, space, count, self._chance, self._config.sample
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(index.sample)
                yield index
                nursery.cancel_scope.cancel()
        finally:
            self._open.discard(name)

    async def discard(self, name: str) -> None:
        """Forget what is saved under a name."""
        self._closed(name)
        await self._pool.run(
            partial(discard, owner=self._pool.owner, schema=self._config.schema, name=name)
        )

    def _closed(self, name: str) -> None:
        if checked_name(name) in self._open:
            raise RoutingError(f"index {name!r} is open")
