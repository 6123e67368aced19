"""What can be asked of a live state, without changing it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from flowcore.errors import InvalidArguments, StateUnavailable
from flowcore.state import reads, work_reads
from flowcore.state.files import READERS, StateFile
from flowcore.state.gate import Gate
from flowcore.state.interfaces import Consensus
from flowcore.state.reads import Order
from flowcore.state.records import Changes, Counts, Lessons, Page, Pattern, ReadLevel
from flowcore.state.snapshot import frames
from flowcore.state.tables import read_meta
from flowcore.state.work import Owner
from flowcore.state.work_reads import KeyState, Lease, Revocation, Task, TaskPage

T = TypeVar("T")
Clock = Callable[[], float]

PAGE = 1000
"""Rows that one read gives at most."""


class Readable:
    """A state as its readers see it: where it is, and what is in it then."""

    def __init__(self, consensus: Consensus, file: StateFile, clock: Clock, position: int) -> None:
        self._consensus = consensus
        self._file = file
        self._clock = clock
        self._readers = trio.CapacityLimiter(READERS)
        self._gate = Gate()
        self._changed = trio.Event()
        self._position = position
        self._stuck = ""
        """Why what is committed cannot be applied now; empty while it can."""

    # ---- its end

    async def close_reads(self) -> None:
        """Let no read begin, and wait for those that are in a thread."""
        await self._gate.close()

    def end_reads(self) -> None:
        """The file is closed."""
        self._gate.finish()

    # ---- where it is

    @property
    def position(self) -> int:
        """The last entry that is applied here."""
        return self._position

    @property
    def durable(self) -> bool:
        """Whether it is still there when the node starts again."""
        return self._consensus.durable

    @property
    def identity(self) -> str:
        """Which state this is: the positions and ids of another one mean nothing here."""
        return self._consensus.identity

    @property
    def consensus(self) -> Consensus:
        """What puts its commands into one order; for those who operate it."""
        return self._consensus

    async def wait_applied(self, after: int) -> int:
        """Wait until something after a position is applied; the position then."""
        while self._position <= after:
            await self._changed.wait()
        return self._position

    async def wait_readable(self, level: ReadLevel) -> int:
        """Wait until what is applied here is enough for a read of this level; how far that is, at least.

        Raises StateUnavailable, but where stale.
        """
        if level is ReadLevel.STALE:
            return self._position
        barrier = await self._consensus.read_barrier(leased=level is ReadLevel.LEASED)
        while self._position < barrier:
            self._refuse_stuck()
            await self._changed.wait()
        return barrier

    def _refuse_stuck(self) -> None:
        """Raises StateUnavailable while what is committed cannot be applied here."""
        if self._stuck:
            raise StateUnavailable(
                f"{self._stuck}: what is committed cannot be applied until there is",
                retry_after=1.0,
            )

    def _move(self) -> None:
        """Wake who waits for the position, or for news of why it does not move."""
        self._changed.set()
        self._changed = trio.Event()

    async def _read(self, level: ReadLevel, work: Callable[[sqlite3.Connection], T]) -> T:
        await self.wait_readable(level)

        def read() -> T:
            with self._file.reading() as connection:
                return work(connection)

        try:
            with self._gate.passing():
                return await trio.to_thread.run_sync(read, limiter=self._readers)
        except (
            UnicodeEncodeError,
            OverflowError,
        ) as error:  # there is nothing of that name or number
            raise InvalidArguments(f"this cannot be asked: {error}") from error

    # ---- reads

    async def pattern(
        self,
        namespace: str,
        key: str,
        *,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
    ) -> Pattern | None:
        """A pattern by its key, None if there is none."""
        now = self._clock()
        found = await self._read(level, lambda one: reads.by_keys(one, namespace, (key,), now))
        return found[0] if found else None

    async def patterns(
        self, ids: Sequence[int], *, level: ReadLevel = ReadLevel.LINEARIZABLE
    ) -> list[Pattern]:
        """Those of these ids that are there, in the order asked for."""
        now = self._clock()
        return await self._read(level, lambda one: reads.by_ids(one, ids, now))

    async def list_patterns(
        self,
        namespace: str,
        *,
        expert: str | None = None,
        prefix: str = "",
        since: float | None = None,
        until: float | None = None,
        order: Order = "id",
        descending: bool = False,
        cursor: str | None = None,
        limit: int = PAGE,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
    ) -> Page:
        """Patterns of a namespace: of an expert, with a prefix of the key, learned since and before a time.

        A page has `limit` (1 to 1000) at most; its `cursor` gives the next one. Raises InvalidArguments.
        """
        _limited(limit)
        if order not in ("id", "key", "time"):
            raise InvalidArguments(
                f"the order {order!r:.40} is not known, expected id, key or time"
            )
        now = self._clock()
        return await self._read(
            level,
            lambda one: reads.listed(
                one,
                namespace=namespace,
                expert=expert,
                prefix=prefix,
                since=since,
                until=until,
                order=order,
                descending=descending,
                cursor=cursor,
                limit=limit,
                now=now,
                level=level,
            ),
        )

    async def pattern_changes(
        self, after: int, limit: int = PAGE, *, level: ReadLevel = ReadLevel.STALE
    ) -> Changes:
        """What patterns became after a position, about `limit` of them; ask again from its `position`.

        For those who keep a copy, such as an index. Raises TooOld if what was removed since is not all known
        any more: then begin anew, from position 0 of an empty copy.
        """
        _limited(limit)
        now = self._clock()
        return await self._read(level, lambda one: reads.changes(one, after, limit, now))

    async def feedback_after(
        self, after: int, limit: int = PAGE, *, level: ReadLevel = ReadLevel.STALE
    ) -> Lessons:
        """Feedback after a position, about `limit` of it; ask again from its `position`.

        Raises TooOld if some of it is not kept any more: `oldest_feedback` says from where it is.
        """
        _limited(limit)
        return await self._read(level, lambda one: reads.feedback_after(one, after, limit))

    async def oldest_feedback(self) -> int:
        """The least position that `feedback_after` takes."""
        return await self._read(ReadLevel.STALE, reads.oldest_feedback)

    async def counts(self, *, level: ReadLevel = ReadLevel.STALE) -> Counts:
        """How much there is, in each namespace and in all."""
        return await self._read(level, reads.counts)

    # ---- reads of work

    async def task(self, id_: str, *, level: ReadLevel = ReadLevel.LINEARIZABLE) -> Task | None:
        """A durable task by its id, None if there is none."""
        now = self._clock()
        return await self._read(level, lambda one: work_reads.task(one, id_, now))

    async def list_tasks(
        self,
        owner: Owner | None,
        *,
        states: Sequence[str] = (),
        cursor: int | None = None,
        limit: int = 100,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
    ) -> TaskPage:
        """Tasks of an owner, or of all, as they were submitted: in these states, or in any.

        Raises InvalidArguments.
        """
        _limited(limit)
        work_reads.check_states(states)
        now = self._clock()
        return await self._read(
            level,
            lambda one: work_reads.tasks(
                one, owner, states=states, cursor=cursor, limit=limit, now=now, level=level
            ),
        )

    async def task_lines(
        self, limit: int = 100, *, level: ReadLevel = ReadLevel.STALE
    ) -> list[Task]:
        """The latest tasks of all owners, for a person to see: without results and large payloads."""
        _limited(limit)
        now = self._clock()
        return await self._read(level, lambda one: work_reads.task_lines(one, limit, now))

    async def claims(
        self, holder: str, *, level: ReadLevel = ReadLevel.STALE
    ) -> list[work_reads.Claim]:
        """The tasks that a holder has claimed, and which of them somebody wishes to be cancelled."""
        return await self._read(level, lambda one: work_reads.claims(one, holder))

    async def queues(self, *, level: ReadLevel = ReadLevel.STALE) -> list[str]:
        """The queues that tasks wait in."""
        return await self._read(level, work_reads.queues)

    async def holders(self, *, level: ReadLevel = ReadLevel.STALE) -> list[str]:
        """Whoever holds a task, a key or a lease."""
        return await self._read(level, work_reads.holders)

    async def key(
        self,
        owner: Owner,
        scope: str,
        key: str,
        *,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
    ) -> KeyState | None:
        """How an idempotency key stands, None if it is not known."""
        now = self._clock()
        return await self._read(level, lambda one: work_reads.key(one, owner, scope, key, now))

    async def leases(
        self,
        *,
        name: str | None = None,
        holder: str | None = None,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
    ) -> list[Lease]:
        """Who holds what: of one name, of one holder, or all, in the order of names."""
        now = self._clock()
        return await self._read(level, lambda one: work_reads.leases(one, name, holder, now))

    async def revoked(
        self, ids: Sequence[str], *, level: ReadLevel = ReadLevel.LINEARIZABLE
    ) -> list[str]:
        """Those of these ids that are revoked, in the order asked for."""
        now = self._clock()
        return await self._read(level, lambda one: work_reads.revoked(one, ids, now))

    async def revocations(
        self, after: str = "", limit: int = PAGE, *, level: ReadLevel = ReadLevel.STALE
    ) -> list[Revocation]:
        """Revoked ids in their order, those after one: ask again after the last."""
        _limited(limit)
        now = self._clock()
        return await self._read(level, lambda one: work_reads.revocations(one, after, limit, now))

    # ---- the whole of it

    async def snapshot(self) -> AsyncGenerator[bytes]:
        """The whole state as it is now, in pieces; commands go on being applied meanwhile.

        Raises UntrustedFile for a damaged row.
        """
        async with self.open_snapshot() as (_, pieces):
            async for piece in pieces:
                yield piece

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncGenerator[tuple[int, AsyncGenerator[bytes]]]:
        """The same with its position, which is known before its pieces."""
        if not self._file.shared:  # nobody may write while somebody reads
            position, whole = await self._read(
                ReadLevel.STALE, lambda one: (read_meta(one).position, list(frames(one)))
            )
            yield position, _each(whole)
            return
        gate, reading = self._gate, self._file.reading()
        with gate.passing():
            connection = await trio.to_thread.run_sync(reading.__enter__)
        try:
            with gate.passing():
                meta = await trio.to_thread.run_sync(read_meta, connection)
            yield meta.position, _from_thread(frames(connection), gate)
        finally:
            gate.end(lambda: reading.__exit__(None, None, None))


async def _each(pieces: list[bytes]) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield piece


async def _from_thread(made: Generator[bytes], gate: Gate) -> AsyncGenerator[bytes]:
    try:
        while True:
            with gate.passing():
                each = await trio.to_thread.run_sync(next, made, None)
            if each is None:
                return
            yield each
    finally:
        gate.end(made.close)


def _limited(limit: int) -> None:
    if not 1 <= limit <= PAGE:
        raise InvalidArguments(f"limit is {limit!r}, expected 1 to {PAGE}")
