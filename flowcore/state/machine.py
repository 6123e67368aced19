"""The state machine: entries of the log, applied in order, by what is in them and in the state alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from msgspec import Struct

from flowcore.errors import CallError, SessionExpired, UntrustedFile
from flowcore.state.checks import check
from flowcore.state.commands import (
    CloseSession,
    Command,
    Entry,
    GiveFeedback,
    OpenSession,
    PutPatterns,
    Reembed,
    ReembedFeedback,
    RemovePatterns,
    Retrain,
    SetLimits,
    Tidy,
    Touch,
    decode_entry,
)
from flowcore.state.interfaces import Committed
from flowcore.state.lessons import give_feedback, reembed_feedback, retrain
from flowcore.state.patterns import expire, put_patterns, reembed, remove_patterns, shrink, touch
from flowcore.state.results import Done, Refused, Result, decode_result, encode_result
from flowcore.state.sessions import answer_of, close_session, keep_answer, open_session
from flowcore.state.tables import Tables, Undone
from flowcore.state.working import do_work, expire_work

LATEST = 1e11
"""Seconds since 1970, beyond all sense: a clock that says more is not believed."""


class Applied(Struct, frozen=True):
    """What became of one entry."""

    position: int
    entry: Entry | None
    """None for an entry of the engine's own."""
    result: Result
    again: bool = False
    """Whether it had been applied before, and only its result was given."""


class Machine:
    """The state, changed by one thread at a time. Sans-IO but for its tables; no clock, no chance."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._tables = Tables(connection)

    @property
    def position(self) -> int:
        """The last entry that was applied."""
        return self._tables.meta.position

    @property
    def tables(self) -> Tables:
        """The rows."""
        return self._tables

    def apply(self, entries: Sequence[Committed]) -> list[Applied]:
        """Apply entries in one transaction; how they are cut into batches makes no difference.

        Raises UntrustedFile for an entry that does not follow or cannot be understood, and sqlite3.Error:
        nothing of the batch has happened then.
        """
        try:
            return self._batch(entries, undoing=False)
        except Undone:  # which is rare: most that are refused have changed nothing before
            return self._batch(entries, undoing=True)

    def _batch(self, entries: Sequence[Committed], *, undoing: bool) -> list[Applied]:
        tables = self._tables
        made = []
        with tables.batch(undoing=undoing):
            for committed in entries:
                if committed.position != tables.meta.position + 1:
                    raise UntrustedFile(
                        f"entry {committed.position} does not follow {tables.meta.position},"
                        " the last one applied"
                    )
                tables.meta.position = committed.position
                made.append(self._apply(committed))
        return made

    def _apply(self, committed: Committed) -> Applied:
        position, meta = committed.position, self._tables.meta
        if not committed.data:
            return Applied(position, None, Done(position=position))
        entry = decode_entry(committed.data)
        if 0 <= entry.time <= LATEST:
            meta.time = max(meta.time, entry.time + 0.0)
        if self._tables.overdue():
            expire(self._tables)
            expire_work(self._tables)
        if not entry.session:
            return Applied(position, entry, self._result(entry.command))
        try:
            found = answer_of(self._tables, entry.session, entry.sequence)
        except SessionExpired as error:
            return Applied(position, entry, Refused(error).result(position))
        if found is not None:
            return Applied(position, entry, decode_result(found), again=True)
        result = self._result(entry.command)
        keep_answer(self._tables, entry.session, entry.sequence, encode_result(result))
        return Applied(position, entry, result)

    def _result(self, command: Command) -> Result:
        try:
            with self._tables.attempt():
                try:
                    check(command)
                    return self._do(command)
                except CallError as error:
                    raise Refused(error) from error
        except Refused as refused:
            return refused.result(self._tables.meta.position)

    def _do(self, command: Command) -> Result:
        tables = self._tables
        match command:
            case PutPatterns():
                return put_patterns(tables, command)
            case RemovePatterns():
                return remove_patterns(tables, command)
            case Touch():
                return touch(tables, command)
            case GiveFeedback():
                return give_feedback(tables, command)
            case Retrain():
                return retrain(tables)
            case Reembed():
                return reembed(tables, command)
            case ReembedFeedback():
                return reembed_feedback(tables, command)
            case OpenSession():
                return open_session(tables, command)
            case CloseSession():
                return close_session(tables, command)
            case SetLimits():
                tables.meta.limits = command.limits
            case Tidy():
                shrink(tables)
            case _:
                return do_work(tables, command)
        return Done(position=tables.meta.position)
