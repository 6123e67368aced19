"""What is written to a process: whole messages, one after the other, however slowly it reads."""

from __future__ import annotations

import contextlib
import os
from collections import deque

import attrs
import trio

from flowcore.processes.errors import InputClosed


@attrs.define(eq=False)
class _Message:
    """A message that did not fit into the pipe at once."""

    left: memoryview
    begun: bool
    """Some of it is in the pipe, so the rest must follow, whoever still waits for it."""
    done: trio.Event = attrs.field(factory=trio.Event)
    failure: InputClosed | None = None


class Input:
    """The writing end of a process's stdin.

    Messages never interleave. Each sender waits until its own message is in the pipe, so that no more is held
    than the senders themselves hold; one that gives up takes its message along, unless it has begun: then the
    rest of it is written in the background, so that the process never sees half a message.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: deque[_Message] = deque()
        self._more = trio.Event()

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._fd < 0

    async def send(self, data: bytes) -> None:
        """Write all of `data`. Raises InputClosed if the process reads no more."""
        await trio.lowlevel.checkpoint()
        written = 0
        if not self._queue:
            written = self._write(data)
            if written == len(data):
                return
        elif self.closed:
            raise _closed()
        message = _Message(memoryview(data)[written:], begun=written > 0)
        self._queue.append(message)
        self._more.set()
        try:
            await message.done.wait()
        except trio.Cancelled:
            if not message.begun and message in self._queue:
                self._queue.remove(message)
            raise
        if message.failure is not None:
            raise message.failure

    async def flush(self) -> None:
        """Write what waits, for ever."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            with contextlib.suppress(InputClosed, trio.ClosedResourceError):
                await self._flush_queue()

    async def _flush_queue(self) -> None:
        while self._queue:
            await trio.lowlevel.wait_writable(self._fd)
            if not self._queue:  # its sender gave up meanwhile
                return
            message = self._queue[0]
            written = self._write(message.left)
            if written:
                message.begun = True
                message.left = message.left[written:]
            if not message.left:
                self._queue.popleft()
                message.done.set()

    def _write(self, data: bytes | memoryview) -> int:
        """Write what fits now; the number of bytes."""
        if self.closed:
            raise _closed()
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self.close()
            raise _closed() from None

    def close(self) -> None:
        """Close it: the process sees the end of its input, and who still waits to write InputClosed."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            trio.lowlevel.notify_closing(fd)
            os.close(fd)
        while self._queue:
            message = self._queue.popleft()
            message.failure = _closed()
            message.done.set()


def _closed() -> InputClosed:
    return InputClosed("the process takes no more input")
