"""How much work is kept, of each kind and owner, and how much may be."""

from __future__ import annotations

import sqlite3

import msgspec

from flowcore.errors import QuotaExceeded
from flowcore.state.tables import Tables
from flowcore.state.work import Owner, SetWorkLimits, WorkLimits

_ALL = "all "
"""Begins the kind of a row that counts those of every owner."""


def work_limits(tables: Tables) -> WorkLimits:
    """Those that hold now."""
    row = tables.get("work_limits", "", ())
    return WorkLimits() if row is None else msgspec.msgpack.decode(row[1], type=WorkLimits)


def set_work_limits(tables: Tables, command: SetWorkLimits) -> None:
    """Other limits from here on; what is beyond them stays."""
    tables.put("work_limits", (1, msgspec.msgpack.encode(command.limits)))


def used(tables: Tables, kind: str, owner: Owner | None) -> tuple[int, int]:
    """How many there are, and their bytes: of an owner, or, for None, in all."""
    row = tables.get("usage", "WHERE kind = ? AND scheme = ? AND owner = ?", _place(kind, owner))
    return (0, 0) if row is None else (row[3], row[4])


def count(tables: Tables, kind: str, owner: Owner, number: int, size: int) -> None:
    """So many and so many bytes have come, or gone."""
    for whose in (owner, None):
        there, held = used(tables, kind, whose)
        place = _place(kind, whose)
        if there + number:
            tables.put("usage", (*place, there + number, held + size))
        else:
            tables.delete("usage", "WHERE kind = ? AND scheme = ? AND owner = ?", place)


def room(
    tables: Tables, kind: str, owner: Owner | None, number: int, size: int, *, most: tuple[int, int]
) -> None:
    """Raises QuotaExceeded if so many more, or so many more bytes, do not fit."""
    there, held = used(tables, kind, owner)
    whose = "all owners" if owner is None else f"the owner {owner[1]!r:.100}"
    if number > 0 and there + number > most[0]:
        raise QuotaExceeded(f"there are {there} {kind} of {whose}, of {most[0]} there may be")
    if size > 0 and held + size > most[1]:
        raise QuotaExceeded(
            f"the {kind} of {whose} hold {held} of {most[1]} bytes: {size} more do not fit"
        )


def totals(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """How many there are of each kind, and their bytes."""
    rows = connection.execute(
        "SELECT kind, count, bytes FROM usage WHERE kind >= ? AND kind < ? ORDER BY kind",
        (_ALL, _ALL + "~"),
    )
    return {kind[len(_ALL) :]: {"count": count, "bytes": size} for kind, count, size in rows}


def _place(kind: str, owner: Owner | None) -> tuple[str, str, str]:
    return (_ALL + kind, "", "") if owner is None else (kind, *owner)
