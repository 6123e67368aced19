"""How long threads have waited for a processor: what a busy machine adds to any time that the wall shows.

The system counts, for each thread, the time that it could have run and was not let (`schedstat` of proc(5)).
A loop that got its turn late because another program had the processor was not held by us; one that waited
for a thread which holds the interpreter was, but for the time that another program took from that thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class Waiting:
    """The waits of the threads that there were when it was opened."""

    def __init__(self, files: list[int]) -> None:
        self._files = files

    def __call__(self) -> float:
        """Seconds so far, of all of them together."""
        return sum(int(os.pread(file, 64, 0).split()[1]) for file in self._files) / 1e9


@contextmanager
def waiting() -> Iterator[Waiting]:
    """Those of the process's threads that there are now; none where the system does not count."""
    folder = "/proc/self/task"
    files: list[int] = []
    try:
        for thread in os.listdir(folder):
            try:
                files.append(os.open(f"{folder}/{thread}/schedstat", os.O_RDONLY))
            except FileNotFoundError:  # it has just ended, or nothing is counted
                continue
        yield Waiting(files)
    finally:
        for file in files:
            os.close(file)
