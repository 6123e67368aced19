"""A child process, as those who talk with it see it."""

from __future__ import annotations

from collections.abc import Callable

import trio

from flowcore.processes.connection import Connection, Life
from flowcore.processes.exit_status import ExitStatus
from flowcore.processes.input import Input, Outgoing
from flowcore.processes.output import Lines, Source, Tail


class Process:
    """A running child process. Made by `Launcher.open_process` only, and ended with its block."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        connection: Connection,
        life: Life,
        streams: tuple[int, int, int],
        stderr_lines: int,
        on_stderr: Callable[[str], None] | None,
    ) -> None:
        self._arguments = arguments
        self._connection = connection
        self._life = life
        self._input = Input(streams[0])
        self._output = Source(streams[1])
        self._errors = Source(streams[2])
        self._tail = Tail(stderr_lines, on_stderr)
        self._drained = trio.Event()
        self._lines: Lines | None = None
        life.on_exit = self._on_exit
        if life.exited.is_set():
            self._on_exit()

    @property
    def arguments(self) -> tuple[str, ...]:
        """What was run."""
        return self._arguments

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its process group and of its session."""
        return self._life.pid

    @property
    def exit_status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        return self._life.status if self._life.exited.is_set() else None

    async def wait(self) -> ExitStatus:
        """Wait until it has ended and all of its stderr is read; how it ended."""
        await self._life.exited.wait()
        await self._drained.wait()
        return self._life.status

    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines of its stderr, the oldest first, without control characters.

        Still there when the process has ended, and complete once `wait` has returned.
        """
        return self._tail.lines()

    def lines(self, max_bytes: int = 16 << 20) -> Lines:
        """Its output, line by line: `async for line in process.lines()`. Can be asked for once."""
        if self._lines is not None:
            raise RuntimeError("the output of a process can be read once only")
        self._lines = Lines(self._output, max_bytes)
        return self._lines

    async def send_line(self, line: bytes) -> None:
        """Write one line, to which b"\\n" is added, to its stdin; see `send_all`."""
        if b"\n" in line:
            raise ValueError("a line cannot hold a newline")
        await self._input.send(line + b"\n")

    async def send_all(self, data: bytes) -> None:
        """Write all of this to its stdin, not mixed with what other tasks send.

        Waits while the process does not read: bound it with a cancel scope. A cancelled message is either
        not written at all or, if it had begun, completed in the background. Raises InputClosed.
        """
        await self._input.send(data)

    def post(self, data: bytes) -> Outgoing:
        """Begin to write this without waiting: `wait()` for it, or `withdraw()` it before it begins.

        What does not fit into the pipe is held until the process reads it, so bound how much is posted.
        """
        return self._input.post(data)

    def close_input(self) -> None:
        """Close its stdin, which many programs take as the request to end."""
        self._input.close()

    def send_signal(self, number: int) -> None:
        """Send a signal to it and to everything it has started."""
        if not self._life.gone.is_set():
            self._connection.signal(self._life, number)

    async def drain(self) -> None:
        """Read its stderr to the end."""
        try:
            await self._tail.drain(self._errors)
        finally:
            self._drained.set()

    async def flush(self) -> None:
        """Write what waits to be written, until cancelled."""
        await self._input.flush()

    async def end(self, close_grace: float, term_grace: float) -> None:
        """End it in good order: see `Launcher.open_process`. Cancelled, it leaves the rest to `kill`."""
        self._input.close()
        with trio.move_on_after(close_grace):
            await self._life.exited.wait()
        self._connection.end(self._life, term_grace)
        await self._life.gone.wait()
        await self._drained.wait()

    def close(self) -> None:
        """Close our ends of its streams."""
        self._input.close()
        self._output.close()
        self._errors.close()

    def _on_exit(self) -> None:
        self._output.process_ended()
        self._errors.process_ended()
