"""A task as its owner sees it, at a node that does not do it."""

from __future__ import annotations

from datetime import UTC, datetime

import trio
from msgspec import Raw

from flowcore.durable.holders import node_of
from flowcore.durable.records import unpack_outcome, unpack_progress, unpack_request
from flowcore.envelope import Owner, Reply
from flowcore.errors import CallCancelled, CallError, InternalError, OutcomeUnknown
from flowcore.federation.wire import WrongMessage
from flowcore.requests import Question, Task, TaskState
from flowcore.state import Task as Row

_STATES = {
    "completed": TaskState.COMPLETED,
    "failed": TaskState.FAILED,
    "unknown": TaskState.FAILED,
    "cancelled": TaskState.CANCELLED,
}


def view_of(row: Row, owner: Owner) -> Task:
    """The task; one that cannot be read here is told as failed."""
    try:
        return _view(row, owner)
    except WrongMessage as error:
        unread = InternalError(f"this node cannot read the task: {error}")
        now = datetime.fromtimestamp(row.submitted, UTC)
        return Task(
            id=row.id,
            owner=owner,
            agent=row.queue,
            name="",
            request="",
            began=0.0,
            until=0.0,
            keep=0.0,
            created=now,
            updated=now,
            state=TaskState.FAILED,
            message=unread.message,
            error=unread,
            ended=0.0,
        )


def told_of(row: Row) -> tuple[str, str]:
    """The tool of a task, and how far it is, for a person; "" for what is not at hand."""
    try:
        name = unpack_request(row.payload).asked.name if row.payload else ""
        return name, unpack_progress(row.progress).message
    except WrongMessage:
        return "", ""


def _view(row: Row, owner: Owner) -> Task:
    kept = unpack_request(row.payload)
    told = unpack_progress(row.progress)
    reply, error = _outcome(row)
    questions = {
        key: Question(method, Raw(params)) for key, (method, params) in told.questions.items()
    }
    state = _STATES.get(row.state)
    message = told.message
    if state is None:
        state = TaskState.INPUT_REQUIRED if questions else TaskState.WORKING
        if row.state == "queued":
            state, questions, message = TaskState.WORKING, {}, "waits for a node that can do it"
    elif state is not TaskState.COMPLETED:
        message = "cancelled by its owner" if error is None else error.message
    final = state in _STATES.values()
    return Task(
        id=row.id,
        owner=owner,
        agent=kept.asked.agent,
        name=kept.asked.name,
        request=kept.asked.id,
        began=0.0,  # on a clock of its own, which only `ttl` looks at
        until=max(0.0, kept.until - kept.created),
        keep=kept.keep,
        created=datetime.fromtimestamp(kept.created, UTC),
        updated=datetime.fromtimestamp(row.changed, UTC),
        state=state,
        message=message if not (final and state is TaskState.COMPLETED) else "",
        reply=reply,
        error=error,
        ended=max(0.0, row.changed - kept.created) if final else None,
        questions={} if final else questions,
        changed=trio.Event(),
        where=node_of(row.holder) if row.state == "running" else "",
    )


def _outcome(row: Row) -> tuple[Reply | None, CallError | None]:
    if row.state == "unknown":
        return None, OutcomeUnknown(
            "the node that did this task was lost, and it is not one to be done twice: it may have happened",
            data={"taskId": row.id},
        )
    outcome = unpack_outcome(row.result)
    if isinstance(outcome, Reply):
        return outcome, None
    if outcome is None and row.state == "cancelled":
        return None, CallCancelled("the task was cancelled")
    if outcome is None and row.state in ("completed", "failed"):
        return None, OutcomeUnknown(
            "the task has ended, and there was no room to keep what came of it", data={"done": True}
        )
    return None, outcome
