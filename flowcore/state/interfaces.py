"""What the hard state stands on, as plugins yield it: a consensus engine, and the storage that engines use.

A **position** numbers the entries of one log, from 1 without gaps; 0 is before the first. What is committed
at a position never changes and is the same on every node.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias, runtime_checkable

import attrs
from msgspec import Struct


class LogEntry(Struct, frozen=True, gc=False, array_like=True):
    """One entry of a log, as an engine has it stored."""

    position: int
    term: int
    data: bytes
    """Opaque to the storage."""


@attrs.frozen(kw_only=True)
class SnapshotInfo:
    """What a stored snapshot holds: everything up to its position."""

    position: int
    term: int
    about: bytes = b""
    """The engine's own words about it, such as who the voters are."""


class Storage(Protocol):
    """One log, with what an engine must not forget beside it.

    Every method that writes returns when it is durable: one call is one transaction and one fsync, so an
    engine puts all that waits into one call. Calls are made one at a time, in order. After StorageFailed
    nothing is written any more: whoever gets it must not vote, acknowledge or go on as if nothing had been.
    """

    @property
    def durable(self) -> bool:
        """Whether it is still there when the node starts again."""
        ...

    @property
    def identity(self) -> str:
        """A random name that it was given when it was made: another log has another one."""
        ...

    @property
    def compacted(self) -> tuple[int, int]:
        """The position and term of the last entry that is not kept any more; (0, 0) before the first."""
        ...

    @property
    def last(self) -> int:
        """The position of the last entry, or the compacted one if there is none after it."""
        ...

    @property
    def hard_state(self) -> bytes:
        """What the engine last kept here (term, vote, ...); empty at first."""
        ...

    @property
    def snapshot(self) -> SnapshotInfo | None:
        """The last snapshot that was stored whole."""
        ...

    async def append(self, entries: Sequence[LogEntry], *, hard_state: bytes | None = None) -> None:
        """Keep entries, whose positions follow each other; those from their first on are replaced.

        The hard state is kept in the same transaction. Raises StorageFull, having written nothing, ValueError
        for a gap or for what is compacted, StorageFailed.
        """
        ...

    async def read(self, first: int, last: int, limit: int = 1 << 20) -> list[LogEntry]:
        """Entries from `first` to `last` at most, in order; at least one, and `limit` bytes of data about.

        Raises TooOld if `first` is compacted, UntrustedFile for an entry that is not what was written.
        """
        ...

    async def compact(self, position: int) -> None:
        """Let go of the entries up to a position, at most the last one; nothing happens if they are gone."""
        ...

    async def reset(self, position: int, term: int) -> None:
        """Let go of all entries: the next one is at `position + 1`. After another's snapshot was taken."""
        ...

    async def save_snapshot(self, info: SnapshotInfo, chunks: AsyncIterable[bytes]) -> None:
        """Store a snapshot; a crash, or an error of `chunks`, leaves the one before in its place."""
        ...

    def read_snapshot(self) -> AsyncGenerator[bytes]:
        """The chunks of `snapshot`, as they were stored. Raises TooOld if there is none, UntrustedFile."""
        ...

    def status(self) -> dict[str, Any]:
        """What it holds and did, measured, as plain data that JSON can carry; times in seconds."""
        ...


@runtime_checkable
class BeginsAppends(Protocol):
    """A storage that begins to write without a turn of the scheduler."""

    def begin_append(
        self, entries: Sequence[LogEntry], *, hard_state: bytes | None = None
    ) -> Callable[[], Awaitable[None]]:
        """As `append`, begun when this returns: nobody waits for it and learns its errors but by the call of
        what it gives, once."""
        ...


class Committed(Struct, frozen=True, gc=False):
    """An entry that will never change."""

    position: int
    data: bytes
    """What was proposed; empty for an entry of the engine's own, which changes nothing."""


@attrs.frozen(kw_only=True)
class Installed:
    """A snapshot in the place of entries that are not kept any more."""

    position: int
    chunks: AsyncGenerator[bytes]
    """As `State.snapshot` gave them, on this node or on another."""


SnapshotSource: TypeAlias = Callable[
    [], AbstractAsyncContextManager[tuple[int, AsyncGenerator[bytes]]]
]
"""Opens a snapshot of the state as it is now: its position, and its pieces."""


