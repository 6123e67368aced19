"""The launcher itself: starts, watches and ends processes as it is told."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import time

from flowcore.processes.launcher_program.birth import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_NAME,
    give_birth,
    prctl,
)
from flowcore.processes.launcher_program.frames import (
    END,
    EXITED,
    FAILED,
    FAILURE,
    FORK,
    GONE,
    MARK,
    PID,
    READY,
    SIGNAL,
    SPAWN,
    STARTED,
    STEP_FORK,
    STEP_TEMPLATE,
    TEMPLATE,
    frame,
    mark_of,
    take_frames,
)
from flowcore.processes.launcher_program.kinship import (
    Kin,
    carries,
    children_of,
    descendants,
    dying,
    every_pid,
    exiting,
    kill,
    kin,
)


class Child:
    """A process we started, until nothing of it is left and we were asked to end it."""

    def __init__(self, number: int, pid: int, fault: int) -> None:
        self.number = number
        self.pid = pid
        """0 as long as a template has not forked it, and it has not told its id."""
        self.fault = fault
        """The reading end of a pipe that closes when the program runs, or says why not; -1 once read."""
        self.channel: socket.socket | None = None
        """To a template: which forks it is asked for."""
        self.reaped = False
        self.kill_at: float | None = None
        """Set once it is to end: when what is left of it is killed."""


class Launcher:
    """Starts, watches and ends processes, as the frames on its channel say, until the channel ends."""

    def __init__(self, channel: socket.socket, parent: int, marker: str) -> None:
        self.pid = os.getpid()
        self.channel = channel
        self.parent = parent
        self.marker = marker
        self.children: dict[int, Child] = {}
        self.by_pid: dict[int, Child] = {}
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.streams: list[int] = []
        self.poll = select.poll()
        self.watched: dict[int, Child] = {}
        self.alive = True

    def run(self) -> None:
        """Serve until our parent is gone, then leave nothing behind."""
        self.channel.setblocking(False)
        waking, woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        self.poll.register(waking, select.POLLIN)
        self.poll.register(self.channel, select.POLLIN)
        parent = -1
        with contextlib.suppress(OSError):  # Linux before 5.3: then the end of the channel must do
            parent = os.pidfd_open(self.parent)
            self.poll.register(parent, select.POLLIN)
        if os.getppid() != self.parent:
            self.alive = False
        self.report(READY, 0)
        channel = self.channel.fileno()
        while self.alive:
            for ready, what in self.poll.poll(self.go_on_ending()):
                if ready == channel:
                    if what & select.POLLOUT:
                        self.flush()
                    if what & ~select.POLLOUT:
                        self.receive()
                elif ready == waking:
                    os.read(waking, 4096)
                    self.reap()
                elif ready in self.watched:
                    self.settle(self.watched[ready])
                elif ready == parent:  # it is gone, whoever may still hold its end of the channel
                    self.alive = False
        self.end_everything()

    # ---- the channel

    def receive(self) -> None:
        space = socket.CMSG_SPACE(64 * 4)
        try:
            data, extra, _, _ = self.channel.recvmsg(65536, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            self.alive = False
            return
        for level, kind, content in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.streams += struct.unpack(f"{len(content) // 4}i", content)
        if not data:
            self.alive = False
            return
        self.inbox += data
        for operation, number, payload in take_frames(self.inbox):
            if operation in (SPAWN, TEMPLATE, FORK):
                streams, self.streams[:3] = self.streams[:3], []
                try:
                    if operation == FORK:
                        self.fork(number, streams, payload)
                    else:
                        self.spawn(number, streams, payload, template=operation == TEMPLATE)
                finally:
                    for stream in streams:
                        os.close(stream)
            elif number in self.children:
                child = self.children[number]
                if operation == SIGNAL:
                    self.signal(child, payload[0])
                elif operation == END:
                    self.end(child, struct.unpack("<d", payload)[0])

    def report(self, operation: int, number: int, payload: bytes = b"") -> None:
        self.outbox += frame(operation, number, payload)
        self.flush()

    def flush(self) -> None:
        try:
            del self.outbox[: self.channel.send(self.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.alive = False
            return
        self.poll.modify(self.channel, select.POLLIN | (select.POLLOUT if self.outbox else 0))

    # ---- the life of a child

    def spawn(self, number: int, streams: list[int], payload: bytes, *, template: bool) -> None:
        ours = theirs = None
        try:
            if template:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                ours.setblocking(False)
            pid, fault = give_birth(streams, payload, theirs.fileno() if theirs else -1)
        except OSError as error:
            self.report(FAILED, number, FAILURE.pack(STEP_FORK, error.errno or 0))
            if ours is not None:
                ours.close()
            return
        finally:
            if theirs is not None:
                theirs.close()
        child = self.await_birth(number, pid, fault)
        child.channel = ours
        self.by_pid[pid] = child

    def fork(self, number: int, streams: list[int], payload: bytes) -> None:
        """Ask a template for a child: it becomes ours, and tells its id through its `fault` pipe."""
        template = self.children.get(*PID.unpack_from(payload))
        if template is None or template.channel is None:
            self.report(FAILED, number, FAILURE.pack(STEP_TEMPLATE, 0))
            return
        fault, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            socket.send_fds(template.channel, [payload[PID.size :]], [*streams, tell])
        except OSError as error:
            os.close(fault)
            self.report(FAILED, number, FAILURE.pack(STEP_TEMPLATE, error.errno or 0))
        else:
            self.await_birth(number, 0, fault)
        finally:
            os.close(tell)

    def await_birth(self, number: int, pid: int, fault: int) -> Child:
        child = Child(number, pid, fault)
        self.children[number] = self.watched[fault] = child
        self.poll.register(fault, select.POLLIN)
        return child

    def settle(self, child: Child) -> None:
        """The program runs, or has told why it cannot; if it has not said anything yet, wait on."""
        try:
            said = os.read(child.fault, FAILURE.size)
        except BlockingIOError:
            return
        self.poll.unregister(child.fault)
        del self.watched[child.fault]
        os.close(child.fault)
        child.fault = -1
        if not child.pid:
            if len(said) == PID.size:
                (child.pid,) = PID.unpack(said)
                self.by_pid[child.pid] = child
                said = b""
            else:
                said = said or FAILURE.pack(STEP_TEMPLATE, 0)
        if said:
            del self.children[child.number]
            self.report(FAILED, child.number, said)
        else:
            self.report(STARTED, child.number, PID.pack(child.pid))

    def child_of(self, pid: int) -> Child | None:
        """The child that has ended with this id, no more to be found by it; None if it is an orphan."""
        if pid not in self.by_pid:  # it may have told its id just before it ended
            for child in [one for one in self.watched.values() if not one.pid]:
                self.settle(child)
        return self.by_pid.pop(pid, None)

    def reap(self) -> bool:
        """Take the exit status of everything that ended, orphans too. False if no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            child = self.child_of(pid)
            if child is not None:
                child.reaped = True
                if child.channel is not None:
                    child.channel.close()
                    child.channel = None
                if child.fault >= 0:
                    self.settle(child)
                if child.number in self.children:
                    self.report(EXITED, child.number, struct.pack("<i", status))

    def everything_of(self, child: Child) -> dict[int, Kin]:
        """The living processes that a child is and has started."""
        if child.reaped and not self.strays():
            return {}
        mark = f"{MARK}={mark_of(self.marker, child.number)}\0".encode()
        mine: dict[int, Kin] = {}
        for pid, one in descendants().items():
            if (
                pid == child.pid
                or one.parent in mine
                or child.pid in (one.group, one.session)
                or (one.parent == self.pid and pid not in self.by_pid and self.is_of(pid, mark))
            ):
                mine[pid] = one
        return mine

    def is_of(self, stray: int, mark: bytes) -> bool:
        """Whether a stray comes from the child of this mark: if there is no other, it must.

        Whose one is that is just ending cannot be read any more: it may be anybody's, and is waited for.
        """
        return len(self.children) == 1 or carries(stray, mark) or exiting(stray)

    def strays(self) -> bool:
        """Whether there may be children of ours that we did not start: orphans that came to us."""
        try:
            return any(pid not in self.by_pid for pid in children_of(self.pid))
        except FileNotFoundError:
            return True

    def signal(self, child: Child, number: int) -> None:
        found = self.everything_of(child)
        # its group in one stroke, so that none of it forks away meanwhile; the number of a group can only be
        # another's by now if nobody of ours is in it
        group = not child.reaped or any(one.group == child.pid for one in found.values())
        if group:
            kill(-child.pid, number)
        for pid, one in found.items():
            if not group or one.group != child.pid:
                kill(pid, number)

    def end(self, child: Child, grace: float) -> None:
        if grace > 0 and child.kill_at is None and child.pid:
            self.signal(child, signal.SIGTERM)
        at = time.monotonic() + grace
        child.kill_at = at if child.kill_at is None else min(child.kill_at, at)

    def go_on_ending(self) -> int | None:
        """Go on with the children that are to end; in how many ms to look again, None if none ends.

        SIGCHLD wakes us meanwhile: whatever is left of a child that has ended has come to us.
        """
        if not any(one.kill_at is not None for one in self.children.values()):
            return None
        self.reap()
        # one that is not born yet is ended once it is
        leaving = [one for one in self.children.values() if one.kill_at is not None and one.pid]
        now = time.monotonic()
        soonest = float("inf")
        for child in leaving:
            assert child.kill_at is not None
            if child.reaped and not self.everything_of(child):
                if self.children.pop(child.number, None) is not None:
                    self.report(GONE, child.number)
            elif now >= child.kill_at:
                self.signal(child, signal.SIGKILL)
                soonest = min(soonest, 0.005)
            else:
                soonest = min(soonest, child.kill_at - now)
        return None if soonest == float("inf") else int(soonest * 1000) + 1

    # ---- the end

    def end_everything(self) -> None:
        """Kill and reap until no process is below us; what even SIGKILL cannot end now is left after 10 s."""
        give_up = time.monotonic() + 10.0
        while self.reap() and time.monotonic() < give_up:
            for pid in descendants():
                kill(pid)
            time.sleep(0.002)


def sweep(marker: str, known: set[int]) -> None:
    """Kill what a launcher of this marker left behind when it was killed itself, and wait for its end.

    `known` are the processes it had started, which are dying already.
    """
    mark = f"{MARK}={marker}.".encode()
    left = known
    give_up = time.monotonic() + 10.0
    while time.monotonic() < give_up:
        left = left.union(pid for pid in every_pid() if carries(pid, mark))
        left = {pid for pid in left if kin(pid) and (carries(pid, mark) or dying(pid))}
        if not left:
            return
        for pid in left:
            kill(pid)
        time.sleep(0.002)


def main(channel: int, parent: int, marker: str, bereft: set[int] | None) -> None:
    """Be the launcher on this channel, after one that was killed and left these processes, if any."""
    os.set_inheritable(channel, False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_NAME, b"flow-launcher")
    # it ends with its parent and not before: what is sent to the whole service is not meant for it
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if bereft is not None:
        sweep(marker, bereft)
    gc.disable()
    gc.freeze()  # forks share the pages
    Launcher(socket.socket(fileno=channel), parent, marker).run()
