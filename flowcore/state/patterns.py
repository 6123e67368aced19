"""What commands do to patterns: put, merge, remove, touch, embed anew, and who has to go.

Everything is ordered by values of the state: time by its commands, ids by a counter, ties by id.
"""

from __future__ import annotations

import hashlib

import attrs
import msgspec

from flowcore.errors import QuotaExceeded, VersionConflict
from flowcore.state.commands import PutPattern, PutPatterns, Reembed, RemovePatterns, Touch
from flowcore.state.limits import ONCE, OVERHEAD
from flowcore.state.results import Reembedded, Removed, Stored, StoredPattern, Touched
from flowcore.state.tables import Row, Tables


@attrs.define
class _Pattern:
    """A row of `patterns`, and its row of `contents` where that is looked at."""

    id: int
    namespace: str
    key: str
    digest: bytes | None
    expert: str
    reward: float
    weight: float
    time: float
    used: float
    expires: float | None
    scheme: str
    owner: str
    version: int
    size: int = 0
    text: str = ""
    value: bytes | None = None
    vector: bytes = b""
    embedder: str = ""


def put_patterns(tables: Tables, command: PutPatterns) -> Stored:
    """Keep patterns; those that were not used for longest go, where there are too many."""
    made = tuple(_put(tables, one) for one in command.patterns)
    evicted = shrink(tables, {one.namespace for one in command.patterns}, len(made))
    return Stored(position=tables.meta.position, patterns=made, evicted=evicted)


def _put(tables: Tables, one: PutPattern) -> StoredPattern:
    meta = tables.meta
    digest = None if one.key is not None else _digest(one)
    found = _current(tables, one, digest)
    if one.if_version is not None:
        version = 0 if found is None else found.version
        if version != one.if_version:
            raise VersionConflict(
                f"the key {one.key!r:.100} of {one.namespace!r} is at version {version},"
                f" not at {one.if_version}",
                data={"version": version},
            )
    time = meta.time if one.time is None else one.time + 0.0
    made = _Pattern(
        id=meta.next_id,
        namespace=one.namespace,
        key=one.key or "",
        digest=digest,
        expert=one.expert,
        reward=one.reward + 0.0,
        weight=min(one.weight, meta.limits.weight) + 0.0,
        time=time,
        used=meta.time,
        expires=None if one.ttl is None else meta.time + one.ttl,
        scheme=one.owner[0],
        owner=one.owner[1],
        version=meta.position,
        text=one.text,
        value=one.value,
        vector=one.vector,
        embedder=one.embedder,
    )
    if found is None:
        if not made.key:
            while tables.get(
                "patterns", "WHERE namespace = ? AND key = ?", (made.namespace, str(made.id))
            ):
                made.id += 1  # somebody gave a pattern this number for a key
            made.key = str(made.id)
        meta.next_id = made.id + 1
    else:
        made.id, made.key = found.id, found.key
        if digest is not None:
            _merge(tables, made, found)
    made.size = _size(made)
    held = 0 if found is None else found.size
    _room(tables, made, held)
    tables.count(made.namespace, int(found is None), made.size - held)
    _write(tables, made)
    return StoredPattern(made.id, made.key, made.version, found is None)


def _digest(one: PutPattern) -> bytes:
    """What tells whether two patterns without a key are the same."""
    same = msgspec.msgpack.encode((one.namespace, one.expert, one.text, *one.owner))
    if not one.text:  # a value alone is the same only as an equal one
        same += one.value or b""
    return hashlib.blake2b(same, digest_size=16).digest()


def _current(tables: Tables, one: PutPattern, digest: bytes | None) -> _Pattern | None:
    """The pattern that this one takes the place of; what has expired is no more."""
    if digest is None:
        found = tables.get("patterns", "WHERE namespace = ? AND key = ?", (one.namespace, one.key))
    else:
        found = tables.get("patterns", "WHERE digest = ?", (digest,))
    if found is None:
        return None
    current = _Pattern(*found)
    if current.expires is not None and current.expires <= tables.meta.time:
        _remove(tables, current.id, current.namespace, current.size)
        return None
    return current


def _content(tables: Tables, id_: int) -> Row:
    """The row of `contents`, without the id."""
    row = tables.get("contents", "WHERE id = ?", (id_,))
    assert row is not None
    return row[1:]


def _merge(tables: Tables, made: _Pattern, found: _Pattern) -> None:
    """The same said again: it weighs more, and what it does not say anew stays."""
    both = found.weight + made.weight
    if both > 0:
        made.reward = (found.reward * found.weight + made.reward * made.weight) / both
    made.weight = min(both, tables.meta.limits.weight)
    made.time = max(found.time, made.time)
    if found.expires is None or (made.expires is not None and made.expires < found.expires):
        made.expires = found.expires
    _, value, vector, embedder = _content(tables, found.id)
    if made.value is None:
        made.value = value
    if not made.vector:
        made.vector, made.embedder = vector, embedder


def _size(one: _Pattern) -> int:
    texts = (one.namespace, one.key, one.expert, one.scheme, one.owner, one.text, one.embedder)
    return OVERHEAD + len("".join(texts).encode()) + len(one.value or b"") + len(one.vector)


