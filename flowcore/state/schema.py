"""The tables of the state, and its first row.

Every row carries the hash of its values (`flowcore.sqlite.row_hash`). What is in `local` is this node's own;
all else is the replicated state, the same on every node at the same position.
"""

from __future__ import annotations

from flowcore.sqlite import Format

PATTERN = (
    *("id", "namespace", "key", "digest", "expert", "reward", "weight", "time", "used", "expires"),
    *("scheme", "owner", "version", "size"),
)
"""Columns of `patterns`, but for the hash."""
CONTENT = ("id", "text", "value", "vector", "embedder")
FEEDBACK = (
    *("number", "position", "time", "request", "source", "text", "vector", "embedder", "expert"),
    *("reward", "propensity", "exclusive", "weight", "scheme", "owner"),
)
META = (
    *("only", "position", "time", "next_id", "patterns", "bytes", "namespaces"),
    *(
        "removed",
        "removed_to",
        "feedback",
        "feedback_to",
        "next_feedback",
        "sessions",
        "answers",
        "limits",
    ),
)
TASK = (
    *("number", "id", "scheme", "owner", "queue", "state", "holder", "fence", "until", "attempt"),
    *("attempts", "repeatable", "cancel", "submitted", "changed", "expires", "size"),
)
KEY = (
    *(
        "number",
        "scheme",
        "owner",
        "scope",
        "key",
        "fingerprint",
        "state",
        "holder",
        "fence",
        "until",
    ),
    *("outcome", "expires", "size"),
)
LEASE = ("name", "holder", "fence", "since", "until")
TABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "meta": (META, "only"),
    "namespaces": (("name", "patterns", "bytes"), "name"),
    "patterns": (PATTERN, "id"),
    "contents": (CONTENT, "id"),
    "removed": (("position", "id"), "position, id"),
    "feedback": (FEEDBACK, "number"),
    "sessions": (("id", "client", "used", "floor"), "id"),
    "answers": (("position", "session", "sequence", "result"), "position"),
    "tasks": (TASK, "number"),
    "task_contents": (("number", "payload", "progress", "result"), "number"),
    "keys": (KEY, "number"),
    "leases": (LEASE, "name"),
    "revocations": (("id", "since", "expires"), "id"),
    "usage": (("kind", "scheme", "owner", "count", "bytes"), "kind, scheme, owner"),
    "work_limits": (("only", "limits"), "only"),
}
"""The columns of each replicated table without its hash, and its key, which orders it."""
_FIXED = {
    "patterns": ("namespace", "key"),
    "tasks": ("id", "scheme", "owner", "queue"),
    "keys": ("scheme", "owner", "scope", "key"),
}
"""What of a row is as it was made, beside its key, and in an index."""

_WORK = (
    # a number is the position of what made the row: the queue's order, and never used again
    "CREATE TABLE tasks (number INTEGER PRIMARY KEY, id TEXT NOT NULL, scheme TEXT NOT NULL,"
    " owner TEXT NOT NULL, queue TEXT NOT NULL, state TEXT NOT NULL, holder TEXT NOT NULL,"
    " fence INTEGER NOT NULL, until REAL, attempt INTEGER NOT NULL, attempts INTEGER NOT NULL,"
    " repeatable INTEGER NOT NULL, cancel INTEGER NOT NULL, submitted REAL NOT NULL, changed REAL NOT NULL,"
    " expires REAL, size INTEGER NOT NULL, hash INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX tasks_id ON tasks (id)",
    "CREATE INDEX tasks_queue ON tasks (queue, number) WHERE state = 'queued'",
    "CREATE INDEX tasks_owner ON tasks (scheme, owner, number)",
    "CREATE INDEX tasks_holder ON tasks (holder, number) WHERE state = 'running'",
    "CREATE INDEX tasks_until ON tasks (until, number) WHERE until IS NOT NULL",
    "CREATE INDEX tasks_expires ON tasks (expires, number) WHERE expires IS NOT NULL",
    "CREATE TABLE task_contents (number INTEGER PRIMARY KEY, payload BLOB NOT NULL, progress BLOB NOT NULL,"
    " result BLOB NOT NULL, hash INTEGER NOT NULL)",
    "CREATE TABLE keys (number INTEGER PRIMARY KEY, scheme TEXT NOT NULL, owner TEXT NOT NULL,"
    " scope TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, state TEXT NOT NULL,"
    " holder TEXT NOT NULL, fence INTEGER NOT NULL, until REAL, outcome BLOB, expires REAL,"
    " size INTEGER NOT NULL, hash INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX keys_key ON keys (scheme, owner, scope, key)",
    "CREATE INDEX keys_holder ON keys (holder, number) WHERE state = 'running'",
    "CREATE INDEX keys_until ON keys (until, number) WHERE until IS NOT NULL",
    "CREATE INDEX keys_expires ON keys (expires, number) WHERE expires IS NOT NULL",
    "CREATE INDEX keys_settled ON keys (expires, number) WHERE state = 'settled'",
    "CREATE INDEX keys_owner ON keys (scheme, owner, expires, number) WHERE state = 'settled'",
    "CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, fence INTEGER NOT NULL,"
    " since REAL NOT NULL, until REAL NOT NULL, hash INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX leases_holder ON leases (holder, name)",
    "CREATE INDEX leases_until ON leases (until, name)",
    "CREATE TABLE revocations (id TEXT PRIMARY KEY, since REAL NOT NULL, expires REAL,"
    " hash INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX revocations_expires ON revocations (expires, id) WHERE expires IS NOT NULL",
    "CREATE TABLE usage (kind TEXT NOT NULL, scheme TEXT NOT NULL, owner TEXT NOT NULL,"
    " count INTEGER NOT NULL, bytes INTEGER NOT NULL, hash INTEGER NOT NULL,"
    " PRIMARY KEY (kind, scheme, owner)) WITHOUT ROWID",
    "CREATE TABLE work_limits (only INTEGER PRIMARY KEY, limits BLOB NOT NULL, hash INTEGER NOT NULL)",
)
"""What version 2 has and version 1 had not; a state without any of it has the same snapshot in both."""

