"""Who descends from this process, as /proc shows it."""

from __future__ import annotations

import contextlib
import os
import signal

_PF_EXITING = 0x4
"""Of the flags in /proc/PID/stat (include/linux/sched.h)."""


class Kin:
    """A process below us as /proc shows it."""

    __slots__ = ("group", "parent", "pid", "session")

    def __init__(self, pid: int, parent: int, group: int, session: int) -> None:
        self.pid = pid
        self.parent = parent
        self.group = group
        self.session = session


def kin(pid: int) -> Kin | None:
    """What /proc says of a process; None if it is gone or only its exit status is left."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # the name, in parentheses, may hold anything; the fields after it are plain
            state, *fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if state in (b"Z", b"X") and int(fields[16]) < 2:  # else only its first thread has ended
        return None
    parent, group, session = map(int, fields[:3])
    return Kin(pid, parent, group, session)


def every_pid() -> list[int]:
    """The ids of all processes there are."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def children_of(pid: int) -> list[int]:
    """The ids of a process's own children, those whose exit status is all that is left included.

    Empty if it is gone. Raises FileNotFoundError on a kernel without CONFIG_PROC_CHILDREN.
    """
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        if pid == os.getpid():
            raise
    return found


def _children_by_parent() -> dict[int, list[int]]:
    table: dict[int, list[int]] = {}
    for pid in every_pid():
        one = kin(pid)
        if one is not None:
            table.setdefault(one.parent, []).append(pid)
    return table


def descendants() -> dict[int, Kin]:
    """Every living process below this one, parents before their children."""
    me = os.getpid()
    try:
        todo = children_of(me)
        more = children_of
    except FileNotFoundError:
        table = _children_by_parent()
        todo = table.get(me, [])
        more = lambda pid: table.get(pid, [])  # noqa: E731
    found: dict[int, Kin] = {}
    for pid in todo:  # which grows as we go
        one = kin(pid)
        if one is not None and pid not in found:
            found[pid] = one
            todo += more(pid)
    return found


def carries(pid: int, mark: bytes) -> bool:
    """Whether a process was started with `mark` (NAME=VALUE or the beginning of it) in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"\0" + mark in b"\0" + file.read()
    except OSError:  # gone, or another user's: then it is none of ours
        return False


def dying(pid: int) -> bool:
    """Whether a process has given up its memory, and is about to end."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return not file.read(1)
    except OSError:  # a newer kernel (6.18) refuses to open what an older one shows as empty
        return exiting(pid)


def exiting(pid: int) -> bool:
    """Whether a process has begun to end, and is not yet an exit status; its environment cannot be read."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in (b"Z", b"X") and bool(int(fields[5]) & _PF_EXITING)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process (to a group, if negative) that may be gone already, or not be ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
