"""Tasks: requests whose caller does not wait. What the MCP extension `io.modelcontextprotocol/tasks` needs.

A task belongs to the principal that began it; to anybody else it does not exist.
"""

from __future__ import annotations

import enum
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec
import trio
from msgspec import Raw

from flowcore.envelope import Envelope, Peer, Reply
from flowcore.errors import CallCancelled, CallError, Overloaded, UnknownTarget
from flowcore.mcp import MissingCapability, lacking, question_for
from flowcore.requests.settings import RequestSettings


class TaskState(enum.Enum):
    """The states of the extension; the last three are final."""

    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@attrs.define(eq=False)
class Question:
    """Something the work asks the one who began the task."""

    method: str
    params: Raw
    answer: Raw | None = None
    answered: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False, kw_only=True)
class Task:
    """One task, as it stands."""

    id: str
    owner: str
    agent: str
    name: str
    ttl: float
    """Seconds it is kept after it was made."""
    created: datetime
    began: float
    updated: datetime
    state: TaskState = TaskState.WORKING
    message: str = ""
    reply: Reply | None = None
    error: CallError | None = None
    questions: dict[str, Question] = attrs.field(factory=dict)
    """What waits for an answer, by key."""
    changed: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    @property
    def final(self) -> bool:
        """Whether its state will not change any more."""
        return self.state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED)

    def become(self, state: TaskState, message: str = "") -> None:
        """Change the state, and wake who watches. A final state stays."""
        if self.final:
            return
        self.state = state
        self.message = message
        self.updated = datetime.now(UTC)
        self.changed.set()
        self.changed = trio.Event()


class Tasks:
    """The tasks of a node."""

    def __init__(
        self,
        settings: RequestSettings,
        submit: Callable[[Envelope], Awaitable[Reply]],
        nursery: trio.Nursery,
    ) -> None:
        self._settings = settings
        self._submit = submit
        self._nursery = nursery
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._bytes = 0

    def begin(
        self,
        envelope: Envelope,
        *,
        ttl: float | None = None,
        submit: Callable[[Envelope], Awaitable[Reply]] | None = None,
    ) -> Task:
        """Start a request as a task. Raises Overloaded if too many run.

        `submit` takes the place of `Requests.submit` for an edge that has more to do for a reply.
        """
        self._forget()
        running = sum(not task.final for task in self._tasks.values())
        if running >= self._settings.tasks:
            raise Overloaded(f"{running} tasks are running, which is the limit", retry_after=1.0)
        now = datetime.now(UTC)
        task = Task(
            id=secrets.token_urlsafe(24),
            owner=envelope.principal.name,
            agent=envelope.agent,
            name=envelope.name,
            ttl=min(self._settings.keep, ttl) if ttl is not None else self._settings.keep,
            created=now,
            began=trio.current_time(),
            updated=now,
        )
        self._tasks[task.id] = task
        envelope.peer = _TaskPeer(task, envelope.peer)
        self._nursery.start_soon(self._run, task, envelope, submit or self._submit)
        return task

    async def _run(
        self, task: Task, envelope: Envelope, submit: Callable[[Envelope], Awaitable[Reply]]
    ) -> None:
        with task.scope:
            try:
                task.reply = await submit(envelope)
            except CallError as error:
                task.error = error
        if task.reply is not None:
            self._bytes += len(bytes(task.reply.result))
            task.become(TaskState.COMPLETED)
        elif task.error is not None:
            task.become(TaskState.FAILED, task.error.message)
        else:
            task.error = CallCancelled("the task was cancelled")
            task.become(TaskState.CANCELLED, "cancelled")
        self._forget()

    def find(self, id_: str, owner: str) -> Task:
        """A task of this owner. Raises UnknownTarget, for others' tasks too."""
        self._forget()
        task = self._tasks.get(id_)
        if task is None or task.owner != owner:
            raise UnknownTarget("there is no such task", data={"taskId": id_[:200]})
        return task

    def cancel(self, id_: str, owner: str) -> Task:
        """Ask a task to end. A final one stays as it is. Raises UnknownTarget."""
        task = self.find(id_, owner)
        if not task.final:
            task.scope.cancel()
            task.become(TaskState.CANCELLED, "cancelled by its owner")
        return task

    def answer(self, id_: str, owner: str, answers: dict[str, Raw]) -> Task:
        """Give answers to what a task asked, by key; unknown keys are ignored. Raises UnknownTarget."""
        task = self.find(id_, owner)
        for key, answer in answers.items():
            question = task.questions.pop(key, None)
            if question is not None:
                question.answer = answer
                question.answered.set()
        if not task.questions and task.state is TaskState.INPUT_REQUIRED:
            task.become(TaskState.WORKING)
        return task

    def discard(self, task: Task) -> None:
        """Forget a final task whose outcome its caller has got without asking for it by name."""
        if task.final and self._tasks.pop(task.id, None) is not None and task.reply is not None:
            self._bytes -= len(bytes(task.reply.result))

    def list(self) -> tuple[Task, ...]:
        """Every task that is known, oldest first."""
        self._forget()
        return tuple(self._tasks.values())

    def _forget(self) -> None:
        now = trio.current_time()
        for task in list(self._tasks.values()):
            too_old = now - task.began > task.ttl
            too_much = self._bytes > self._settings.task_bytes
            too_many = len(self._tasks) > self._settings.most + self._settings.tasks
            if task.final and (too_old or too_much or too_many):
                del self._tasks[task.id]
                if task.reply is not None:
                    self._bytes -= len(bytes(task.reply.result))


class _TaskPeer:
    """The peer of a task: progress becomes its status message, questions wait for `tasks/update`."""

    def __init__(self, task: Task, peer: Peer) -> None:
        self._task = task
        self._peer = peer
        self._capabilities = dict(peer.capabilities)
        self._asked = 0

    @property
    def capabilities(self) -> dict[str, Raw]:
        return self._capabilities

    def notify(self, method: str, params: Raw) -> None:
        self._peer.notify(method, params)
        if method == "notifications/progress":
            progress: dict[str, Any] = msgspec.json.decode(params)
            text = progress.get("message") or f"progress {progress.get('progress')}"
            self._task.become(self._task.state, str(text)[:1000])

    async def request(self, method: str, params: Raw) -> Raw:
        missing = lacking(self._capabilities, method, params)
        if missing:
            raise MissingCapability(missing)
        self._asked += 1
        key = f"ask-{self._asked}"
        question = self._task.questions[key] = Question(
            method, question_for(method, params, modern=True)
        )
        self._task.become(TaskState.INPUT_REQUIRED)
        await question.answered.wait()
        assert question.answer is not None
        return question.answer