def _room(tables: Tables, made: _Pattern, held: int) -> None:
    meta, limits = tables.meta, tables.meta.limits
    patterns, size = tables.space(made.namespace)
    more = made.size - held
    if more > 0 and size + more > limits.namespace_bytes:
        raise QuotaExceeded(
            f"the namespace {made.namespace!r} holds {size} of {limits.namespace_bytes} bytes:"
            f" {more} more do not fit",
        )
    if more > 0 and meta.bytes + more > limits.bytes:
        raise QuotaExceeded(
            f"all patterns hold {meta.bytes} of {limits.bytes} bytes: {more} more do not fit"
        )
    if not patterns and meta.namespaces >= limits.namespaces:
        raise QuotaExceeded(f"there are {meta.namespaces} namespaces, as many as there may be")


def _write(tables: Tables, one: _Pattern) -> None:
    tables.put(
        "patterns",
        (
            *(one.id, one.namespace, one.key, one.digest, one.expert, one.reward, one.weight),
            *(one.time, one.used, one.expires, one.scheme, one.owner, one.version, one.size),
        ),
    )
    tables.put("contents", (one.id, one.text, one.value, one.vector, one.embedder))


# ---- what goes


def remove_patterns(tables: Tables, command: RemovePatterns) -> Removed:
    """Remove patterns by id, and by key."""
    rows: dict[int, Row] = {}
    for id_ in command.ids:
        row = tables.get("patterns", "WHERE id = ?", (id_,))
        if row is not None and command.namespace in ("", row[1]):
            rows[row[0]] = row
    for key in command.keys:
        row = tables.get("patterns", "WHERE namespace = ? AND key = ?", (command.namespace, key))
        if row is not None:
            rows[row[0]] = row
    for row in rows.values():
        if command.if_version is not None and row[12] != command.if_version:
            raise VersionConflict(
                f"the key {row[2]!r:.100} of {row[1]!r} is at version {row[12]},"
                f" not at {command.if_version}",
                data={"version": row[12]},
            )
    for row in rows.values():
        _remove(tables, row[0], row[1], row[13])
    return Removed(position=tables.meta.position, ids=tuple(rows))


def expire(tables: Tables) -> None:
    """What has expired goes, so much at a time."""
    rows = tables.connection.execute(
        "SELECT id, namespace, size FROM patterns WHERE expires IS NOT NULL AND expires <= ?"
        " ORDER BY expires, id LIMIT ?",
        (tables.meta.time, ONCE),
    ).fetchall()
    for id_, namespace, size in rows:
        _remove(tables, id_, namespace, size)


def shrink(tables: Tables, namespaces: set[str] | None = None, more: int = 0) -> int:
    """Patterns beyond the limits go, those that were not used for longest; how many went.

    First of these namespaces by themselves, then of the largest. So much at a time, and `more`.
    """
    meta, limits = tables.meta, tables.meta.limits
    gone = 0
    for name in sorted(namespaces or ()):
        surplus = tables.space(name)[0] - limits.namespace_patterns
        if surplus > 0:
            gone += _evict(tables, name, min(surplus, more + ONCE - gone))
    while meta.patterns > limits.patterns and gone < more + ONCE:
        largest = tables.largest()
        assert largest is not None
        gone += _evict(tables, largest, 1)
    return gone


def _evict(tables: Tables, namespace: str, count: int) -> int:
    rows = tables.connection.execute(
        "SELECT id, size FROM patterns WHERE namespace = ? ORDER BY used, id LIMIT ?",
        (namespace, count),
    ).fetchall()
    for id_, size in rows:
        _remove(tables, id_, namespace, size)
    return len(rows)


def _remove(tables: Tables, id_: int, namespace: str, size: int) -> None:
    meta = tables.meta
    tables.delete("patterns", "WHERE id = ?", (id_,))
    tables.delete("contents", "WHERE id = ?", (id_,))
    tables.count(namespace, -1, -size)
    tables.put("removed", (meta.position, id_))
    meta.removed += 1
    while meta.removed > meta.limits.removed:
        (oldest,) = tables.column("SELECT min(position) FROM removed")
        meta.removed -= tables.delete("removed", "WHERE position = ?", (oldest,))
        meta.removed_to = oldest


# ---- what changes


def touch(tables: Tables, command: Touch) -> Touched:
    """These are the last to go now."""
    count = 0
    for id_ in dict.fromkeys(command.ids):
        row = tables.get("patterns", "WHERE id = ?", (id_,))
        if row is not None:
            count += 1
            if row[8] < tables.meta.time:
                tables.put("patterns", (*row[:8], tables.meta.time, *row[9:]))
    return Touched(position=tables.meta.position, count=count)


def reembed(tables: Tables, command: Reembed) -> Reembedded:
    """Vectors of another embedder for patterns that are still as they were."""
    meta = tables.meta
    count, skipped = 0, []
    for id_, version, vector in command.items:
        row = tables.get("patterns", "WHERE id = ?", (id_,))
        if row is None or row[12] != version:
            skipped.append(id_)
            continue
        made = _Pattern(*row, *_content(tables, id_))
        made.vector, made.embedder, made.version = vector, command.embedder, meta.position
        held, made.size = made.size, _size(made)
        _room(tables, made, held)
        tables.count(made.namespace, 0, made.size - held)
        _write(tables, made)
        count += 1
    return Reembedded(position=meta.position, count=count, skipped=tuple(skipped))
