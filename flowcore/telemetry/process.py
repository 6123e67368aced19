"""What the node's process takes of the machine, as the kernel says (proc(5))."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator

from flowcore.telemetry.metrics import Reading, counter, gauge

CPU = counter("process.cpu.time", "s", "Processor time taken.", "cpu_mode")
MEMORY = gauge("process.memory.usage", "By", "Resident memory, without that of child processes.")
VIRTUAL = gauge("process.memory.virtual", "By", "Virtual memory.")
FILES = gauge("process.unix.file_descriptor.count", "{file_descriptor}", "Open file descriptors.")
MOST_FILES = gauge(
    "process.unix.file_descriptor.limit",
    "{file_descriptor}",
    "How many may be open (RLIMIT_NOFILE).",
)
THREADS = gauge("process.thread.count", "{thread}", "Python threads.")
UPTIME = gauge("process.uptime", "s", "Since the process began.")

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def read_process() -> list[Reading]:
    """All of it. It asks the kernel, for up to milliseconds where many files are open: in a thread."""
    return list(_read())


def _read() -> Iterator[Reading]:
    times = os.times()
    yield CPU.of(times.user, "user")
    yield CPU.of(times.system, "system")
    yield THREADS.of(threading.active_count())
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield MOST_FILES.of(None if soft == resource.RLIM_INFINITY else soft)
    try:
        with open("/proc/self/statm", "rb") as file:
            virtual, resident = file.read().split()[:2]
        with open("/proc/self/stat", "rb") as file:
            began = int(file.read().rpartition(b")")[2].split()[19]) / _TICKS
        files = len(os.listdir("/proc/self/fd")) - 1  # one is what it is read by
    except (OSError, ValueError, IndexError):
        return  # no Linux: the rest is not known, and not told
    yield MEMORY.of(int(resident) * _PAGE)
    yield VIRTUAL.of(int(virtual) * _PAGE)
    yield FILES.of(files)
    yield UPTIME.of(time.clock_gettime(time.CLOCK_BOOTTIME) - began)
