"""Ids that are good no more, until they would have expired by themselves."""

from __future__ import annotations

from flowcore.state.limits import ONCE
from flowcore.state.results import Done, Reinstated
from flowcore.state.tables import Tables
from flowcore.state.usage import count, room, work_limits
from flowcore.state.work import Reinstate, Revoke

_NOBODY = ("", "")


def revoke(tables: Tables, command: Revoke) -> Done:
    """All of them, or none. Raises QuotaExceeded."""
    meta = tables.meta
    most = (work_limits(tables).revocations, 0)
    expires = None if command.ttl is None else meta.time + command.ttl
    for id_ in command.ids:
        row = tables.get("revocations", "WHERE id = ?", (id_,))
        if row is None:
            room(tables, "revocations", None, 1, 0, most=most)
            count(tables, "revocations", _NOBODY, 1, 0)
            tables.put("revocations", (id_, meta.time, expires))
        elif row[2] is not None and (expires is None or row[2] < expires):
            tables.put("revocations", (id_, row[1], expires))
    return Done(position=meta.position)


def reinstate(tables: Tables, command: Reinstate) -> Reinstated:
    """They are good again; those that were revoked until now."""
    ids = []
    for id_ in dict.fromkeys(command.ids):
        if tables.delete("revocations", "WHERE id = ?", (id_,)):
            count(tables, "revocations", _NOBODY, -1, 0)
            ids.append(id_)
    return Reinstated(position=tables.meta.position, ids=tuple(ids))


def expire_revocations(tables: Tables) -> None:
    """Those that are needed no more go, so many at a time."""
    ids = tables.column(
        "SELECT id FROM revocations WHERE expires IS NOT NULL AND expires <= ?"
        " ORDER BY expires, id LIMIT ?",
        (tables.meta.time, ONCE),
    )
    for id_ in ids:
        tables.delete("revocations", "WHERE id = ?", (id_,))
        count(tables, "revocations", _NOBODY, -1, 0)
