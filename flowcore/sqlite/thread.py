"""The one thread that touches a file: what is to be done goes in, in order, and comes back with little ado.

`trio.to_thread.run_sync` names a thread, copies a context and takes a limiter's token for each call: twice
what the way there and back costs here, and a commit goes this way twice on each node.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar, cast

import trio

T = TypeVar("T")


class _Job:
    """What is to be done, for whom, and what came of it."""

    __slots__ = ("error", "task", "value", "work")

    def __init__(self, work: Callable[[], Any], task: trio.lowlevel.Task | None) -> None:
        self.work = work
        self.task = task
        self.value: Any = None
        self.error: BaseException | None = None


class FileThread:
    """A thread of its own for work that blocks, a piece at a time. Ended by `end`."""

    def __init__(self, name: str) -> None:
        """`name` is what a debugger shows. In a trio task only."""
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # a daemon: a program that dies does not wait for it, nor for a disk that hangs
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` gives or raises, after all that was asked for before. Not cancelled once begun."""
        await trio.lowlevel.checkpoint_if_cancelled()
        job = _Job(work, trio.lowlevel.current_task())
        self._jobs.put(job)
        await trio.lowlevel.wait_task_rescheduled(_not_now)
        if job.error is not None:
            error, job.error = job.error, None  # else it would hold itself by its traceback
            raise error
        return cast(T, job.value)

    def later(self, work: Callable[[], None]) -> None:
        """Have something done that nobody waits for, and that raises nothing."""
        self._jobs.put(_Job(work, None))

    def end(self) -> None:
        """No more comes; the thread ends once it has done what was asked for."""
        self._jobs.put(None)

    def _work(self) -> None:
        take, tell = self._jobs.get, self._token.run_sync_soon
        while (job := take()) is not None:
            try:
                job.value = job.work()
            except BaseException as error:  # whoever waits for it gets it
                job.error = error
            if job.task is not None:
                with suppress(trio.RunFinishedError):  # nobody is left who waits
                    tell(trio.lowlevel.reschedule, job.task)
            del job  # nothing is held while there is nothing to do


def _not_now(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
