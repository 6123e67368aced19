"""One index as a table: what SQL says it.

A row is of the generation in which it was `born`, and perhaps of one in which it `died`. Saving makes the
generation at work the saved one; what is of a later one is undone when the index is opened. So the table may
be changed at once, and yet be what was saved after a crash.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, LiteralString

import numpy as np
import psycopg
from psycopg.sql import SQL, Composable, Identifier
from psycopg.types.json import Jsonb

from flow_vectors.checking import Ids, Vectors
from flow_vectors.local.state import check_space, told
from flow_vectors.nearest import Scores
from flow_vectors.pgvector.connection import Connection
from flow_vectors.pgvector.owner import Owner
from flow_vectors.pgvector.settings import PgvectorConfig
from flowcore.routing import Metric, Space

_OPERATORS: dict[Metric, tuple[LiteralString, LiteralString]] = {
    "cosine": ("<=>", "vector_cosine_ops"),
    "inner_product": ("<#>", "vector_ip_ops"),
    "euclidean": ("<->", "vector_l2_ops"),
}
MOST_DIMENSIONS = 2000
"""Those that pgvector's HNSW takes of type `vector`."""
_BATCH = 500
Answer = tuple[Ids, Scores]


class Table:
    """The statements for one index; each method takes a connection, and is called in a thread."""

    def __init__(self, name: str, space: Space, config: PgvectorConfig, owner: Owner) -> None:
        self._name = name
        self._space = space
        self._config = config
        self._owner = owner
        self._indexes = Identifier(config.schema, "indexes")
        self._operator, self._class = _OPERATORS[space.metric]
        self._table = Identifier("")
        self.position = 0
        self.generation = 0
        """The saved one; changes are of the next."""

    @property
    def indexed(self) -> bool:
        """Whether there is an HNSW index."""
        return self._space.identity.dimensions <= MOST_DIMENSIONS

    def _do(
        self,
        connection: Connection,
        statement: LiteralString,
        values: Any = None,
        **more: Composable | int,
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Say a statement of this index, with its names put in; `values` are bound by the server."""
        said = SQL(statement).format(
            table=self._table, indexes=self._indexes, near=SQL(self._operator), **more
        )
        return connection.execute(said, values)

    @contextmanager
    def _changing(self, connection: Connection) -> Generator[None]:
        """A transaction in which the schema is this node's. Raises DatabaseFailed."""
        with connection.transaction():
            self._owner.check(connection)
            yield

    def open(self, connection: Connection) -> int:
        """Make the table, or undo in it what was not saved; how many vectors it holds. Raises OtherSpace."""
        with self._changing(connection):
            self._do(
                connection,
                "INSERT INTO {indexes} (name, space, position, generation) VALUES (%s, %s, 0, 0)"
                " ON CONFLICT (name) DO NOTHING",
                (self._name, Jsonb(told(self._space))),
            )
            row = self._do(
                connection,
                "SELECT number, space, position, generation FROM {indexes} WHERE name = %s",
                (self._name,),
            ).fetchone()
            assert row is not None
            check_space(self._name, row[1], self._space)
            name = f"vectors_{row[0]:d}"
            self._table = Identifier(self._config.schema, name)
            self.position, self.generation = int(row[2]), int(row[3])
            self._make(connection, name)
            saved = self.generation
            self._do(
                connection, "DELETE FROM {table} WHERE born > %s OR died <= %s", (saved, saved)
            )
            self._do(connection, "UPDATE {table} SET died = NULL WHERE died > %s", (saved,))
            return self.count(connection)

    def _make(self, connection: Connection, name: str) -> None:
        self._do(
            connection,
            "CREATE TABLE IF NOT EXISTS {table} (id bigint NOT NULL, born bigint NOT NULL, died bigint,"
            " vector vector({dimensions}) NOT NULL)",
            dimensions=self._space.identity.dimensions,
        )
        self._do(
            connection,
            "CREATE UNIQUE INDEX IF NOT EXISTS {name} ON {table} (id) WHERE died IS NULL",
            name=Identifier(f"{name}_id"),
        )
        if self.indexed:
            self._do(
                connection,
                "CREATE INDEX IF NOT EXISTS {name} ON {table} USING hnsw (vector {operators})"
                " WITH (m = {m}, ef_construction = {ef}) WHERE died IS NULL",
                name=Identifier(f"{name}_hnsw"),
                operators=SQL(self._class),
                m=self._config.connectivity,
                ef=max(self._config.ef_construction, 2 * self._config.connectivity),
            )

    def count(self, connection: Connection) -> int:
        """How many vectors are alive."""
        return self._number(connection, "SELECT count(*) FROM {table} WHERE died IS NULL", ())

    def disk(self, connection: Connection) -> int:
        """Bytes of the table and its indexes."""
        table = (self._table.as_string(connection),)
        return self._number(connection, "SELECT pg_total_relation_size(%s::regclass)", table)

    def _number(self, connection: Connection, statement: LiteralString, values: Any) -> int:
        row = self._do(connection, statement, values).fetchone()
        assert row is not None
        return int(row[0])

    def add(self, connection: Connection, ids: Ids, vectors: Vectors) -> int:
        """Add vectors in one transaction; by how many the count grows."""
        grown = 0
        with self._changing(connection):
            for start in range(0, len(ids), _BATCH):
                some = ids[start : start + _BATCH].tolist()
                texts = [_text(one) for one in vectors[start : start + _BATCH]]
                grown += len(some) - self._kill(connection, some)
                self._do(
                    connection,
                    "INSERT INTO {table} (id, born, vector) SELECT id, %s, vector::vector"
                    " FROM unnest(%s::bigint[], %s::text[]) AS given(id, vector)",
                    (self.generation + 1, some, texts),
                )
        return grown

    def remove(self, connection: Connection, ids: Ids) -> int:
        """Remove vectors; how many were there."""
        with self._changing(connection):
            return self._kill(connection, ids.tolist())

    def _kill(self, connection: Connection, ids: list[int]) -> int:
        """What was born since the last save goes, what is older is marked."""
        saved = self.generation
        young = self._do(
            connection,
            "DELETE FROM {table} WHERE id = ANY(%s) AND died IS NULL AND born > %s",
            (ids, saved),
        )
        old = self._do(
            connection,
            "UPDATE {table} SET died = %s WHERE id = ANY(%s) AND died IS NULL",
            (saved + 1, ids),
        )
        return int(young.rowcount + old.rowcount)

    def save(self, connection: Connection, position: int) -> None:
        """Make what there is what was saved."""
        now = self.generation + 1
        with self._changing(connection):
            self._do(
                connection,
                "UPDATE {indexes} SET position = %s, generation = %s WHERE name = %s",
                (position, now, self._name),
            )
            self._do(connection, "DELETE FROM {table} WHERE died <= %s", (now,))
        self.generation, self.position = now, position

    def clear(self, connection: Connection) -> None:
        """Nothing is there, and that is saved."""
        with self._changing(connection):
            self._do(connection, "DELETE FROM {table}")
            self._do(connection, "UPDATE {indexes} SET position = 0 WHERE name = %s", (self._name,))
        self.position = 0

    def near(self, connection: Connection, query: Vectors, k: int) -> Answer:
        """The k nearest, as far as the HNSW index knows."""
        statement: LiteralString = (
            "SELECT id, vector {near} %s::vector AS apart FROM {table} WHERE died IS NULL"
            " ORDER BY apart LIMIT %s"
        )
        values = (_text(query), k)
        if k <= self._config.ef_search:
            return self._answer(self._do(connection, statement, values).fetchall())
        with connection.transaction():
            self._do(connection, "SET LOCAL hnsw.ef_search = {ef}", ef=min(k, 1000))
            return self._answer(self._do(connection, statement, values).fetchall())

    def each(
        self, connection: Connection, query: Vectors, k: int, among: Ids | None = None
    ) -> Answer:
        """The k nearest of all, or of those ids: every vector is looked at.

        An order by a sum is none that an index could give.
        """
        rows = self._do(
            connection,
            "SELECT id, vector {near} %(query)s::vector AS apart FROM {table} WHERE died IS NULL"
            " AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))"
            " ORDER BY (vector {near} %(query)s::vector) + 0, id LIMIT %(k)s",
            {"query": _text(query), "k": k, "ids": None if among is None else among.tolist()},
        ).fetchall()
        return self._answer(rows)

    def ids(self, connection: Connection) -> Ids:
        """All that are alive."""
        rows = self._do(connection, "SELECT id FROM {table} WHERE died IS NULL").fetchall()
        return np.array([row[0] for row in rows], dtype=np.int64)

    def _answer(self, rows: Iterable[tuple[Any, ...]]) -> Answer:
        rows = sorted(rows, key=lambda row: (row[1], row[0]))
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        apart = np.array([row[1] for row in rows], dtype=np.float64)
        if self._space.metric == "cosine":
            scores = 1.0 - apart
        else:
            scores = -apart if self._space.metric == "inner_product" else -(apart**2)
        return ids, scores.astype(np.float32)


def discard(connection: Connection, owner: Owner, schema: str, name: str) -> None:
    """Remove an index, if there is one of the name."""
    with connection.transaction():
        owner.check(connection)
        row = connection.execute(
            SQL("DELETE FROM {} WHERE name = %s RETURNING number").format(
                Identifier(schema, "indexes")
            ),
            (name,),
        ).fetchone()
        if row is not None:
            table = Identifier(schema, f"vectors_{row[0]:d}")
            connection.execute(SQL("DROP TABLE IF EXISTS {}").format(table))


def _text(vector: Vectors) -> str:
    """As pgvector reads it; nine digits tell every float32."""
    return "[" + ",".join([f"{one:.9g}" for one in vector.tolist()]) + "]"
