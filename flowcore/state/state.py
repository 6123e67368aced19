"""The state of a node, live: commands go in, are put into their order by consensus, and are applied here."""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import aclosing
from copy import copy
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

import attrs
import trio

from flowcore.errors import (
    InvalidArguments,
    OutcomeUnknown,
    Overloaded,
    StateUnavailable,
    StorageFailed,
    StorageFull,
    TooLarge,
    UntrustedFile,
)
from flowcore.sqlite import FileThread, is_full
from flowcore.state.checks import check
from flowcore.state.commands import (
    Command,
    Entry,
    SetLimits,
    Tidy,
    decode_entry,
    encode_entry,
    version_of,
)
from flowcore.state.files import StateFile, check_some
from flowcore.state.interfaces import (
    Committed,
    Consensus,
    HandsOver,
    Installed,
    TakesSnapshots,
)
from flowcore.state.light import Light
from flowcore.state.limits import COMMAND_SIZE
from flowcore.state.machine import Applied, Machine
from flowcore.state.readable import Readable
from flowcore.state.records import ReadLevel
from flowcore.state.results import Refusal, Result
from flowcore.state.settings import StateSettings
from flowcore.state.snapshot import Intake
from flowcore.state.timing import Timing
from flowcore.state.usage import totals, work_limits
from flowcore.state.work import SetWorkLimits, WorkCommand
from flowcore.state.working import work_due

_logger = logging.getLogger(__name__)
T = TypeVar("T")

_LARGE = 64 * 1024
"""Bytes of a command from which on it is encoded in a thread."""
_RETRY = 1.0
"""Seconds until what did not fit on the disk is tried again."""
_SOME, _PAUSE = 500, 0.05
"""Rows looked at in one go, and seconds until the next."""
_ROWS = 1000
"""Changed rows after which what is written is moved into the file: each is a page or a few."""
_TIDY = 1.0
"""Seconds between two looks at what has expired."""


WorkWatcher = Callable[[Command | None], None]
_Done: TypeAlias = tuple[list[Applied], dict[str, dict[str, int]] | None, int]
"""What became of a batch; how much work is kept then, where that may have changed; how many rows have."""


def of_work(command: Command) -> bool:
    """Whether a command may change tasks, keys, leases or revocations; time changes them with any other,
    too, and a `Tidy` comes where it has."""
    return isinstance(command, WorkCommand | Tidy)


@attrs.define(eq=False)
class _Waiter:
    """Somebody who waits for what becomes of a command."""

    done: trio.Event = attrs.field(factory=trio.Event)
    result: Result | None = None
    lost: str = ""
    """Why nobody can say."""