@runtime_checkable
class HandsOver(Protocol):
    """An engine that lets who follows it take what is committed at once, a turn of the scheduler sooner."""

    def hand_to(self, take: Callable[[Sequence[Committed]], bool]) -> None:
        """Whenever who follows `committed` waits for more, offer it to `take` first: what that takes, with
        True, does not come there any more. It is quick, and raises nothing; there is one who follows."""
        ...


@runtime_checkable
class TakesSnapshots(Protocol):
    """An engine that sends the state's snapshots to nodes that need what is compacted."""

    def snapshots_from(self, source: SnapshotSource) -> None:
        """The state is open, and gives snapshots."""
        ...


Ahead: TypeAlias = Callable[[bytes], float]
"""By how many seconds the time of a command is ahead of this node's clock; infinite where it is none."""


@runtime_checkable
class ChecksCommands(Protocol):
    """An engine whose nodes may lie: what others ask for is looked at before it is agreed to."""

    @property
    def ahead(self) -> float:
        """Seconds that the time of a command may be ahead of a node's clock."""
        ...

    def check_by(self, ahead: Ahead) -> None:
        """The state is open, and tells what commands are."""
        ...


class Shown(Struct, frozen=True, kw_only=True, gc=False):
    """An entry of a log as it is shown to a person; it need not be committed."""

    position: int
    term: int
    committed: bool
    data: bytes = b""
    """What was proposed; empty for an entry of the engine's own."""
    note: str = ""
    """What an entry of the engine's own is, such as who the voters are from then on."""


@runtime_checkable
class ShowsLog(Protocol):
    """An engine whose log can be looked at."""

    async def entries(self, first: int, most: int) -> Sequence[Shown]:
        """Entries from a position on, `most` at most; none where the log ends. Raises TooOld."""
        ...


@runtime_checkable
class Describes(Protocol):
    """An engine whose entries have terms, and whose log is of a cluster."""

    @property
    def cluster(self) -> str:
        """The name of the cluster; empty if it has none."""
        ...

    def describe(self, position: int) -> SnapshotInfo:
        """What a snapshot of the state at a position is. Raises ValueError where that is not known."""
        ...


@runtime_checkable
class KnowsMembers(Protocol):
    """An engine whose members keep copies of the log."""

    async def followers(self) -> Mapping[str, Mapping[str, Any]]:
        """What the leader knows of the others, by name: `phase`, `match`, `lag`, `active`; as in `status`.

        Empty if there is no leader that answers.
        """
        ...


@runtime_checkable
class TakesRestored(Protocol):
    """An engine without a storage of this node, that can begin with a snapshot."""

    async def restore(self, info: SnapshotInfo, chunks: AsyncIterable[bytes]) -> None:
        """Begin with this state. Raises StateUnavailable if there is something already."""
        ...


class Consensus(Protocol):
    """Puts commands into one order that holds on every node, and forgets none that it has acknowledged."""

    @property
    def durable(self) -> bool:
        """Whether what is committed is still there when the node starts again."""
        ...

    @property
    def identity(self) -> str:
        """Which log this is: the positions of another one mean nothing here."""
        ...

    async def propose(self, command: bytes) -> int:
        """Commit a command, and give its position; durable when it returns.

        Raises Overloaded if too many wait, StateUnavailable if it takes none (nothing has happened then), and
        OutcomeUnknown if it may be committed, now or later. Cancelling says nothing about what comes of it.
        """
        ...

    def committed(self, after: int) -> AsyncGenerator[Sequence[Committed] | Installed]:
        """What is committed after a position: batches in order, without gaps, as long as it is asked.

        An `Installed` comes where entries are gone; what follows it begins after its position. Raises TooOld
        where there is no snapshot in their place, UntrustedFile if `after` lies beyond the end of the log.
        """
        ...

    async def read_barrier(self, *, leased: bool = False) -> int:
        """A position: a state that has applied it shows everything that was acknowledged before the call.

        With `leased`, a leader's lease is trusted in place of asking the others; clocks matter then. Raises
        StateUnavailable.
        """
        ...

    async def change_voters(
        self, *, add: Sequence[str] = (), remove: Sequence[str] = (), promote: Sequence[str] = ()
    ) -> None:
        """Change who decides: add nodes, remove them, make learners voters. Raises StateUnavailable."""
        ...

    async def compact(self, position: int) -> None:
        """The state holds everything up to a position durably: entries up to it need not be kept."""
        ...

    def status(self) -> dict[str, Any]:
        """What is true of it, measured, as plain data that JSON can carry; times in seconds."""
        ...
