"""Connections to PostgreSQL, as many as allowed; each statement runs in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import psycopg
import trio
from psycopg.sql import SQL, Identifier

from flow_vectors.pgvector.connection import Connection, DatabaseFailed
from flow_vectors.pgvector.owner import Owner
from flow_vectors.pgvector.settings import PgvectorConfig

_T = TypeVar("_T")


class Pool:
    """Keeps connections that are well, and makes new ones when they are needed."""

    def __init__(self, config: PgvectorConfig) -> None:
        self._config = config
        self._idle: deque[Connection] = deque()
        self._limiter = trio.CapacityLimiter(config.connections)
        self.iterative = False
        """Whether an index scan goes on when too few of its candidates count (pgvector 0.8)."""
        self.made = 0
        self.owner = Owner(config, self._new)

    async def run(self, work: Callable[[Connection], _T], *, again: bool = False) -> _T:
        """Do work with a connection, in a thread, to its end. Raises DatabaseFailed.

        With `again` it is done once more, over a new connection, if the one at hand turns out to be broken.
        """

        def done() -> _T:
            for old in (True, False) if again else (False,):
                connection = self._taken()
                try:
                    return work(connection)
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    if connection.closed:
                        self.close()  # those that are idle are as old
                    if not (old and connection.closed):
                        raise DatabaseFailed(_told(error)) from error
                except psycopg.Error as error:
                    raise DatabaseFailed(_told(error)) from error
                finally:
                    self._left(connection)
            raise AssertionError("not reached")

        return await trio.to_thread.run_sync(done, limiter=self._limiter)

    def _taken(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connected()

    def _connected(self) -> Connection:
        """A new connection for statements. Raises DatabaseFailed."""
        if self.made:
            self.owner.renew()  # where one has broken, that of the lock may have, too
        connection = self._new()
        if self.made:
            self.prepare(connection)
        self.made += 1
        return connection

    def _new(self) -> Connection:
        """A new connection. Raises DatabaseFailed, which does not show the DSN."""
        try:
            connection = psycopg.connect(
                self._config.dsn.reveal(),
                autocommit=True,
                connect_timeout=int(self._config.connect_timeout),
                keepalives_idle=30,
                application_name="flowcore",
            )
        except psycopg.Error as error:
            raise DatabaseFailed(f"no connection to the database: {_told(error)}") from error
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return connection

    def prepare(self, connection: Connection) -> None:
        """Set what searches go by; the extension is there by now."""
        connection.execute(SQL("SET hnsw.ef_search = {}").format(self._config.ef_search))
        if self.iterative:
            connection.execute("SET hnsw.iterative_scan = strict_order")

    def _left(self, connection: Connection) -> None:
        if connection.closed or connection.broken:
            connection.close()
        else:
            self._idle.append(connection)

    def end(self) -> None:
        """Let go of everything."""
        self.close()
        self.owner.close()

    def close(self) -> None:
        """Let go of connections that are idle."""
        while self._idle:
            self._idle.pop().close()


def _told(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


@asynccontextmanager
async def open_pool(config: PgvectorConfig) -> AsyncGenerator[Pool]:
    """The pool, after it has seen that the database has pgvector. Raises RoutingError."""
    pool = Pool(config)

    def begin(connection: Connection) -> None:
        pool.owner.take()
        version = _version(connection)
        if version is None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            version = _version(connection)
        assert version is not None
        pool.iterative = tuple(int(part) for part in version.split(".")[:2]) >= (0, 8)
        connection.execute("SELECT '[1]'::vector")  # loads it, and so its settings
        pool.prepare(connection)
        schema = Identifier(config.schema)
        connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
        pool.owner.begin(connection)
        connection.execute(
            SQL(
                "CREATE TABLE IF NOT EXISTS {} (number serial PRIMARY KEY, name text UNIQUE NOT NULL,"
                " space jsonb NOT NULL, position bigint NOT NULL, generation bigint NOT NULL)"
            ).format(Identifier(config.schema, "indexes"))
        )

    try:
        await pool.run(begin)
        yield pool
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(pool.end)


def _version(connection: Connection) -> str | None:
    row = connection.execute(
        "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    ).fetchone()
    return None if row is None else str(row[0])