class State(Readable):
    """The hard state of a node. Made by `open_state` only."""

    def __init__(
        self,
        consensus: Consensus,
        file: StateFile,
        thread: FileThread,
        settings: StateSettings,
        timing: Timing,
    ) -> None:
        self._machine = Machine(file.writer)
        super().__init__(consensus, file, timing, self._machine.position)
        self._timing = timing
        self._settings = settings
        self._thread = thread
        self._light = Light()
        self._proposer = random.SystemRandom().getrandbits(63)
        self._tickets = itertools.count(1)
        self._waiting: dict[int, _Waiter] = {}
        self._durable = self._machine.position if file.checkpoint() else 0
        self._commands = self._refused = self._again = self._batches = 0
        self._seconds = 0.0
        self._trouble = self._damage = ""
        self._opening = trio.Event()
        self._target = 0
        """How far it is to be before it is open."""
        self._due_to_keep = trio.Event()
        self._rows = 0
        self._closed = self._limited = False
        self._meta = copy(self._machine.tables.meta)
        timing.moved(self._meta.time)
        self._work = totals(file.writer)
        self._watchers: list[WorkWatcher] = []

    # ---- commands

    async def do(self, command: Command, *, session: int = 0, sequence: int = 0) -> Any:
        """Have a command applied, here too, and give its result.

        With a `session` (of `OpenSession`), each `sequence` from 1 on is applied once, however often it is
        asked. Raises InvalidArguments, TooLarge, QuotaExceeded, VersionConflict, IdempotencyConflict,
        SessionExpired: nothing has changed; Overloaded, StateUnavailable: it was not taken; OutcomeUnknown:
        it may be applied, now or later. Cancelling says nothing about what comes of it.
        """
        if self._closed:
            raise StateUnavailable("the state is closed")
        if self._stuck:
            await trio.lowlevel.checkpoint()
            self._refuse_stuck()
        if self._timing.unsettled is not None:
            await self._timing.settle()
        ticket = next(self._tickets)
        entry = Entry(
            version=version_of(command),
            time=self._clock(),
            session=session,
            sequence=sequence,
            proposer=self._proposer,
            ticket=ticket,
            command=command,
        )
        data = await self._encoded(entry)
        waiter = self._waiting[ticket] = _Waiter()
        try:
            await self._consensus.propose(data)
            await waiter.done.wait()
        finally:
            self._waiting.pop(ticket, None)
        if waiter.result is None:
            raise OutcomeUnknown(waiter.lost)
        if isinstance(waiter.result, Refusal):
            raise waiter.result.error()
        return waiter.result

    async def _encoded(self, entry: Entry) -> bytes:
        try:
            data = encode_entry(entry)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidArguments(f"this is no command: {error}") from error
        if len(data) > COMMAND_SIZE:
            raise TooLarge(
                f"the command has {len(data)} bytes, more than {COMMAND_SIZE}: split it",
                data={"limit": COMMAND_SIZE},
            )
        if len(data) < _LARGE:
            _check(data)
        else:
            await trio.to_thread.run_sync(_check, data)
        return data

    def now(self) -> float:
        """The time that a command given now would have, seconds since 1970: what expires goes by it."""
        return self._clock()

    def status(self) -> dict[str, Any]:
        """Where it is and how much it holds, measured, as plain data for JSON; times in seconds."""
        meta = self._meta
        return {
            "position": self._position,
            "durable": self._consensus.durable,
            "durable_position": self._durable,
            "patterns": meta.patterns,
            "bytes": meta.bytes,
            "namespaces": meta.namespaces,
            "feedback": meta.feedback,
            "sessions": meta.sessions,
            "removed": meta.removed,
            "work": self._work,
            "disk": self._file.size(),
            "commands": self._commands,
            "refused": self._refused,
            "again": self._again,
            "waiting": len(self._waiting),
            "apply_mean": round(self._seconds / self._batches, 6) if self._batches else 0.0,
            "checked": self._file.checked,
            "trouble": self._trouble or self._damage,
            "time_known": self._timing.known,
            "ahead": round(self._timing.ahead(meta.time), 3),
            "consensus": self._consensus.status(),
        }

    # ---- applying

    async def run(self, ready: trio.Event) -> None:
        """Apply what is committed, as long as it is not cancelled; `ready` when all that was is."""
        if isinstance(self._consensus, TakesSnapshots):
            self._consensus.snapshots_from(self.open_snapshot)
        if isinstance(self._consensus, HandsOver):
            self._consensus.hand_to(self._take)
        self._target, self._opening = await self._found_target(), ready
        self._came()
        try:
            async with aclosing(self._consensus.committed(self._position)) as stream:
                async for batch in stream:
                    if isinstance(batch, Installed):
                        await self._install(batch)
                    else:
                        await self._apply(batch)
                    self._came()
        finally:
            self._closed = True
            self._lose("the state was closed while it was on its way")

    def _came(self) -> None:
        """More is applied: who waits for the state to be open may be told, what is applied may be kept."""
        if self._position >= self._target:
            self._opening.set()
        if self._rows > _ROWS or self._position - self._durable >= self._settings.compact_after:
            self._due_to_keep.set()

    async def _found_target(self) -> int:
        """How far to apply before it is ready: where the others are, or, without them, where it is."""
        try:
            return await self._consensus.read_barrier()
        except StateUnavailable as error:
            _logger.warning("the state is as it was left, and may be stale: %s", error)
            return self._position

    def _take(self, batch: Sequence[Committed]) -> bool:
        """Apply a batch here and now, where it is light, the thread has nothing to do, and no reader waits.

        False: it was not, and nothing has happened.
        """
        if self._stuck or not (self._file.shared and self._thread.idle):
            return False
        if not self._light.may_be(batch, self._machine.tables):
            return False
        began = perf_counter()
        try:
            done = self._applied(batch)
        except Exception:  # whoever applies it in the thread meets it again, and says so
            _logger.debug("what could not be applied at once goes to the thread", exc_info=True)
            return False
        self._light.took(perf_counter() - began)
        self._note(done, began)
        self._came()
        return True

    async def _apply(self, batch: Sequence[Committed]) -> None:
        if self._take(batch):
            # as much may be committed already: others come in between
            await trio.lowlevel.checkpoint()
            return
        while True:
            began = perf_counter()
            try:
                done = await self._write(partial(self._applied, batch))
            except sqlite3.Error as error:
                if not is_full(error):
                    raise StorageFailed(f"the state cannot be written: {error}") from error
                self._stick(f"there is no room on the disk for {self._file.path}")
                await trio.sleep(_RETRY)
            else:
                break
        self._note(done, began)

    def _note(self, done: _Done, began: float) -> None:
        """A batch is applied: whoever waits for it is told."""
        applied, work, rows = done
        self._trouble = self._stuck = ""
        self._seconds += perf_counter() - began
        self._batches += 1
        self._rows += rows
        self._work = self._work if work is None else work
        for one in applied:
            self._tell(one)
        self._moved()

    def _applied(self, batch: Sequence[Committed]) -> _Done:
        """Apply a batch."""
        before = self._file.writer.total_changes
        applied = self._machine.apply(batch)
        rows = self._file.writer.total_changes - before
        moved = any(one.entry is not None and of_work(one.entry.command) for one in applied)
        return applied, totals(self._file.writer) if moved else None, rows

    def _stick(self, why: str) -> None:
        """What is committed has to wait: whoever waits for it is told, and what is read is of before."""
        if not self._stuck:
            _logger.error("%s: the state is as it was before", why)
        self._trouble = self._stuck = why
        self._lose(f"{why}: it is in the log, and will be applied when there is room")
        self._opening.set()
        self._move()

    def _tell(self, one: Applied) -> None:
        self._commands += 1
        self._refused += isinstance(one.result, Refusal)
        self._again += one.again
        if one.entry is not None and one.entry.proposer == self._proposer:
            waiter = self._waiting.pop(one.entry.ticket, None)
            if waiter is not None:
                waiter.result = one.result
                waiter.done.set()
        if self._watchers and one.entry is not None and of_work(one.entry.command):
            self._tell_watchers(one.entry.command)

    def _tell_watchers(self, command: Command | None) -> None:
        for watcher in tuple(self._watchers):
            watcher(command)

    def watch_work(self, told: WorkWatcher) -> Callable[[], None]:
        """Call `told` with each command that may have changed work, once it is applied here, until the
        returned function is called; None: a snapshot took the place of all that was here.

        It is called before whoever proposed the command goes on, must be quick, and must not raise.
        """
        self._watchers.append(told)
        return lambda: self._watchers.remove(told)

    def _moved(self) -> None:
        self._position = self._machine.position
        self._meta = copy(self._machine.tables.meta)
        self._timing.moved(self._meta.time)
        self._move()

    def _lose(self, why: str) -> None:
        for waiter in self._waiting.values():
            waiter.lost = why
            waiter.done.set()
        self._waiting.clear()

    async def _write(self, work: Callable[[], T]) -> T:
        return await self._thread.run(partial(self._file.write, work))

    async def keep(self) -> None:
        """Make durable what is applied, now and then and beside what goes on, and let the log go of it."""
        while True:
            await self._due_to_keep.wait()
            self._due_to_keep = trio.Event()
            due = self._position - self._durable >= self._settings.compact_after
            await self._compact(forget=due)

    async def _compact(self, *, forget: bool = True) -> None:
        """Make durable what is applied; `forget`: and let the log go of it."""
        file, position = self._file, self._position
        self._rows = 0
        try:
            done = await trio.to_thread.run_sync(file.checkpoint)
            if file.long:
                position = self._position
                done = await self._write(partial(file.checkpoint, last=True))
            if done and forget:
                self._durable = position
                await self._consensus.compact(position)
        except sqlite3.Error as error:
            raise StorageFailed(f"the state cannot be made durable: {error}") from error
        except (
            StorageFull,
            StorageFailed,
        ) as error:  # of the log, which refuses commands by itself
            self._trouble = str(error)

    async def _install(self, snapshot: Installed) -> None:
        """A snapshot takes the place of all that is here."""
        intake = await self._write(lambda: Intake(self._file.writer))
        try:
            async with aclosing(snapshot.chunks) as pieces:
                async for piece in pieces:
                    await self._write(partial(intake.feed, piece))
            await self._write(partial(intake.finish, snapshot.position))
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await self._write(partial(intake.abandon, error))
            raise
        self._machine = Machine(self._file.writer)
        self._work = await self._write(partial(totals, self._file.writer))
        self._durable = 0
        self._moved()
        self._tell_watchers(None)

    # ---- beside that

    async def upkeep(self) -> None:
        """Let time pass where something has expired, and look through what was not looked at yet."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_through)
            while True:
                await self.tidy()
                await trio.sleep(_TIDY)

    async def tidy(self) -> None:
        """Propose what is due: the limits that this node was given, or that time passes."""
        command = await self._write(self._due)
        if command is not None:
            with contextlib.suppress(Overloaded, StateUnavailable, OutcomeUnknown):  # again later
                await self.do(command)

    def _due(self) -> SetLimits | SetWorkLimits | Tidy | None:
        meta, settings = self._machine.tables.meta, self._settings
        if not self._limited:
            if meta.limits != settings.limits:
                return SetLimits(settings.limits)
            if work_limits(self._machine.tables) != settings.work.limits:
                return SetWorkLimits(settings.work.limits)
        self._limited = True  # others may set them otherwise from now on
        now = self._clock()
        (due,) = self._file.writer.execute(
            "SELECT EXISTS (SELECT 1 FROM patterns WHERE expires IS NOT NULL AND expires <= ?)",
            (now,),
        ).fetchone()
        due = due or work_due(self._file.writer, now)
        return Tidy() if due or meta.patterns > meta.limits.patterns else None

    async def _look_through(self) -> None:
        """Look at every row of a file that was too large to be looked at when it was opened."""
        for table in (
            "patterns",
            "contents",
            "feedback",
            "answers",
            "tasks",
            "task_contents",
            "keys",
        ):
            after: int | None = -(2**63)
            while after is not None and not self._file.checked:
                look = partial(check_some, table=table, after=after, count=_SOME)
                try:
                    after = await self._read(ReadLevel.STALE, look)
                except UntrustedFile as error:
                    self._damage = str(error)
                    _logger.error("%s: %s", self._file.path, error)
                    return
                await trio.sleep(_PAUSE)
        self._file.checked = True


def _check(data: bytes) -> None:
    try:
        entry = decode_entry(data)
    except UntrustedFile as error:
        raise InvalidArguments(f"this is no command: {error.__cause__}") from error
    check(entry.command)
