"""What commands do to durable tasks.

queued ── claim ──> running ── end ──> completed, failed, cancelled
  ^                    │
  └──── claimer lost ──┴── not repeatable, or claimed often enough ──> unknown
"""

from __future__ import annotations

import attrs

from flowcore.errors import InvalidArguments, VersionConflict
from flowcore.state.limits import ONCE, OVERHEAD
from flowcore.state.results import TaskClaimed, TaskTold
from flowcore.state.tables import Row, Tables
from flowcore.state.usage import count, room, work_limits
from flowcore.state.work import (
    CancelTask,
    ClaimTask,
    EndTask,
    ProgressTask,
    RenewClaims,
    SubmitTask,
)


@attrs.define
class _Task:
    """A row of `tasks`."""

    number: int
    id: str
    scheme: str
    owner: str
    queue: str
    state: str
    holder: str
    fence: int
    until: float | None
    attempt: int
    attempts: int
    repeatable: int
    cancel: int
    submitted: float
    changed: float
    expires: float | None
    size: int

    def row(self) -> Row:
        return attrs.astuple(self)


def submit_task(tables: Tables, command: SubmitTask) -> TaskTold:
    """A task at the end of its queue. Raises VersionConflict, QuotaExceeded."""
    meta = tables.meta
    found = _of(tables, command.id)
    if found is not None:
        raise VersionConflict(
            f"a task {command.id!r:.100} is there already", data={"version": found.number}
        )
    made = _Task(
        number=meta.position,
        id=command.id,
        scheme=command.owner[0],
        owner=command.owner[1],
        queue=command.queue,
        state="queued",
        holder="",
        fence=0,
        until=None,
        attempt=0,
        attempts=command.attempts,
        repeatable=int(command.repeatable),
        cancel=0,
        submitted=meta.time,
        changed=meta.time,
        expires=None if command.ttl is None else meta.time + command.ttl,
        size=0,
    )
    if command.holder:
        _claim(tables, made, command.holder, command.seconds)
    texts = (command.id, command.queue, *command.owner)
    size = OVERHEAD + sum(len(text.encode()) for text in texts) + len(command.payload)
    _grow(tables, made, 1, size)
    tables.put("tasks", made.row())
    tables.put("task_contents", (made.number, command.payload, b"", b""))
    return _told(tables, made)


def claim_task(tables: Tables, command: ClaimTask) -> TaskClaimed:
    """The one that waits longest, under a new fence."""
    meta = tables.meta
    row = tables.get(
        "tasks",
        "WHERE queue = ? AND state = 'queued' AND (expires IS NULL OR expires > ?)",
        (command.queue, meta.time),
    )
    if row is None:
        return TaskClaimed(position=meta.position, task=None)
    task = _Task(*row)
    _claim(tables, task, command.holder, command.seconds)
    tables.put("tasks", task.row())
    return TaskClaimed(
        position=meta.position,
        task=task.id,
        fence=task.fence,
        payload=_content(tables, task)[1],
        owner=(task.scheme, task.owner),
        attempt=task.attempt,
        until=task.until or 0.0,
    )


def renew_claims(tables: Tables, command: RenewClaims) -> None:
    """All claims of a holder begin anew, but for those that are over."""
    now = tables.meta.time
    numbers = tables.column(
        "SELECT number FROM tasks WHERE holder = ? AND state = 'running' AND until > ? ORDER BY number",
        (command.holder, now),
    )
    for number in numbers:
        task = _Task(*_row(tables, number))
        task.until = now + command.seconds
        tables.put("tasks", task.row())


def progress_task(tables: Tables, command: ProgressTask) -> TaskTold:
    """The claim begins anew."""
    meta = tables.meta
    task = _claimed(tables, command.id, command.fence)
    task.until, task.changed = meta.time + command.seconds, meta.time
    if command.progress is not None:
        content = _content(tables, task)
        _grow(tables, task, 0, len(command.progress) - len(content[2]))
        tables.put("task_contents", (*content[:2], command.progress, content[3]))
    tables.put("tasks", task.row())
    return _told(tables, task)


def end_task(tables: Tables, command: EndTask) -> TaskTold:
    """Its outcome, or back into the queue as if it had not been claimed."""
    task = _claimed(tables, command.id, command.fence)
    if command.state == "queued":
        task.attempt -= 1
        _requeue(tables, task)
    else:
        content = _content(tables, task)
        _grow(tables, task, 0, len(command.result))
        tables.put("task_contents", (*content[:3], command.result))
        _end(tables, task, command.state)
    return _told(tables, task)


