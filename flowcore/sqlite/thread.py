"""The one thread that touches a file: what is to be done goes in, in order, and comes back with little ado.

`trio.to_thread.run_sync` names a thread, copies a context and takes a limiter's token for each call, and what
comes back goes through the queue of `run_sync_soon` and one more turn of the scheduler: three times what the
way there and back costs here, and a commit goes this way twice on each node. Here a pipe tells that something
is done, and one of those who wait watches it for all.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import trio

T = TypeVar("T")


class _Job:
    """What is being done, who waits for it, and what came of it."""

    __slots__ = ("done", "error", "task", "told", "value", "work")

    def __init__(self, work: Callable[[], Any], *, told: bool) -> None:
        self.work = work
        self.told = told
        """Whether somebody is told that it is done."""
        self.task: trio.lowlevel.Task | None = None
        """Who waits for that while another one watches the pipe."""
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None

    def wake(self) -> None:
        """Let who waits look again."""
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task)


class FileThread:
    """A thread of its own for work that blocks, a piece at a time. Ended by `end`."""

    def __init__(self, name: str) -> None:
        """`name` is what a debugger shows."""
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._under_way: deque[_Job] = deque()
        """Those that are told of, in order: the first is done first."""
        self._watched = False
        """Whether one of those who wait watches the pipe."""
        self._asked = self._ended = 0
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        weakref.finalize(self, os.close, self._read)  # the thread has ended then: it holds this
        # a daemon: a program that dies does not wait for it, nor for a disk that hangs
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` gives or raises, after all that was asked for before. Not cancelled once begun."""
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self.begin(work)()

    def begin(self, work: Callable[[], T]) -> Callable[[], Awaitable[T]]:
        """As `run`, begun when this returns; what it gives is to be called and awaited once, if at all."""
        job = _Job(work, told=True)
        self._under_way.append(job)
        self._put(job)
        return partial(self._done, job)

    async def _done(self, job: _Job) -> Any:
        """What came of it, once it is done."""
        with trio.CancelScope(shield=True):
            while not job.done:
                if self._watched:
                    job.task = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(_not_now)
                else:
                    await self._watch()
        self._tell()
        if job.error is not None:
            error, job.error = job.error, None  # else it would hold itself by its traceback
            raise error
        return job.value

    async def _watch(self) -> None:
        """Wait until something is done."""
        self._watched = True
        try:
            await trio.lowlevel.wait_readable(self._read)
        finally:
            self._watched = False
        with suppress(BlockingIOError):
            os.read(self._read, 4096)
        self._tell()

    def _tell(self) -> None:
        """Wake those whose work is done; of those who still wait the first is to watch."""
        under_way = self._under_way
        while under_way and under_way[0].done:
            under_way.popleft().wake()
        if not self._watched:
            for one in under_way:
                if one.task is not None:
                    one.wake()
                    break

    def later(self, work: Callable[[], None]) -> None:
        """Have something done that nobody waits for, and that raises nothing."""
        self._put(_Job(work, told=False))

    @property
    def idle(self) -> bool:
        """Whether all that was asked for is over: until its next `await`, who asks may touch the file."""
        return self._asked == self._ended

    def _put(self, job: _Job) -> None:
        self._asked += 1
        self._jobs.put(job)

    def end(self) -> None:
        """No more comes; the thread ends once it has done what was asked for."""
        self._jobs.put(None)

    def _work(self) -> None:
        take, pipe = self._jobs.get, self._write
        try:
            while (job := take()) is not None:
                try:
                    job.value = job.work()
                except BaseException as error:  # whoever waits for it gets it
                    job.error = error
                self._ended += 1  # by this thread alone
                if job.told:
                    job.done = True
                    with suppress(BlockingIOError):  # a full pipe tells as much
                        os.write(pipe, b"\0")
                del job  # nothing is held while there is nothing to do
        finally:
            os.close(pipe)


def _not_now(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
