"""What commands do to leases: one holder of a name at a time, each under a greater fence.

Gray and Cheriton, "Leases" (1989). A lease is over by the time of commands alone: its holder must stop by its
own clock before that, and what it acts on must refuse an older fence.
"""

from __future__ import annotations

from flowcore.errors import QuotaExceeded, VersionConflict
from flowcore.state.limits import ONCE
from flowcore.state.results import LeaseTold
from flowcore.state.tables import Row, Tables
from flowcore.state.usage import count, used, work_limits
from flowcore.state.work import AcquireLease, ReleaseLease, RenewLease

_NOBODY = ("", "")


def acquire_lease(tables: Tables, command: AcquireLease) -> LeaseTold:
    """The lease if it is free or the holder's own; else who has it. Raises QuotaExceeded."""
    meta = tables.meta
    row = _of(tables, command.name)
    if row is not None and row[1] != command.holder:
        return _told(tables, row, held=False)
    if row is None:
        most = work_limits(tables).leases
        if used(tables, "leases", None)[0] >= most:
            raise QuotaExceeded(f"there are {most} leases, as many as there may be")
        count(tables, "leases", _NOBODY, 1, 0)
    until = meta.time + command.seconds
    row = (command.name, command.holder, meta.position, meta.time, until)
    tables.put("leases", row)
    return _told(tables, row, held=True)


def renew_lease(tables: Tables, command: RenewLease) -> LeaseTold:
    """For so long from now. Raises VersionConflict."""
    row = _held(tables, command.name, command.fence)
    row = (*row[:4], tables.meta.time + command.seconds)
    tables.put("leases", row)
    return _told(tables, row, held=True)


def release_lease(tables: Tables, command: ReleaseLease) -> LeaseTold:
    """It is free. Raises VersionConflict."""
    row = _held(tables, command.name, command.fence)
    _remove(tables, command.name)
    return _told(tables, (*row[:4], tables.meta.time), held=False)


def lose_leases(tables: Tables, holder: str) -> int:
    """Those of a holder are free; how many, ONCE at most."""
    names = tables.column(
        "SELECT name FROM leases WHERE holder = ? ORDER BY name LIMIT ?", (holder, ONCE)
    )
    for name in names:
        _remove(tables, name)
    return len(names)


def expire_leases(tables: Tables) -> None:
    """Those that are over go, so many at a time."""
    names = tables.column(
        "SELECT name FROM leases WHERE until <= ? ORDER BY until, name LIMIT ?",
        (tables.meta.time, ONCE),
    )
    for name in names:
        _remove(tables, name)


def _of(tables: Tables, name: str) -> Row | None:
    row = tables.get("leases", "WHERE name = ?", (name,))
    if row is not None and row[4] <= tables.meta.time:
        _remove(tables, name)
        return None
    return row


def _held(tables: Tables, name: str, fence: int) -> Row:
    row = _of(tables, name)
    if row is None or row[2] != fence:
        now = 0 if row is None else row[2]
        said = f"is held under {now}" if now else "is free"
        raise VersionConflict(
            f"the lease {name!r:.100} {said}, not held under {fence}", data={"version": now}
        )
    return row


def _told(tables: Tables, row: Row, *, held: bool) -> LeaseTold:
    return LeaseTold(
        position=tables.meta.position, held=held, holder=row[1], fence=row[2], until=row[4]
    )


def _remove(tables: Tables, name: str) -> None:
    tables.delete("leases", "WHERE name = ?", (name,))
    count(tables, "leases", _NOBODY, -1, 0)
