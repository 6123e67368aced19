"""One node for a schema: two that change the same tables would each undo what the other has not saved.

A node holds an advisory lock for as long as it has a schema open, in a session of its own. PostgreSQL lets go
of it when the session ends, however that comes. For a node that has lost its session without noticing, there
is a number, greater with each owner, and no change is made under another's: a fencing token (Kleppmann 2016,
"How to do distributed locking").
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
from psycopg.sql import SQL, Identifier

from flow_vectors.pgvector.connection import Connection, Fenced
from flow_vectors.pgvector.settings import PgvectorConfig

_CLASS = 0x666C6F77
"""Of flowcore's advisory locks; the other half of a key is a hash of the schema."""


class Owner:
    """That a schema is this node's. Everything is called in threads."""

    def __init__(self, config: PgvectorConfig, connect: Callable[[], Connection]) -> None:
        self._config = config
        self._connect = connect
        self._session: Connection | None = None
        self._number = 0
        self._lock = threading.Lock()
        self._table = Identifier(config.schema, "owner")

    def take(self) -> None:
        """Have the lock, or say who has it. Raises DatabaseFailed."""
        session = self._connect()
        try:
            # a node that is gone without a word is noticed by the database, too
            session.execute("SET tcp_keepalives_idle = 10")
            session.execute("SET tcp_keepalives_interval = 5")
            session.execute("SET tcp_keepalives_count = 3")
            patience = str(int(self._config.connect_timeout * 1000))
            session.execute("SELECT set_config('lock_timeout', %s, false)", (patience,))
            try:
                session.execute(
                    "SELECT pg_advisory_lock(%s, hashtext(%s))", (_CLASS, self._config.schema)
                )
            except psycopg.errors.LockNotAvailable:
                raise Fenced(
                    f"the schema {self._config.schema!r} is in use by another node{self._whose(session)}:"
                    " each needs a database, or a `schema`, of its own"
                ) from None
        except BaseException:
            session.close()
            raise
        self._session = session

    def _whose(self, session: Connection) -> str:
        row = session.execute(
            "SELECT pid, coalesce(host(client_addr), 'a socket') FROM pg_locks JOIN pg_stat_activity"
            " USING (pid) WHERE locktype = 'advisory' AND classid = %s::bigint::oid AND granted AND objid ="
            " (hashtext(%s)::bigint & 4294967295)::oid",
            (_CLASS, self._config.schema),
        ).fetchone()
        return "" if row is None else f" (process {row[0]} of the database, from {row[1]})"

    def begin(self, connection: Connection) -> None:
        """Be the owner from now on: whoever was it before makes no more changes. The schema is there."""
        connection.execute(
            SQL(
                "CREATE TABLE IF NOT EXISTS {} (one boolean PRIMARY KEY DEFAULT true CHECK (one),"
                " number bigint NOT NULL)"
            ).format(self._table)
        )
        row = connection.execute(
            SQL(
                "INSERT INTO {} AS owner (number) VALUES (1)"
                " ON CONFLICT (one) DO UPDATE SET number = owner.number + 1 RETURNING number"
            ).format(self._table)
        ).fetchone()
        assert row is not None
        self._number = int(row[0])

    def check(self, connection: Connection) -> None:
        """See that the schema is still ours, until the transaction at hand ends. Raises DatabaseFailed."""
        row = connection.execute(
            SQL("SELECT number FROM {} FOR SHARE").format(self._table)
        ).fetchone()
        if row is None or int(row[0]) != self._number:
            raise Fenced(
                f"the schema {self._config.schema!r} was taken by another node: nothing is changed in it"
            )

    def renew(self) -> None:
        """Have the lock again if the session that held it is gone. Raises DatabaseFailed."""
        with self._lock:
            session = self._session
            if session is None:
                return
            try:
                session.execute("SELECT")
            except psycopg.Error:
                session.close()
                self.take()

    def close(self) -> None:
        """Let go."""
        if self._session is not None:
            self._session.close()
            self._session = None
