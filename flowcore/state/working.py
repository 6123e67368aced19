"""Which command about work does what, who is lost, and what is due."""

from __future__ import annotations

import sqlite3

from flowcore.state.keys import expire_keys, lose_keys, reserve_key, settle_key
from flowcore.state.leases import (
    acquire_lease,
    expire_leases,
    lose_leases,
    release_lease,
    renew_lease,
)
from flowcore.state.limits import ONCE
from flowcore.state.results import Done, HolderLost, Result
from flowcore.state.revocations import expire_revocations, reinstate, revoke
from flowcore.state.tables import Tables
from flowcore.state.tasks import (
    cancel_task,
    claim_task,
    end_task,
    expire_tasks,
    lose_tasks,
    progress_task,
    renew_claims,
    submit_task,
)
from flowcore.state.usage import set_work_limits
from flowcore.state.work import (
    AcquireLease,
    CancelTask,
    ClaimTask,
    DeclareLost,
    EndTask,
    ProgressTask,
    Reinstate,
    ReleaseLease,
    RenewClaims,
    RenewLease,
    ReserveKey,
    Revoke,
    SettleKey,
    SetWorkLimits,
    SubmitTask,
    WorkCommand,
)

_DUE = (
    "SELECT EXISTS (SELECT 1 FROM tasks WHERE expires IS NOT NULL AND expires <= :now)"
    " OR EXISTS (SELECT 1 FROM tasks WHERE until IS NOT NULL AND until <= :now)"
    " OR EXISTS (SELECT 1 FROM keys WHERE expires IS NOT NULL AND expires <= :now)"
    " OR EXISTS (SELECT 1 FROM keys WHERE until IS NOT NULL AND until <= :now)"
    " OR EXISTS (SELECT 1 FROM leases WHERE until <= :now)"
    " OR EXISTS (SELECT 1 FROM revocations WHERE expires IS NOT NULL AND expires <= :now)"
)


def do_work(tables: Tables, command: WorkCommand) -> Result:
    """What it does, and gives."""
    match command:
        case SubmitTask():
            return submit_task(tables, command)
        case ClaimTask():
            return claim_task(tables, command)
        case RenewClaims():
            renew_claims(tables, command)
        case ProgressTask():
            return progress_task(tables, command)
        case EndTask():
            return end_task(tables, command)
        case CancelTask():
            return cancel_task(tables, command)
        case ReserveKey():
            return reserve_key(tables, command)
        case SettleKey():
            return settle_key(tables, command)
        case AcquireLease():
            return acquire_lease(tables, command)
        case RenewLease():
            return renew_lease(tables, command)
        case ReleaseLease():
            return release_lease(tables, command)
        case DeclareLost():
            return _declare_lost(tables, command)
        case Revoke():
            return revoke(tables, command)
        case Reinstate():
            return reinstate(tables, command)
        case SetWorkLimits():
            set_work_limits(tables, command)
    return Done(position=tables.meta.position)


def _declare_lost(tables: Tables, command: DeclareLost) -> HolderLost:
    tasks = lose_tasks(tables, command.holder)
    keys = lose_keys(tables, command.holder)
    leases = lose_leases(tables, command.holder) if command.leases else 0
    return HolderLost(
        position=tables.meta.position,
        tasks=tasks,
        keys=keys,
        leases=leases,
        complete=max(tasks, keys, leases) < ONCE,
    )


def work_due(connection: sqlite3.Connection, now: float) -> bool:
    """Whether something has expired, or a claim, reservation or lease is over."""
    (due,) = connection.execute(_DUE, {"now": now}).fetchone()
    return bool(due)


def expire_work(tables: Tables) -> None:
    """Let time pass for all of it, so much at a time."""
    if work_due(tables.connection, tables.meta.time):
        expire_tasks(tables)
        expire_keys(tables)
        expire_leases(tables)
        expire_revocations(tables)
