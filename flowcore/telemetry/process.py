"""What the node's process takes of the machine, as the kernel says (proc(5))."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator

from flowcore.telemetry.metrics import Kind, Metric, Reading, gauge

CPU = Metric(
    "process.cpu.time",
    Kind.COUNTER,
    "s",
    "Processor time taken.",
    ("cpu_mode",),
    usual="process_cpu_seconds_total",
)
MEMORY = Metric(
    "process.memory.usage",
    Kind.GAUGE,
    "By",
    "Resident memory, without that of child processes.",
    usual="process_resident_memory_bytes",
)
VIRTUAL = Metric(
    "process.memory.virtual",
    Kind.GAUGE,
    "By",
    "Virtual memory.",
    usual="process_virtual_memory_bytes",
)
FILES = Metric(
    "process.unix.file_descriptor.count",
    Kind.GAUGE,
    "{file_descriptor}",
    "Open file descriptors.",
    usual="process_open_fds",
)
MOST_FILES = Metric(
    "process.unix.file_descriptor.limit",
    Kind.GAUGE,
    "{file_descriptor}",
    "How many may be open (RLIMIT_NOFILE).",
    usual="process_max_fds",
)
THREADS = Metric(
    "process.thread.count",
    Kind.GAUGE,
    "{thread}",
    "Python threads.",
    usual="process_threads",
)
UPTIME = gauge("process.uptime", "s", "Since the process began.")
STARTED = gauge("process.start_time", "s", "When the process began, since 1970.")

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
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - began
    yield UPTIME.of(age)
    yield STARTED.of(round(time.time() - age, 2))