def cancel_task(tables: Tables, command: CancelTask) -> TaskTold:
    """The wish is kept; what waits ends. Raises InvalidArguments for one that is not there."""
    task = _of(tables, command.id)
    if task is None or command.owner not in (None, (task.scheme, task.owner)):
        raise InvalidArguments(f"there is no task {command.id!r:.100}, or no more")
    if task.state in ("queued", "running"):
        task.cancel = 1
        if task.state == "queued":
            _end(tables, task, "cancelled")
        else:
            tables.put("tasks", task.row())
    return _told(tables, task)


def lose_tasks(tables: Tables, holder: str) -> int:
    """Those that a holder had claimed wait again, or are unknown; how many, ONCE at most."""
    return _lose(
        tables,
        "SELECT number FROM tasks WHERE holder = ? AND state = 'running' ORDER BY number LIMIT ?",
        holder,
    )


def expire_tasks(tables: Tables) -> None:
    """What has expired goes, then claims that are over, so many of each at a time."""
    numbers = tables.column(
        "SELECT number FROM tasks WHERE expires IS NOT NULL AND expires <= ?"
        " ORDER BY expires, number LIMIT ?",
        (tables.meta.time, ONCE),
    )
    for number in numbers:
        _remove(tables, _Task(*_row(tables, number)))
    _lose(
        tables,
        "SELECT number FROM tasks WHERE until IS NOT NULL AND until <= ?"
        " ORDER BY until, number LIMIT ?",
        tables.meta.time,
    )


# ---- one task


def _claim(tables: Tables, task: _Task, holder: str, seconds: float) -> None:
    meta = tables.meta
    task.state, task.holder, task.fence = "running", holder, meta.position
    task.until, task.changed = meta.time + seconds, meta.time
    task.attempt += 1


def _row(tables: Tables, number: int) -> Row:
    row = tables.get("tasks", "WHERE number = ?", (number,))
    assert row is not None
    return row


def _content(tables: Tables, task: _Task) -> Row:
    row = tables.get("task_contents", "WHERE number = ?", (task.number,))
    assert row is not None
    return row


def _of(tables: Tables, id_: str) -> _Task | None:
    """The task as it is at this time: expired ones, and claims that are over, may still be to be tidied."""
    row = tables.get("tasks", "WHERE id = ?", (id_,))
    if row is None:
        return None
    task = _Task(*row)
    if task.expires is not None and task.expires <= tables.meta.time:
        _remove(tables, task)
        return None
    if task.until is not None and task.until <= tables.meta.time:
        _lost(tables, task)
    return task


def _claimed(tables: Tables, id_: str, fence: int) -> _Task:
    task = _of(tables, id_)
    if task is None:
        raise InvalidArguments(f"there is no task {id_!r:.100}, or no more")
    if task.state != "running" or task.fence != fence:
        raise VersionConflict(
            f"the task {id_!r:.100} is {task.state}, last claimed under {task.fence}, not under {fence}",
            data={"version": task.fence},
        )
    return task


def _told(tables: Tables, task: _Task) -> TaskTold:
    return TaskTold(
        position=tables.meta.position, id=task.id, state=task.state, cancel=bool(task.cancel)
    )


def _grow(tables: Tables, task: _Task, number: int, size: int) -> None:
    limits, owner = work_limits(tables), (task.scheme, task.owner)
    most = (limits.owner_tasks, limits.owner_task_bytes)
    room(tables, "tasks", owner, number, size, most=most)
    room(tables, "tasks", None, number, size, most=(limits.tasks, limits.task_bytes))
    task.size += size
    count(tables, "tasks", owner, number, size)


def _lose(tables: Tables, query: str, which: str | float) -> int:
    numbers = tables.column(query, (which, ONCE))
    for number in numbers:
        _lost(tables, _Task(*_row(tables, number)))
    return len(numbers)


def _lost(tables: Tables, task: _Task) -> None:
    """Its claimer is lost. A wish to cancel is granted where it would wait again."""
    if task.repeatable and task.cancel:
        _end(tables, task, "cancelled")
    elif task.repeatable and not 0 < task.attempts <= task.attempt:
        _requeue(tables, task)
    else:
        _end(tables, task, "unknown")


def _requeue(tables: Tables, task: _Task) -> None:
    if task.cancel:
        _end(tables, task, "cancelled")
        return
    task.state, task.holder, task.until, task.changed = "queued", "", None, tables.meta.time
    tables.put("tasks", task.row())


def _end(tables: Tables, task: _Task, state: str) -> None:
    now = tables.meta.time
    task.state, task.until, task.changed = state, None, now
    kept = now + work_limits(tables).task_keep
    task.expires = kept if task.expires is None else min(task.expires, kept)
    tables.put("tasks", task.row())


def _remove(tables: Tables, task: _Task) -> None:
    tables.delete("tasks", "WHERE number = ?", (task.number,))
    tables.delete("task_contents", "WHERE number = ?", (task.number,))
    count(tables, "tasks", (task.scheme, task.owner), -1, -task.size)
