"""Waiting for processes that are not ours to end, without sleeping."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import trio


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only its exit status."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


async def wait_dead(pids: Iterable[int], seconds: float = 60) -> None:
    """Return when each of these processes has ended. Raises trio.TooSlowError."""
    with trio.fail_after(seconds):
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                await trio.lowlevel.wait_readable(fd)
            finally:
                os.close(fd)


def open_fds() -> set[str]:
    """The file descriptors this process has open, each with what it is open for.

    Compare as sets: what an earlier test left may be closed at any time, what is new must not be there.
    """
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that with which the list was read
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return found


def children() -> set[int]:
    """The processes whose parent is this one, zombies included."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found |= set(map(int, (task / "children").read_text().split()))
    return found
