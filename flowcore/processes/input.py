"""What is written to a process: whole messages, one after the other, however slowly it reads."""

from __future__ import annotations

import contextlib
import os
from collections import deque

import trio

from flowcore.processes.errors import InputClosed


class Outgoing:
    """A message on its way into a process. Made by `Process.post`."""

    __slots__ = ("_begun", "_done", "_failure", "_input", "_left")

    def __init__(self, input_: Input, data: bytes) -> None:
        self._input = input_
        self._left: memoryview | bytes = data
        self._begun = False
        self._done: trio.Event | None = None
        self._failure: InputClosed | None = None

    @property
    def begun(self) -> bool:
        """Whether some of it is written, so that the rest must and will follow."""
        return self._begun

    @property
    def settled(self) -> bool:
        """Whether all of it is written, or taken back; False also for what failed."""
        return not self._left and self._failure is None

    async def wait(self) -> None:
        """Wait until all of it is written, or taken back. Raises InputClosed if it cannot be."""
        await trio.lowlevel.checkpoint()
        if self._left:
            self._done = trio.Event()
            await self._done.wait()
        if self._failure is not None:
            raise self._failure

    def withdraw(self) -> bool:
        """Take it back, if it has not begun; whether it was taken back."""
        return not self._begun and self._input.take_back(self)

    def advance(self, written: int) -> None:
        """So many further bytes are written."""
        if written:
            self._begun = True
            self._left = memoryview(self._left)[written:] if written < len(self._left) else b""
        if not self._left and self._done is not None:
            self._done.set()

    @property
    def left(self) -> memoryview | bytes:
        """What is still to be written."""
        return self._left

    def fail(self) -> None:
        """The rest of it cannot be written."""
        self._failure = InputClosed("the process takes no more input")
        self.forget()

    def forget(self) -> None:
        """The rest of it will not be written."""
        self._left = b""
        if self._done is not None:
            self._done.set()


class Input:
    """The writing end of a process's stdin. Messages never interleave."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: deque[Outgoing] = deque()
        self._more = trio.Event()

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._fd < 0

    def post(self, data: bytes) -> Outgoing:
        """Write what the pipe takes now, and the rest in the background."""
        message = Outgoing(self, data)
        if not self._queue:
            self._write(message)
        if self.closed:
            message.fail()
        elif message.left:
            self._queue.append(message)
            self._more.set()
        return message

    async def send(self, data: bytes) -> None:
        """Write all of `data`; see `Process.send_all`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        message = self.post(data)
        try:
            await message.wait()
        except trio.Cancelled:
            message.withdraw()
            raise

    def take_back(self, message: Outgoing) -> bool:
        """Forget a message that waits."""
        if message not in self._queue:
            return False
        self._queue.remove(message)
        message.forget()
        return True

    async def flush(self) -> None:
        """Write what waits, for ever."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            with contextlib.suppress(trio.ClosedResourceError):
                while self._queue:
                    await trio.lowlevel.wait_writable(self._fd)
                    if self._queue:  # its sender may have taken it back meanwhile
                        self._write(self._queue[0])
                        if self._queue and not self._queue[0].left:
                            self._queue.popleft()

    def _write(self, message: Outgoing) -> None:
        """Write what fits now."""
        if self.closed:
            return
        try:
            message.advance(os.write(self._fd, message.left))
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.close()

    def close(self) -> None:
        """Close it: the process sees the end of its input, and who still waits to write InputClosed."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            trio.lowlevel.notify_closing(fd)
            os.close(fd)
        while self._queue:
            self._queue.popleft().fail()
