"""Whether what a search reads of mapped files has been in memory lately.

The first to touch a page that is not waits for the disk, and with it everybody on its thread. The system
counts such waits for each thread (`ru_majflt` of getrusage(2)), so that nothing has to be guessed.
"""

from __future__ import annotations

import resource

_CLEAN = 50
"""So many searches one after the other without a wait say that there is none to fear."""
_FORGOTTEN = 10.0
"""Seconds without a search after which the system may have used the memory for something else."""


def waits() -> int:
    """How often this thread has waited for a page from the disk."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt


class Residence:
    """Counts searches that waited for no page. Time is given."""

    def __init__(self) -> None:
        self._clean = 0
        self._asked = float("-inf")

    def sure(self, now: float) -> bool:
        """Whether a search will hardly wait for the disk."""
        if now - self._asked > _FORGOTTEN:
            self._clean = 0
        self._asked = now
        return self._clean >= _CLEAN

    def searched(self, waited: int) -> None:
        """A search has waited for so many pages."""
        self._clean = 0 if waited else self._clean + 1
