"""Commands about work: durable tasks, outcomes under idempotency keys, leases, revocations. Of version 3.

Whoever works says who it is, the `holder`, and gets a **fence**: the position of the command that gave it the
work, so that a later one is greater (Kleppmann, "Designing Data-Intensive Applications", chapter 8, fencing
tokens). What a holder says under an older fence is refused. Times are seconds, from the time of the command.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from flowcore.state.limits import GIB

Owner = tuple[str, str]
"""Scheme and name."""


class WorkLimits(Struct, frozen=True, kw_only=True, array_like=True):
    """How much of it is kept: counts, bytes, seconds. What would exceed it is refused, but for keys: a new
    one takes the place of its owner's oldest that is settled, or else of anybody's."""

    tasks: int = 100_000
    owner_tasks: int = 10_000
    """Of each owner."""
    task_bytes: int = 1 * GIB
    owner_task_bytes: int = 1 * GIB
    task_keep: float = 86400.0
    """After a task has ended."""
    keys: int = 1_000_000
    owner_keys: int = 100_000
    key_bytes: int = 1 * GIB
    """Of outcomes; beyond it a key says that its outcome was not kept."""
    owner_key_bytes: int = 1 * GIB
    leases: int = 10_000
    revocations: int = 100_000


# ---- tasks


class SubmitTask(Struct, frozen=True, kw_only=True, tag="submit_task", array_like=True):
    """A task to be done by whoever claims it. Gives `TaskTold`.

    Raises VersionConflict for an id that is there, with the number of its task; QuotaExceeded.
    """

    id: str
    queue: str
    payload: bytes = b""
    owner: Owner = ("", "")
    ttl: float | None = None
    """Seconds after which it goes, whatever came of it; None: it goes some time after its end."""
    repeatable: bool = True
    """Whether it is queued again when its claimer is lost; else it ends *unknown*."""
    attempts: int = 0
    """Claims at most: when the last claimer is lost, it ends *unknown*. 0: any number."""
    holder: str = ""
    """Who claims it in the same breath, with the position of this command as fence; empty: nobody."""
    seconds: float = 0.0
    """As in `ClaimTask`."""


class ClaimTask(Struct, frozen=True, kw_only=True, tag="claim_task", array_like=True):
    """Take the task that waits longest. Gives `TaskClaimed`, whose `task` is None if there is none."""

    queue: str
    holder: str
    seconds: float
    """Without progress, after that the claimer is taken for lost."""


class RenewClaims(Struct, frozen=True, kw_only=True, tag="renew_claims", array_like=True):
    """Whoever holds these is there: all of its claims begin anew. Gives `Done`."""

    holder: str
    seconds: float


class ProgressTask(Struct, frozen=True, kw_only=True, tag="progress_task", array_like=True):
    """How far a claimed task is; the claim begins anew. Gives `TaskTold`, with the wish to cancel.

    Raises VersionConflict if the claim is no more.
    """

    id: str
    fence: int
    seconds: float
    progress: bytes | None = None
    """None: as it was."""


class EndTask(Struct, frozen=True, kw_only=True, tag="end_task", array_like=True):
    """What came of a claimed task; `queued` gives it back untouched. Gives `TaskTold`.

    Raises VersionConflict if the claim is no more, QuotaExceeded for a result that there is no room for.
    """

    id: str
    fence: int
    state: Literal["completed", "failed", "cancelled", "queued"]
    result: bytes = b""


class CancelTask(Struct, frozen=True, kw_only=True, tag="cancel_task", array_like=True):
    """A wish: a task that waits ends; a claimer hears of it with its next progress. Gives `TaskTold`."""

    id: str
    owner: Owner | None = None
    """Only if it is theirs; another one's is told as one that is not there."""


# ---- idempotency keys


class ReserveKey(Struct, frozen=True, kw_only=True, tag="reserve_key", array_like=True):
    """Reserve a key before its work begins. Gives `KeyTold`: only who `reserved` it is to do the work.

    A holder that asks again for a key that it holds has it, under a new fence: it was not told of the first.
    Raises IdempotencyConflict for another fingerprint than before, QuotaExceeded.
    """

    owner: Owner = ("", "")
    scope: str = ""
    """What it is for, such as an agent."""
    key: str
    fingerprint: bytes
    """Of what is asked for, 64 bytes at most."""
    holder: str
    seconds: float
    """After that the holder is taken for lost: the outcome is unknown."""
    repeatable: bool = False
    """Whether the work may be done again where its outcome is unknown."""


class SettleKey(Struct, frozen=True, kw_only=True, tag="settle_key", array_like=True):
    """What came of the work under a key. Gives `KeyTold`.

    `unknown`: nobody can say. `free`: it never began, and the key is as if it had not been. A holder that
    was taken for lost may still settle, if nobody has reserved the key since. Raises VersionConflict.
    """

    owner: Owner = ("", "")
    scope: str = ""
    key: str
    fence: int
    state: Literal["settled", "unknown", "free"] = "settled"
    outcome: bytes = b""
    keep: float = 86400.0
    """Seconds."""


# ---- leases


class AcquireLease(Struct, frozen=True, kw_only=True, tag="acquire_lease", array_like=True):
    """Hold a name alone. Gives `LeaseTold`: `held` if the holder has it now, else who does.

    Who holds it already gets a new fence: what it was before, such as before a restart, is shut out.
    """

    name: str
    holder: str
    seconds: float


class RenewLease(Struct, frozen=True, kw_only=True, tag="renew_lease", array_like=True):
    """Hold it for so long from now. Gives `LeaseTold`; raises VersionConflict if it is not held any more."""

    name: str
    fence: int
    seconds: float


class ReleaseLease(Struct, frozen=True, kw_only=True, tag="release_lease", array_like=True):
    """Let it go. Gives `LeaseTold`; raises VersionConflict if it is not held any more."""

    name: str
    fence: int


class DeclareLost(Struct, frozen=True, tag="declare_lost", array_like=True):
    """A holder is gone: its tasks are queued again, its keys unknown, its leases free. Gives `HolderLost`."""

    holder: str
    leases: bool = True
    """Whether its leases are free now; else when their time is over: it may still go by them."""


# ---- revocations


class Revoke(Struct, frozen=True, kw_only=True, tag="revoke", array_like=True):
    """These ids are good no more. Gives `Done`; raises QuotaExceeded. It never shortens a revocation."""

    ids: tuple[str, ...]
    ttl: float | None = None
    """Seconds until they would have expired by themselves; None: for good."""


class Reinstate(Struct, frozen=True, kw_only=True, tag="reinstate", array_like=True):
    """These ids are revoked no more, if they were. Gives `Reinstated`."""

    ids: tuple[str, ...]


class SetWorkLimits(Struct, frozen=True, tag="work_limits", array_like=True):
    """Other limits from here on. Gives `Done`."""

    limits: WorkLimits


WorkCommand = (
    SubmitTask
    | ClaimTask
    | RenewClaims
    | ProgressTask
    | EndTask
    | CancelTask
    | ReserveKey
    | SettleKey
    | AcquireLease
    | RenewLease
    | ReleaseLease
    | DeclareLost
    | Revoke
    | Reinstate
    | SetWorkLimits
)
