"""One task as it stands: a request whose caller does not wait."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Protocol

import attrs
import trio
from msgspec import Raw

from flowcore.envelope import Owner, Reply
from flowcore.errors import CallError

_MAX_MESSAGE = 1000


class TaskState(enum.Enum):
    """The states of the extension; the last three are final."""

    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED)


@attrs.define(eq=False)
class Question:
    """Something the work asks the one who began the task."""

    method: str
    params: Raw
    answer: Raw | None = None
    answered: trio.Event = attrs.field(factory=trio.Event)


class KeptTask(Protocol):
    """A task that this node has claimed."""

    async def settle(self, reply: Reply | None, error: CallError | None) -> bool:
        """Store its outcome; neither is a cancellation. Whether it is the task's: False where the claim was
        lost meanwhile, and the task is another node's, or over."""
        ...


@attrs.define(eq=False, kw_only=True)
class Task:
    """One task, as it stands. Times are in seconds on trio's clock, `created` and `updated` of the day."""

    id: str
    owner: Owner
    agent: str
    name: str
    request: str
    """The id of the request it began with."""
    began: float
    until: float
    """When it is over at the latest."""
    keep: float
    """Seconds for which it is kept once it is final."""
    created: datetime
    updated: datetime
    state: TaskState = TaskState.WORKING
    message: str = ""
    reply: Reply | None = None
    error: CallError | None = None
    ended: float | None = None
    questions: dict[str, Question] = attrs.field(factory=dict)
    """What waits for an answer, by key."""
    changed: trio.Event = attrs.field(factory=trio.Event)
    """Set with the next change of state or message; then there is another one here."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    kept: KeptTask | None = None
    """How it is kept beyond this node, if it is."""
    keeping: trio.Event | None = None
    """Set once it is known whether it is."""
    lost: bool = False
    """Whether it is another node's by now."""
    where: str = ""
    """The node that does it, where that is another one."""

    @property
    def final(self) -> bool:
        """Whether its state will not change any more."""
        return self.state in FINAL

    @property
    def ttl(self) -> float:
        """Seconds after it was made for which it can be asked for, as far as is known now."""
        return (self.until if self.ended is None else self.ended) - self.began + self.keep

    def become(self, state: TaskState, message: str = "") -> None:
        """Change the state, and wake who watches. A final state stays."""
        if self.final:
            return
        self.state = state
        self.message = message[:_MAX_MESSAGE]
        self.updated = datetime.now(UTC)
        self.changed.set()
        self.changed = trio.Event()


def settle_questions(task: Task) -> None:
    """A task that waits for no answer any more is working again."""
    if not task.questions and task.state is TaskState.INPUT_REQUIRED:
        task.become(TaskState.WORKING)
