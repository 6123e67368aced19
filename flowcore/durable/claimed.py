"""One task that this node has claimed: what others hear of it, and how it ends."""

from __future__ import annotations

import logging
from typing import Literal, Protocol

import trio

from flowcore.durable.asking import PASSING, Patience
from flowcore.durable.records import Progress, pack_outcome
from flowcore.envelope import Reply
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    InvalidArguments,
    OutcomeUnknown,
    Overloaded,
    QuotaExceeded,
    TooLarge,
    VersionConflict,
)
from flowcore.federation.wire import pack
from flowcore.requests import Task
from flowcore.state import VALUE_SIZE, EndTask, ProgressTask, State

logger = logging.getLogger(__name__)

Ended = Literal["completed", "failed", "cancelled", "queued"]


class Claimer(Protocol):
    """Whose claims these are: the tasks of this node."""

    @property
    def state(self) -> State: ...
    @property
    def left(self) -> bool:
        """Whether somebody is about to declare all of them lost."""
        ...

    def over(self, claimed: Claimed) -> None:
        """This claim is over: its outcome is stored, or it was lost."""
        ...

    def leave_alone(self, agent: str) -> None:
        """An agent took nothing: its queue is for others for a while."""
        ...

    def settings(self) -> tuple[float, float]:
        """For how many seconds a claim holds, and between two words of progress."""
        ...


class Claimed:
    """`flowcore.requests.KeptTask`, over the hard state."""

    def __init__(self, tasks: Claimer, task: Task, fence: int) -> None:
        self.task = task
        self.fence = fence
        self.lost = False
        """Whether it is not this node's any more."""
        self._tasks = tasks
        self._ending = False
        self._telling = trio.CancelScope()

    def lose(self) -> None:
        """It is not this node's any more: what is done here is for nobody."""
        if not self._ending:
            self.lost = True
            self.task.scope.cancel()

    async def settle(self, reply: Reply | None, error: CallError | None) -> bool:
        self._telling.cancel()
        try:
            if self.lost:
                return False
            self._ending = True
            return await self._settle(*self._outcome(reply, error))
        finally:
            self._tasks.over(self)

    def _outcome(self, reply: Reply | None, error: CallError | None) -> tuple[Ended, bytes]:
        passing = isinstance(error, AgentUnavailable | Overloaded) and not error.began
        if passing and trio.current_time() < self.task.until:
            self._tasks.leave_alone(self.task.agent)
            return "queued", b""  # it has not begun: here later, or elsewhere
        if reply is not None:
            result = pack_outcome(reply, None)
            if len(result) <= VALUE_SIZE:
                return "completed", result
            error = TooLarge(
                f"the result of the task has {len(result)} bytes, and {VALUE_SIZE} can be kept",
                data={"limit": VALUE_SIZE},
                began=True,
            )
        return ("cancelled" if error is None else "failed"), pack_outcome(None, error)

    async def _settle(self, state: Ended, result: bytes) -> bool:
        patience, doubt = Patience(), False
        while not self._tasks.left:
            command = EndTask(id=self.task.id, fence=self.fence, state=state, result=result)
            try:
                await self._tasks.state.do(command)
            except PASSING as error:
                doubt = doubt or isinstance(error, OutcomeUnknown)
                await patience.wait(error)
            except QuotaExceeded as error:  # that it is over must be known, if not what came of it
                told = pack_outcome(None, error)
                state, result = "failed", b"" if result == told else told
            except (VersionConflict, InvalidArguments) as error:
                if doubt and state != "queued":
                    return await self._was_taken(state)
                logger.info("what came of a task is not taken: %s", error)
                self.lost = True
                return False
            else:
                return state != "queued"
        return False

    async def _was_taken(self, state: str) -> bool:
        """Whether an attempt that nobody knew the outcome of was the one that counts."""
        while True:
            try:
                found = await self._tasks.state.task(self.task.id)
            except PASSING as error:
                await Patience().wait(error)
                continue
            return found is not None and found.state == state and found.fence == self.fence

    # ---- while it is done

    async def tell(self) -> None:
        """Tell other nodes how far it is, until it ends."""
        with self._telling:
            last = Progress()
            while not self.lost:
                changed = self.task.changed
                told = Progress(
                    self.task.message,
                    {
                        key: (one.method, bytes(one.params))
                        for key, one in self.task.questions.items()
                    },
                )
                claim, pause = self._tasks.settings()
                if told != last:
                    command = ProgressTask(
                        id=self.task.id, fence=self.fence, seconds=claim, progress=pack(told)
                    )
                    if await self._told(command):
                        last = told
                    await trio.sleep(pause)
                if told == last and changed is self.task.changed:
                    await changed.wait()

    async def _told(self, command: ProgressTask) -> bool:
        try:
            done = await self._tasks.state.do(command)
        except PASSING as error:
            logger.debug("how far a task is cannot be told now: %s", error)
            return False
        except (QuotaExceeded, InvalidArguments, VersionConflict) as error:
            logger.debug("how far a task is is not taken: %s", error)
            return True
        if done.cancel:
            self.task.scope.cancel()
        return True
