"""What every engine hands out, whatever it agrees by: plain data; it does none of it."""

from __future__ import annotations

import attrs

from flowcore.state import LogEntry


@attrs.frozen
class Write:
    """One transaction for the storage, in this order: `reset`, then entries and hard state, then `compact`.

    When all of it is durable, say `engine.persisted(number)`; there is one write at a time. If it fails, say
    `engine.disk_failed(why)`, and never anything else about it.
    """

    number: int
    entries: list[LogEntry]
    """They follow each other; those stored from the first one's position on are replaced."""
    hard_state: bytes | None
    reset: tuple[int, int] | None = None
    """(position, term): let go of the whole log, a stored snapshot has taken its place."""
    compact: int | None = None
    """Let go of the entries up to here."""


@attrs.frozen
class ReadState:
    """What came of a linearizable read."""

    context: object
    """What was given with it."""
    position: int | None
    """A state that has applied it may answer. None: nobody can tell any more; ask again."""
