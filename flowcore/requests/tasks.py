"""Tasks: requests whose caller does not wait. What the MCP extension `io.modelcontextprotocol/tasks` needs.

A task belongs to the principal that began it, that is its scheme and its name; to anybody else it does not
exist. It lives in the memory of its node and, where there is a `Keeper`, from its hand-over on also there:
then its end is told only when that is kept.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import attrs
import trio
from msgspec import Raw

from flowcore.envelope import Envelope, Owner, Reply
from flowcore.errors import (
    CallCancelled,
    CallError,
    DeadlineExceeded,
    InternalError,
    InvalidArguments,
    Overloaded,
    UnknownTarget,
    fresh,
)
from flowcore.requests.outside import Keeper
from flowcore.requests.settings import RequestSettings
from flowcore.requests.task import FINAL, Task, TaskState, settle_questions
from flowcore.requests.task_peer import TaskPeer

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class TaskStatistics:
    """Counts since the flow opened."""

    begun: int
    running: int
    """Working, or waiting for an answer."""
    completed: int
    failed: int
    cancelled: int
    refused: int
    kept: int
    kept_bytes: int
    """Bytes of the results that are kept."""


@attrs.define(eq=False)
class _Kept:
    """The final tasks of one principal, oldest first."""

    tasks: OrderedDict[str, Task] = attrs.field(factory=OrderedDict)
    bytes: int = 0
    """Bytes of their results."""


Submit = Callable[[Envelope], Awaitable[Reply]]


class Tasks:
    """The tasks of a node. Final ones are forgotten after their time, or sooner when they are too many or
    their results too large: then whoever keeps the most gives way, the oldest first."""

    def __init__(self, settings: RequestSettings, submit: Submit, nursery: trio.Nursery) -> None:
        self._settings = settings
        self._submit = submit
        self._nursery = nursery
        self.keeper: Keeper | None = None
        """Where tasks are kept that outlive this node, if anywhere."""
        self._running: dict[str, Task] = {}
        self._of: Counter[Owner] = Counter()
        """How many of those run, by whose they are."""
        self._ended: OrderedDict[str, Task] = OrderedDict()
        self._kept: dict[Owner, _Kept] = {}
        """The same, by whose they are."""
        self._bytes = 0
        self._begun = self._refused = 0
        self._counts = dict.fromkeys(FINAL, 0)

    def retune(self, settings: RequestSettings) -> None:
        """Have these settings from now on; tasks that run keep their deadlines."""
        self._settings = settings

    def begin(
        self,
        envelope: Envelope,
        *,
        long: bool = False,
        keep: float | None = None,
        submit: Submit | None = None,
    ) -> Task:
        """Start a request as a task.

        `long` work has the deadline `[requests] task_deadline` instead of its agent's. The final task is kept
        for `keep` seconds, `[requests] keep` at most and where nothing is said. `submit` takes the place of
        `Requests.submit` for an edge that has more to do for a reply. Raises Overloaded if too many run, in
        all or of this principal.
        """
        settings = self._settings
        owner = envelope.principal.owner
        if not self.room:
            raise self._full(f"{len(self._running)} tasks")
        if self._of[owner] >= settings.tasks_each:
            raise self._full(f"{self._of[owner]} tasks of {owner[1]!r}")
        now, today = trio.current_time(), datetime.now(UTC)
        if long:
            envelope.deadline = now + settings.task_deadline
            envelope.explicit = True
        task = Task(
            id=secrets.token_urlsafe(24),
            owner=owner,
            agent=envelope.agent,
            name=envelope.name,
            request=envelope.id,
            began=now,
            until=now + settings.task_deadline,
            keep=settings.keep if keep is None else min(keep, settings.keep),
            created=today,
            updated=today,
        )
        self._begin(task, envelope, submit or self._submit)
        return task

    @property
    def room(self) -> bool:
        """Whether another task may run."""
        return len(self._running) < self._settings.tasks

    def resume(self, task: Task, envelope: Envelope, submit: Submit) -> None:
        """Go on with a task that another node, or an earlier life of this one, was lost with."""
        self._begin(task, envelope, submit)

    def _begin(self, task: Task, envelope: Envelope, submit: Submit) -> None:
        # a last resort: the request's own deadline comes first, unless it waits for an answer
        task.scope.deadline = task.until + self._settings.grace
        self._running[task.id] = task
        self._of[task.owner] += 1
        self._begun += 1
        envelope.peer = TaskPeer(task, envelope)
        self._nursery.start_soon(self._run, task, envelope, submit)

    async def _run(self, task: Task, envelope: Envelope, submit: Submit) -> None:
        reply: Reply | None = None
        error: CallError | None = None
        try:
            try:
                with task.scope:
                    reply = await submit(envelope)
            except CallError as failure:
                error = fresh(failure)
            except Exception:
                logger.exception("task %s (request %s) failed", task.id, task.request)
                error = InternalError("the task failed", data={"request": task.request})
            error = error or _overdue(task, reply)
            if task.keeping is not None:
                await task.keeping.wait()
            if task.kept is not None:
                task.lost = not await task.kept.settle(reply, error)
        finally:
            self._end(task, reply, error)

    def _end(self, task: Task, reply: Reply | None, error: CallError | None) -> None:
        """Give a task its final state; without a reply or an error it was cancelled."""
        if self._running.get(task.id) is task:  # or it is done here again, while this ends
            del self._running[task.id]
        self._of[task.owner] -= 1
        if not self._of[task.owner]:
            del self._of[task.owner]
        if task.lost:  # what came of it here is not what came of it
            return
        if not task.final:
            if reply is not None:
                task.reply = Reply(reply.result.copy(), reply.modern)
                task.become(TaskState.COMPLETED)
            elif error is not None:
                task.error = error
                task.become(TaskState.FAILED, error.message)
            else:
                task.become(TaskState.CANCELLED, "cancelled")
        if task.state is TaskState.CANCELLED:
            task.error = CallCancelled("the task was cancelled")
        task.ended = trio.current_time()
        task.questions.clear()
        self._counts[task.state] += 1
        self._ended[task.id] = task
        self._bytes += _size(task)
        kept = self._kept.setdefault(task.owner, _Kept())
        kept.tasks[task.id] = task
        kept.bytes += _size(task)
        self._forget()

    def _full(self, what: str) -> Overloaded:
        self._refused += 1
        return Overloaded(f"{what} are running, which is the limit", retry_after=1.0)

    def find(self, id_: str, owner: Owner) -> Task:
        """A task of this owner. Raises UnknownTarget, for others' tasks too."""
        self._forget()
        task = self._running.get(id_) or self._ended.get(id_)
        if task is None or task.owner != owner or self._too_old(task):
            raise UnknownTarget("there is no such task", data={"taskId": id_[:200]})
        return task

    async def keep(self, task: Task, envelope: Envelope) -> None:
        """Its caller is about to be told of a task: from now on it outlives this node, where there is a
        keeper. Raises what `Keeper.keep` does; then it is as it was."""
        if self.keeper is None or task.keeping is not None:
            return
        over = task.ended is not None
        task.keeping = trio.Event()
        try:
            task.kept = await self.keeper.keep(task, envelope)
        except BaseException:
            task.keeping.set()
            task.keeping = None
            raise
        task.keeping.set()
        if over:
            await task.kept.settle(task.reply, task.error)

    async def look(self, id_: str, owner: Owner) -> Task:
        """A task of this owner, wherever it is done. Raises UnknownTarget, StateUnavailable."""
        try:
            return self.find(id_, owner)
        except UnknownTarget:
            if self.keeper is None:
                raise
            return await self.keeper.find(id_, owner)

    async def stop(self, id_: str, owner: Owner) -> None:
        """Ask a task to end, wherever it is done. A final one stays as it is.

        Raises UnknownTarget, StateUnavailable.
        """
        here = self._running.get(id_) or self._ended.get(id_)
        if self.keeper is not None and (here is None or here.kept is not None):
            await self.keeper.cancel(id_, owner)
            if here is not None:
                here.scope.cancel()
            return
        self.cancel(id_, owner)

    def cancel(self, id_: str, owner: Owner) -> Task:
        """Ask a task to end. A final one stays as it is. Raises UnknownTarget."""
        task = self.find(id_, owner)
        if not task.final:
            task.scope.cancel()
            if task.kept is None:
                task.become(TaskState.CANCELLED, "cancelled by its owner")
        return task

    def answer(self, id_: str, owner: Owner, answers: dict[str, Raw]) -> Task:
        """Give answers to what a task asked, by key; unknown keys are ignored.

        Raises UnknownTarget, and InvalidArguments for an answer that is no object, taking none of them.
        """
        task = self.find(id_, owner)
        for key, answer in answers.items():
            if key in task.questions and memoryview(answer)[0] != ord("{"):
                raise InvalidArguments(f"the answer {key!r} must be an object")
        for key, answer in answers.items():
            question = task.questions.pop(key, None)
            if question is not None:
                question.answer = answer.copy()
                question.answered.set()
        settle_questions(task)
        return task

    async def give(self, id_: str, owner: Owner, answers: dict[str, Raw]) -> None:
        """Give answers to what a task asks, wherever it is done. Raises as `answer`, StateUnavailable, and
        AgentUnavailable where the node that does it cannot be asked."""
        if self.keeper is None or id_ in self._running or id_ in self._ended:
            self.answer(id_, owner, answers)
        else:
            await self.keeper.answer(id_, owner, answers)

    def discard(self, task: Task) -> None:
        """Forget a final task whose outcome its caller has got without asking for it by name."""
        if self._ended.pop(task.id, None) is None:
            return
        self._bytes -= _size(task)
        kept = self._kept[task.owner]
        kept.bytes -= _size(task)
        del kept.tasks[task.id]
        if not kept.tasks:
            del self._kept[task.owner]

    def list(self) -> tuple[Task, ...]:
        """Every task that is known: those that run, oldest first, then those that ended, latest first."""
        self._forget()
        return (*self._running.values(), *reversed(self._ended.values()))

    def statistics(self) -> TaskStatistics:
        """Counts since the flow opened."""
        return TaskStatistics(
            begun=self._begun,
            running=len(self._running),
            completed=self._counts[TaskState.COMPLETED],
            failed=self._counts[TaskState.FAILED],
            cancelled=self._counts[TaskState.CANCELLED],
            refused=self._refused,
            kept=len(self._ended),
            kept_bytes=self._bytes,
        )

    def _too_old(self, task: Task) -> bool:
        return task.ended is not None and trio.current_time() - task.ended > task.keep

    def _forget(self) -> None:
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if not self._too_old(oldest):
                break
            self.discard(oldest)
        while self._bytes > self._settings.task_bytes:
            self._give_way(max(self._kept.values(), key=lambda kept: kept.bytes))
        while len(self._ended) > self._settings.most:
            self._give_way(max(self._kept.values(), key=lambda kept: len(kept.tasks)))

    def _give_way(self, kept: _Kept) -> None:
        self.discard(next(iter(kept.tasks.values())))


def _overdue(task: Task, reply: Reply | None) -> CallError | None:
    """Why a task that came to nothing did: None where it was cancelled."""
    if reply is None and trio.current_time() >= task.until:
        return DeadlineExceeded("the task did not end before its deadline")
    return None


def _size(task: Task) -> int:
    return len(memoryview(task.reply.result)) if task.reply is not None else 0
