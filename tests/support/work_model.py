"""Tasks, keys, leases and revocations as plain dictionaries: what the state machine must do."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from flowcore.state import (
    AcquireLease,
    CancelTask,
    ClaimTask,
    Command,
    DeclareLost,
    Done,
    EndTask,
    Entry,
    HolderLost,
    KeyTold,
    LeaseTold,
    ProgressTask,
    Reinstate,
    Reinstated,
    ReleaseLease,
    RenewClaims,
    RenewLease,
    ReserveKey,
    Revoke,
    SettleKey,
    SetWorkLimits,
    SubmitTask,
    TaskClaimed,
    TaskTold,
    Tidy,
    WorkLimits,
)

INVALID, CONFLICT, QUOTA, OTHER = -32602, -31061, -31060, -31055

SMALL_WORK = WorkLimits(
    tasks=4,
    owner_tasks=3,
    task_bytes=1100,
    owner_task_bytes=900,
    task_keep=6.0,
    keys=4,
    owner_keys=3,
    key_bytes=1000,
    owner_key_bytes=800,
    leases=2,
    revocations=3,
)


class No(Exception):
    """Refused, with a code."""


@attrs.define
class ATask:
    number: int
    command: SubmitTask
    expires: float | None
    state: str = "queued"
    fence: int = 0
    holder: str = ""
    until: float | None = None
    attempt: int = 0
    cancel: bool = False
    progress: bytes = b""
    result: bytes = b""

    @property
    def size(self) -> int:
        one = self.command
        names = "".join((one.id, one.queue, *one.owner)).encode()
        return 200 + len(names) + len(one.payload) + len(self.progress) + len(self.result)


@attrs.define
class AKey:
    owner: tuple[str, str]
    place: tuple[str, str]
    fingerprint: bytes
    number: int
    state: str = "unknown"
    fence: int = 0
    holder: str = ""
    until: float | None = None
    expires: float | None = None
    outcome: bytes | None = None

    @property
    def size(self) -> int:
        names = "".join((*self.owner, *self.place)).encode()
        return 200 + len(names) + len(self.outcome or b"")


class WorkModel:
    def __init__(self) -> None:
        self.position, self.time = 0, 0.0
        self.limits = WorkLimits()
        self.tasks: dict[str, ATask] = {}
        self.keys: dict[tuple[Any, ...], AKey] = {}
        self.leases: dict[str, tuple[str, int, float]] = {}
        self.revoked: dict[str, float | None] = {}

    def apply(self, entry: Entry) -> Any:
        """The result, or the code of a refusal."""
        self.position += 1
        self.time = max(self.time, entry.time)
        self.lapse()
        try:
            return getattr(self, type(entry.command).__name__)(entry.command)
        except No as no:
            return no.args[0]

    def lapse(self) -> None:
        now = self.time
        self.tasks = {
            id_: one for id_, one in self.tasks.items() if one.expires is None or one.expires > now
        }
        for task in self.tasks.values():
            if task.until is not None and task.until <= now:
                self.lose_task(task)
        self.keys = {
            at: one for at, one in self.keys.items() if one.expires is None or one.expires > now
        }
        for key in self.keys.values():
            if key.until is not None and key.until <= now:
                self.lose_key(key)
        self.leases = {name: one for name, one in self.leases.items() if one[2] > now}
        self.revoked = {
            id_: until for id_, until in self.revoked.items() if until is None or until > now
        }

    def fits(self, kept: list[Any], owner: Any, count: int, size: int, most: Any) -> bool:
        own = [one for one in kept if owner_of(one) == owner]
        for some, (number, held) in ((own, most[0]), (kept, most[1])):
            if count and len(some) + count > number:
                return False
            if size > 0 and sum(one.size for one in some) + size > held:
                return False
        return True

    def task_room(self, owner: Any, count: int, size: int) -> None:
        most = (
            (self.limits.owner_tasks, self.limits.owner_task_bytes),
            (self.limits.tasks, self.limits.task_bytes),
        )
        if not self.fits(list(self.tasks.values()), owner, count, size, most):
            raise No(QUOTA)

    def key_fits(self, owner: Any, count: int, size: int) -> bool:
        most = (
            (self.limits.owner_keys, self.limits.owner_key_bytes),
            (self.limits.keys, self.limits.key_bytes),
        )
        return self.fits(list(self.keys.values()), owner, count, size, most)

    # ---- tasks

    def told(self, task: ATask) -> TaskTold:
        return TaskTold(
            position=self.position, id=task.command.id, state=task.state, cancel=task.cancel
        )

    def end(self, task: ATask, state: str) -> None:
        task.state, task.until = state, None
        kept = self.time + self.limits.task_keep
        task.expires = kept if task.expires is None else min(kept, task.expires)

    def wait(self, task: ATask) -> None:
        if task.cancel:
            self.end(task, "cancelled")
        else:
            task.state, task.holder, task.until = "queued", "", None

    def lose_task(self, task: ATask) -> None:
        one = task.command
        spent = one.attempts > 0 and task.attempt >= one.attempts
        if one.repeatable and (task.cancel or not spent):
            self.wait(task)
        else:
            self.end(task, "unknown")

    def claimed(self, id_: str, fence: int) -> ATask:
        if id_ not in self.tasks:
            raise No(INVALID)
        task = self.tasks[id_]
        if task.state != "running" or task.fence != fence:
            raise No(CONFLICT)
        return task

    def SubmitTask(self, one: SubmitTask) -> Any:
        if one.id in self.tasks:
            raise No(CONFLICT)
        task = ATask(self.position, one, None if one.ttl is None else self.time + one.ttl)
        self.task_room(one.owner, 1, task.size)
        self.tasks[one.id] = task
        if one.holder:
            self.claim(task, one.holder, one.seconds)
        return self.told(task)

    def claim(self, task: ATask, holder: str, seconds: float) -> None:
        task.state, task.holder, task.fence = "running", holder, self.position
        task.until = self.time + seconds
        task.attempt += 1

    def RenewClaims(self, one: RenewClaims) -> Any:
        for task in self.tasks.values():
            if task.state == "running" and task.holder == one.holder:
                task.until = self.time + one.seconds
        return Done(position=self.position)

    def ClaimTask(self, one: ClaimTask) -> Any:
        for task in sorted(self.tasks.values(), key=lambda task: task.number):
            expired = task.expires is not None and task.expires <= self.time
            if task.state == "queued" and task.command.queue == one.queue and not expired:
                self.claim(task, one.holder, one.seconds)
                return TaskClaimed(
                    position=self.position,
                    task=task.command.id,
                    fence=self.position,
                    payload=task.command.payload,
                    owner=task.command.owner,
                    attempt=task.attempt,
                    until=task.until or 0.0,
                )
        return TaskClaimed(position=self.position, task=None)

    def ProgressTask(self, one: ProgressTask) -> Any:
        task = self.claimed(one.id, one.fence)
        if one.progress is not None:
            self.task_room(task.command.owner, 0, len(one.progress) - len(task.progress))
            task.progress = one.progress
        task.until = self.time + one.seconds
        return self.told(task)

    def EndTask(self, one: EndTask) -> Any:
        task = self.claimed(one.id, one.fence)
        if one.state == "queued":
            task.attempt -= 1
            self.wait(task)
        else:
            self.task_room(task.command.owner, 0, len(one.result))
            task.result = one.result
            self.end(task, one.state)
        return self.told(task)

    def CancelTask(self, one: CancelTask) -> Any:
        task = self.tasks.get(one.id)
        if task is None or (one.owner is not None and one.owner != task.command.owner):
            raise No(INVALID)
        if task.state in ("queued", "running"):
            task.cancel = True
            if task.state == "queued":
                self.end(task, "cancelled")
        return self.told(task)

    # ---- keys

    def lose_key(self, key: AKey) -> None:
        key.state, key.until, key.expires = "unknown", None, self.time + 86400.0

    def key_told(self, key: AKey, state: str) -> KeyTold:
        return KeyTold(
            position=self.position,
            state=state,
            fence=key.fence,
            holder=key.holder,
            outcome=key.outcome,
        )

    def key_place(self, owner: Any, size: int, most: tuple[int, int]) -> bool:
        some = [one for one in self.keys.values() if owner in (None, one.owner)]
        held = sum(one.size for one in some)
        return len(some) + 1 <= most[0] and held + size <= most[1]

    def forget_oldest(self, owner: Any) -> bool:
        settled = [
            (one.expires, one.number, at)
            for at, one in self.keys.items()
            if one.state == "settled" and owner in (None, one.owner)
        ]
        if settled:
            del self.keys[min(settled)[2]]
        return bool(settled)

    def ReserveKey(self, one: ReserveKey) -> Any:
        at = (one.owner, one.scope, one.key)
        key = self.keys.get(at)
        if key is None:
            key = AKey(one.owner, (one.scope, one.key), one.fingerprint, self.position)
            before = dict(self.keys)
            limits = self.limits
            own = (limits.owner_keys, limits.owner_key_bytes)
            for whose, most in ((one.owner, own), (None, (limits.keys, limits.key_bytes))):
                while not self.key_place(whose, key.size, most):
                    if not self.forget_oldest(whose):
                        self.keys = before
                        raise No(QUOTA)
            self.keys[at] = key
        elif key.fingerprint != one.fingerprint:
            raise No(OTHER)
        elif key.state == "running" and key.holder == one.holder:
            pass
        elif key.state != "unknown" or not one.repeatable:
            return self.key_told(key, key.state)
        key.state, key.holder, key.fence = "running", one.holder, self.position
        key.until, key.expires = self.time + one.seconds, None
        return self.key_told(key, "reserved")

    def SettleKey(self, one: SettleKey) -> Any:
        at = (one.owner, one.scope, one.key)
        key = self.keys.get(at)
        if key is None:
            raise No(INVALID)
        if key.fence != one.fence or key.state == "settled":
            raise No(CONFLICT)
        if one.state == "free":
            del self.keys[at]
            return self.key_told(key, "free")
        if one.state == "settled" and self.key_fits(one.owner, 0, len(one.outcome)):
            key.outcome = one.outcome
        key.state, key.until, key.expires = one.state, None, self.time + one.keep
        return self.key_told(key, one.state)

    # ---- leases, holders, revocations

    def AcquireLease(self, one: AcquireLease) -> Any:
        held = self.leases.get(one.name)
        if held is None and len(self.leases) >= self.limits.leases:
            raise No(QUOTA)
        if held is not None and held[0] != one.holder:
            return LeaseTold(
                position=self.position, held=False, holder=held[0], fence=held[1], until=held[2]
            )
        until = self.time + one.seconds
        self.leases[one.name] = (one.holder, self.position, until)
        return LeaseTold(
            position=self.position,
            held=True,
            holder=one.holder,
            fence=self.position,
            until=until,
        )

    def _held(self, name: str, fence: int) -> tuple[str, int, float]:
        if name not in self.leases or self.leases[name][1] != fence:
            raise No(CONFLICT)
        return self.leases[name]

    def RenewLease(self, one: RenewLease) -> Any:
        holder, fence, _ = self._held(one.name, one.fence)
        until = self.time + one.seconds
        self.leases[one.name] = (holder, fence, until)
        return LeaseTold(position=self.position, held=True, holder=holder, fence=fence, until=until)

    def ReleaseLease(self, one: ReleaseLease) -> Any:
        holder, fence, _ = self._held(one.name, one.fence)
        del self.leases[one.name]
        return LeaseTold(
            position=self.position, held=False, holder=holder, fence=fence, until=self.time
        )

    def DeclareLost(self, one: DeclareLost) -> Any:
        mine = [task for task in self.tasks.values() if task.state == "running"]
        mine = [task for task in mine if task.holder == one.holder]
        for task in mine:
            self.lose_task(task)
        keys = [key for key in self.keys.values() if key.state == "running"]
        keys = [key for key in keys if key.holder == one.holder]
        for key in keys:
            self.lose_key(key)
        names = [name for name, held in self.leases.items() if one.leases and held[0] == one.holder]
        for name in names:
            del self.leases[name]
        return HolderLost(
            position=self.position,
            tasks=len(mine),
            keys=len(keys),
            leases=len(names),
            complete=True,
        )

    def Revoke(self, one: Revoke) -> Any:
        new = set(one.ids) - set(self.revoked)
        if len(self.revoked) + len(new) > self.limits.revocations and new:
            raise No(QUOTA)
        until = None if one.ttl is None else self.time + one.ttl
        for id_ in one.ids:
            known = self.revoked.get(id_, 0.0)
            longer = None if known is None or until is None else max(known, until)
            self.revoked[id_] = longer
        return Done(position=self.position)

    def Reinstate(self, one: Reinstate) -> Any:
        ids = tuple(id_ for id_ in dict.fromkeys(one.ids) if id_ in self.revoked)
        for id_ in ids:
            del self.revoked[id_]
        return Reinstated(position=self.position, ids=ids)

    def SetWorkLimits(self, one: SetWorkLimits) -> Any:
        self.limits = one.limits
        return Done(position=self.position)

    def Tidy(self, one: Tidy) -> Any:
        del one
        return Done(position=self.position)


def owner_of(one: ATask | AKey) -> tuple[str, str]:
    return one.command.owner if isinstance(one, ATask) else one.owner


IDS = st.sampled_from(("t", "t", "ü", "v"))
OWNERS = st.sampled_from((("", ""), ("jwt", "ann"), ("token", "ann")))
HOLDERS = st.sampled_from(("n1", "n2"))
FENCES = st.integers(0, 14)
SECONDS = st.sampled_from((0.0, 1.0, 3.0, 100.0, 100.0))
TTLS = st.sampled_from((None, None, 0.0, 4.0))
BLOBS = st.sampled_from((b"", b"x", b"y" * 300))
QUEUES = st.sampled_from(("q", "q", "q", "r"))
NAMES = st.sampled_from(("one", "two", "three"))
KEYED = {"owner": OWNERS, "scope": st.sampled_from(("", "a")), "key": st.sampled_from(("k", "l"))}

WORK: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        SubmitTask,
        id=IDS,
        queue=QUEUES,
        payload=BLOBS,
        owner=OWNERS,
        ttl=TTLS,
        repeatable=st.booleans(),
        attempts=st.integers(0, 2),
        holder=st.sampled_from(("", "", "n1")),
        seconds=SECONDS,
    ),
    st.builds(RenewClaims, holder=HOLDERS, seconds=SECONDS),
    st.builds(ClaimTask, queue=QUEUES, holder=HOLDERS, seconds=SECONDS),
    st.builds(
        ProgressTask,
        id=IDS,
        fence=FENCES,
        seconds=SECONDS,
        progress=st.one_of(st.none(), BLOBS),
    ),
    st.sampled_from(("completed", "failed", "cancelled", "queued")).flatmap(
        lambda state: st.builds(
            EndTask,
            id=IDS,
            fence=FENCES,
            state=st.just(state),
            result=st.just(b"") if state == "queued" else BLOBS,
        )
    ),
    st.builds(CancelTask, id=IDS, owner=st.one_of(st.none(), OWNERS)),
    st.builds(
        ReserveKey,
        **KEYED,
        fingerprint=st.sampled_from((b"f", b"f", b"g")),
        holder=HOLDERS,
        seconds=SECONDS,
        repeatable=st.booleans(),
    ),
    st.sampled_from(("settled", "settled", "unknown", "free")).flatmap(
        lambda state: st.builds(
            SettleKey,
            **KEYED,
            fence=FENCES,
            state=st.just(state),
            outcome=BLOBS if state == "settled" else st.just(b""),
            keep=SECONDS,
        )
    ),
    st.builds(AcquireLease, name=NAMES, holder=HOLDERS, seconds=SECONDS),
    st.builds(RenewLease, name=NAMES, fence=FENCES, seconds=SECONDS),
    st.builds(ReleaseLease, name=NAMES, fence=FENCES),
    st.builds(DeclareLost, HOLDERS, st.booleans()),
    st.builds(Revoke, ids=st.lists(IDS, min_size=1, max_size=2).map(tuple), ttl=TTLS),
    st.builds(Reinstate, ids=st.lists(IDS, min_size=1, max_size=3).map(tuple)),
    st.sampled_from((SetWorkLimits(WorkLimits()), SetWorkLimits(SMALL_WORK))),
    st.just(Tidy()),
)
WORK_ENTRIES = st.builds(
    Entry,
    version=st.just(4),
    time=st.sampled_from((0.0, 1.0, 2.0, 3.5, 5.0, 9.0)),
    command=WORK,
)
