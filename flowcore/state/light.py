"""What is applied at once, on the event loop: little of it, of few rows, which waits for nothing.

The way to the thread of the file and back takes several times as long as a small command itself. What is
written goes to the pages that the system keeps in memory, without an fsync; where even that takes long, as on
a disk that cannot keep up, all goes to the thread for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from flowcore.errors import UntrustedFile
from flowcore.state.commands import PutPatterns, RemovePatterns, Touch, decode_entry
from flowcore.state.interfaces import Committed
from flowcore.state.tables import Tables
from flowcore.state.work import (
    AcquireLease,
    CancelTask,
    ClaimTask,
    EndTask,
    ProgressTask,
    ReleaseLease,
    RenewLease,
    ReserveKey,
    SettleKey,
    SubmitTask,
)

_FEW = 2
"""Entries of a batch. Where many come, larger ones in the thread cost less."""
_SMALL = 1024
"""Bytes of each of them."""
_LONG = 0.005
"""Seconds that it may hold up the event loop, before it is left to the thread."""
_PAUSE = 1.0
"""Seconds for which it is, then."""
_COMMANDS = (
    PutPatterns,
    RemovePatterns,
    Touch,
    SubmitTask,
    ClaimTask,
    ProgressTask,
    EndTask,
    CancelTask,
    ReserveKey,
    SettleKey,
    AcquireLease,
    RenewLease,
    ReleaseLease,
)
"""Those that change about as many rows as they name."""


class Light:
    """Tells batches that may be applied at once, and how long that took lately."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def may_be(self, batch: Sequence[Committed], tables: Tables) -> bool:
        """Whether a batch is light: nothing of the state expires with it, either."""
        if len(batch) > _FEW or perf_counter() < self._not_before:
            return False
        return all(_is_light(one.data, tables) for one in batch)

    def took(self, seconds: float) -> None:
        """One was applied at once, and took so long."""
        if seconds > _LONG:
            self._not_before = perf_counter() + _PAUSE


def _is_light(data: bytes, tables: Tables) -> bool:
    if len(data) > _SMALL:
        return False
    if not data:
        return True
    try:
        entry = decode_entry(data)
    except UntrustedFile:
        return False  # whoever applies it says what is wrong
    return isinstance(entry.command, _COMMANDS) and not tables.expires_by(entry.time)