STATE = Format(
    name="state",
    application_id=0x46535441,  # "FSTA"
    version=2,
    schema=(
        "CREATE TABLE meta (only INTEGER PRIMARY KEY, position INTEGER NOT NULL, time REAL NOT NULL,"
        " next_id INTEGER NOT NULL, patterns INTEGER NOT NULL, bytes INTEGER NOT NULL,"
        " namespaces INTEGER NOT NULL, removed INTEGER NOT NULL, removed_to INTEGER NOT NULL,"
        " feedback INTEGER NOT NULL, feedback_to INTEGER NOT NULL, next_feedback INTEGER NOT NULL,"
        " sessions INTEGER NOT NULL, answers INTEGER NOT NULL, limits BLOB NOT NULL, hash INTEGER NOT NULL)",
        "CREATE TABLE namespaces (name TEXT PRIMARY KEY, patterns INTEGER NOT NULL, bytes INTEGER NOT NULL,"
        " hash INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX namespaces_patterns ON namespaces (patterns)",
        # what is small and changes often apart from what is large: a touch rewrites no vector
        "CREATE TABLE patterns (id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, key TEXT NOT NULL,"
        " digest BLOB, expert TEXT NOT NULL, reward REAL NOT NULL, weight REAL NOT NULL, time REAL NOT NULL,"
        " used REAL NOT NULL, expires REAL, scheme TEXT NOT NULL, owner TEXT NOT NULL,"
        " version INTEGER NOT NULL, size INTEGER NOT NULL, hash INTEGER NOT NULL)",
        "CREATE UNIQUE INDEX patterns_key ON patterns (namespace, key)",
        "CREATE UNIQUE INDEX patterns_digest ON patterns (digest) WHERE digest IS NOT NULL",
        "CREATE INDEX patterns_expert ON patterns (namespace, expert, id)",
        "CREATE INDEX patterns_time ON patterns (namespace, time, id)",
        "CREATE INDEX patterns_used ON patterns (namespace, used, id)",
        "CREATE INDEX patterns_version ON patterns (version, id)",
        "CREATE INDEX patterns_expires ON patterns (expires, id) WHERE expires IS NOT NULL",
        "CREATE TABLE contents (id INTEGER PRIMARY KEY, text TEXT NOT NULL, value BLOB, vector BLOB NOT NULL,"
        " embedder TEXT NOT NULL, hash INTEGER NOT NULL)",
        "CREATE TABLE removed (position INTEGER NOT NULL, id INTEGER NOT NULL, hash INTEGER NOT NULL,"
        " PRIMARY KEY (position, id)) WITHOUT ROWID",
        "CREATE TABLE feedback (number INTEGER PRIMARY KEY, position INTEGER NOT NULL, time REAL NOT NULL,"
        " request TEXT NOT NULL, source TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL,"
        " embedder TEXT NOT NULL, expert TEXT NOT NULL, reward REAL NOT NULL, propensity REAL NOT NULL,"
        " exclusive INTEGER NOT NULL, weight REAL NOT NULL, scheme TEXT NOT NULL, owner TEXT NOT NULL,"
        " hash INTEGER NOT NULL)",
        "CREATE INDEX feedback_position ON feedback (position)",
        "CREATE INDEX feedback_request ON feedback (request) WHERE request <> ''",
        "CREATE TABLE sessions (id INTEGER PRIMARY KEY, client TEXT NOT NULL, used INTEGER NOT NULL,"
        " floor INTEGER NOT NULL, hash INTEGER NOT NULL)",
        "CREATE INDEX sessions_used ON sessions (used)",
        "CREATE TABLE answers (position INTEGER PRIMARY KEY, session INTEGER NOT NULL,"
        " sequence INTEGER NOT NULL, result BLOB NOT NULL, hash INTEGER NOT NULL)",
        "CREATE UNIQUE INDEX answers_sequence ON answers (session, sequence)",
        "CREATE TABLE local (name TEXT PRIMARY KEY, value TEXT NOT NULL, hash INTEGER NOT NULL)"
        " WITHOUT ROWID",
    ),
    added=(_WORK,),
)


def insert(table: str) -> str:
    """The statement that inserts one whole row, its hash last."""
    columns = len(TABLES[table][0]) + 1
    return f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})"  # noqa: S608 # nosec B608


def put(table: str) -> str:
    """The statement that inserts one whole row, its hash last, or gives the one of its key these values.

    What never changes is not written again, nor are the indexes that hold nothing else.
    """
    columns, key = TABLES[table]
    fixed = {*key.split(", "), *_FIXED.get(table, ())}
    changed = [name for name in (*columns, "hash") if name not in fixed]
    values = ", ".join(f"{name} = excluded.{name}" for name in changed)
    return f"{insert(table)} ON CONFLICT ({key}) DO UPDATE SET {values}"  # our own names # nosec B608


def select(table: str, where: str = "") -> str:
    """The statement that reads whole rows, the hash last, in their order."""
    columns, order = TABLES[table]
    return f"SELECT {', '.join(columns)}, hash FROM {table} {where} ORDER BY {order}"  # noqa: S608 # nosec B608
