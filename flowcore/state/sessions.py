"""Sessions of clients: each sequence number is applied once, and has the same result whenever it is asked.

As in Ongaro's dissertation, section 6.3: a session is a command itself, so an expired one is refused on every
node alike and a repeated command is never taken for a new one.
"""

from __future__ import annotations

from flowcore.errors import SessionExpired
from flowcore.state.commands import CloseSession, OpenSession
from flowcore.state.results import Done, SessionOpened
from flowcore.state.tables import Tables


def open_session(tables: Tables, command: OpenSession) -> SessionOpened:
    """A session, whose id is the position of its command."""
    meta = tables.meta
    tables.put("sessions", (meta.position, command.client, meta.position, 0))
    meta.sessions += 1
    while meta.sessions > max(1, meta.limits.sessions):
        (oldest,) = tables.column("SELECT id FROM sessions ORDER BY used, id LIMIT 1")
        _forget(tables, oldest)
    return SessionOpened(position=meta.position, session=meta.position)


def close_session(tables: Tables, command: CloseSession) -> Done:
    """Forget a session; one that is not known is forgotten already."""
    _forget(tables, command.session)
    return Done(position=tables.meta.position)


def answer_of(tables: Tables, session: int, sequence: int) -> bytes | None:
    """The result that this command had before, None if it is new. Raises SessionExpired."""
    known = 0 < session < 2**63 and sequence < 2**63
    row = tables.get("sessions", "WHERE id = ?", (session,)) if known else None
    if row is None:
        raise SessionExpired(f"session {session} is not known, or not any more: open another one")
    found = tables.get("answers", "WHERE session = ? AND sequence = ?", (session, sequence))
    if found is not None:
        result: bytes = found[3]
        return result
    if sequence <= row[3]:
        raise SessionExpired(
            f"what came of sequence {sequence} of session {session} is not known any more"
            if sequence > 0
            else f"sequence numbers begin at 1, not at {sequence}"
        )
    return None


def keep_answer(tables: Tables, session: int, sequence: int, result: bytes) -> None:
    """Remember the result of a command; the oldest of all are forgotten."""
    meta = tables.meta
    row = tables.get("sessions", "WHERE id = ?", (session,))
    if row is None:
        return  # the command itself closed it, or opened one too many
    tables.put("sessions", (session, row[1], meta.position, row[3]))
    tables.put("answers", (meta.position, session, sequence, result))
    meta.answers += 1
    while meta.answers > max(1, meta.limits.answers):
        oldest = tables.get("answers", "", ())
        assert oldest is not None
        tables.delete("answers", "WHERE position = ?", (oldest[0],))
        meta.answers -= 1
        owner = tables.get("sessions", "WHERE id = ?", (oldest[1],))
        if owner is not None and owner[3] < oldest[2]:
            tables.put("sessions", (*owner[:3], oldest[2]))


def _forget(tables: Tables, session: int) -> None:
    tables.meta.sessions -= tables.delete("sessions", "WHERE id = ?", (session,))
    tables.meta.answers -= tables.delete("answers", "WHERE session = ?", (session,))
