"""One life of the launcher program, as we see it: its channel, and the processes it started for us."""

from __future__ import annotations

import array
import os
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from flowcore.processes.background import open_background
from flowcore.processes.errors import LauncherFailed
from flowcore.processes.exit_status import ExitStatus
from flowcore.processes.launcher_program import frames

PROGRAM = Path(__file__).parent / "launcher_program"
PYTHON = (sys.executable, "-I", "-S")
"""What runs it: without site-packages, and deaf to the environment."""
START_TIMEOUT = 30.0
"""Seconds that the launcher may take to be ready; on an idle machine it takes 0.03."""
END_TIMEOUT = 15.0
"""Seconds that it may take to end everything below it; it gives itself 10."""


@attrs.define(eq=False)
class Life:
    """A process that we asked for, from the asking until nothing of it is left."""

    number: int
    settled: trio.Event = attrs.field(factory=trio.Event)
    """It runs, or it is known why not."""
    pid: int = 0
    failure: tuple[int, int] | None = None
    """Where starting it failed (frames.STEP_...), and errno."""
    exited: trio.Event = attrs.field(factory=trio.Event)
    status: ExitStatus = ExitStatus()
    gone: trio.Event = attrs.field(factory=trio.Event)
    """Nothing of it is left."""
    on_exit: Callable[[], None] | None = None

    def end(self, status: ExitStatus) -> None:
        """The process has ended."""
        if not self.exited.is_set():
            self.status = status
            self.settled.set()
            self.exited.set()
            if self.on_exit is not None:
                self.on_exit()


class Connection:
    """The channel to a running launcher."""

    def __init__(self, channel: trio.socket.SocketType, pid: int) -> None:
        self.pid = pid
        self.ready = trio.Event()
        """The launcher takes requests, or is lost."""
        self.lost = trio.Event()
        """The launcher has ended, and all its children with it."""
        self.lives: dict[int, Life] = {}
        self._channel = channel
        self._outbox: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._more = trio.Event()
        self._deaf = False

    def spawn(self, life: Life, operation: int, payload: bytes, streams: tuple[int, ...]) -> None:
        """Ask for a process by SPAWN, TEMPLATE or FORK; the file descriptors are closed once sent."""
        self.lives[life.number] = life
        if self.lost.is_set():
            life.end(ExitStatus())
        self._post(frames.frame(operation, life.number, payload), streams)

    def signal(self, life: Life, number: int) -> None:
        """Send a signal to everything of a process."""
        self._post(frames.frame(frames.SIGNAL, life.number, bytes([number])))

    def end(self, life: Life, grace: float) -> None:
        """Ask for the end of everything of a process: SIGTERM, and SIGKILL after `grace` seconds."""
        self._post(frames.frame(frames.END, life.number, struct.pack("<d", grace)))

    def _post(self, frame: bytes, streams: tuple[int, ...] = ()) -> None:
        self._outbox.append((frame, streams))
        self._more.set()
        if self._deaf:
            self._forget_all()

    async def send(self) -> None:
        """Send what was asked for, until cancelled."""
        try:
            while True:
                await self._more.wait()
                self._more = trio.Event()
                while self._outbox:
                    await self._send_frame(*self._outbox[0])
                    self._forget_first()
        except OSError:  # it is lost: `receive` tells
            return
        finally:
            self._deaf = True
            self._forget_all()

    async def _send_frame(self, frame: bytes, streams: tuple[int, ...]) -> None:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))
        sent = await self._channel.sendmsg([frame], [rights] if streams else [])
        while sent < len(frame):
            sent += await self._channel.send(memoryview(frame)[sent:])

    def _forget_all(self) -> None:
        while self._outbox:
            self._forget_first()

    def _forget_first(self) -> None:
        _, streams = self._outbox.popleft()
        for stream in streams:
            os.close(stream)

    async def receive(self) -> None:
        """Take in what the launcher reports, until it is lost."""
        inbox = bytearray()
        while data := await self._read():
            inbox += data
            for operation, number, payload in frames.take_frames(inbox):
                self._take(operation, number, payload)
        self.lost.set()
        self.ready.set()
        for life in self.lives.values():
            life.end(ExitStatus())

    async def _read(self) -> bytes:
        try:
            return await self._channel.recv(65536)
        except ConnectionError:
            return b""

    def _take(self, operation: int, number: int, payload: bytes) -> None:
        if operation == frames.READY:
            self.ready.set()
            return
        life = self.lives[number]
        if operation == frames.STARTED:
            (life.pid,) = struct.unpack("<I", payload)
            life.settled.set()
        elif operation == frames.EXITED:
            life.end(ExitStatus.from_wait_status(struct.unpack("<i", payload)[0]))
        else:
            del self.lives[number]
            if operation == frames.FAILED:
                life.failure = frames.FAILURE.unpack(payload)
                life.settled.set()
            life.gone.set()

    async def close(self) -> None:
        """Let it end: returns when nothing below it is left."""
        try:
            self._channel.shutdown(socket.SHUT_WR)
            while await self._read():
                pass
        except OSError:  # it has ended before
            return


def _start(
    channel: socket.socket, marker: str, bereft: Sequence[int] | None
) -> subprocess.Popen[bytes]:
    command = [*PYTHON, str(PROGRAM), str(channel.fileno()), str(os.getpid()), marker]
    try:
        return subprocess.Popen(
            command if bereft is None else [*command, "sweep", *map(str, bereft)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[channel.fileno()],
            start_new_session=True,  # a Ctrl-C at the terminal is not meant for it
        )
    except OSError as error:
        raise LauncherFailed(
            f"the launcher of child processes cannot be started: {error}"
        ) from error


@asynccontextmanager
async def open_connection(
    marker: str, *, bereft: Sequence[int] | None
) -> AsyncGenerator[Connection]:
    """Start the launcher program; leaving the block ends it, and everything that it started.

    Unless `bereft` is None, it first ends what a killed launcher of this marker has left: these processes,
    and what they have started. Raises LauncherFailed.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = _start(theirs, marker, bereft)
        theirs.close()
        ours.setblocking(False)
        connection = Connection(trio.socket.from_stdlib_socket(ours), program.pid)
        try:
            async with open_background() as background:
                background.start_soon(connection.receive)
                background.start_soon(connection.send)
                with trio.move_on_after(START_TIMEOUT):
                    await connection.ready.wait()
                if connection.lost.is_set() or not connection.ready.is_set():
                    raise LauncherFailed("the launcher of child processes did not start")
                yield connection
        finally:
            with trio.CancelScope(shield=True):
                with trio.move_on_after(END_TIMEOUT) as patience:
                    await connection.close()
                if patience.cancelled_caught:
                    program.kill()
                await trio.to_thread.run_sync(program.wait)
