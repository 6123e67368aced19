"""What commands give, and how they are refused. Kept with a session, so that asking again gives the same."""

from __future__ import annotations

from typing import NoReturn

import msgspec
from msgspec import Struct

from flowcore.errors import (
    CallError,
    IdempotencyConflict,
    InvalidArguments,
    QuotaExceeded,
    SessionExpired,
    TooLarge,
    VersionConflict,
)


class StoredPattern(Struct, frozen=True, array_like=True):
    """One pattern that was put."""

    id: int
    key: str
    version: int
    created: bool
    """Whether it is new; else it took the place of one, or was merged into one."""


class Stored(Struct, frozen=True, kw_only=True, tag="stored", array_like=True):
    """What came of PutPatterns, in their order."""

    position: int
    patterns: tuple[StoredPattern, ...]
    evicted: int
    """Patterns that had to go for them."""


class Removed(Struct, frozen=True, kw_only=True, tag="removed", array_like=True):
    position: int
    ids: tuple[int, ...]
    """Those that were there."""


class Touched(Struct, frozen=True, kw_only=True, tag="touched", array_like=True):
    position: int
    count: int
    """Those that are there."""


class Learned(Struct, frozen=True, kw_only=True, tag="learned", array_like=True):
    position: int
    kept: tuple[bool, ...]
    """For each lesson, whether it is new: not said of this request before."""


class Reembedded(Struct, frozen=True, kw_only=True, tag="reembedded", array_like=True):
    position: int
    count: int
    skipped: tuple[int, ...]
    """Those that have changed since, or are gone: ids of patterns, numbers of lessons."""


class SessionOpened(Struct, frozen=True, kw_only=True, tag="session", array_like=True):
    position: int
    session: int


class TaskTold(Struct, frozen=True, kw_only=True, tag="task", array_like=True):
    """How a task stands now."""

    position: int
    id: str
    state: str
    cancel: bool
    """Whether somebody wishes that it be cancelled."""


class TaskClaimed(Struct, frozen=True, kw_only=True, tag="claimed", array_like=True):
    position: int
    task: str | None
    """Its id; None: nothing waits in this queue."""
    fence: int = 0
    payload: bytes = b""
    owner: tuple[str, str] = ("", "")
    attempt: int = 0
    """From 1."""
    until: float = 0.0
    """When the claim is over, seconds since 1970."""


class KeyTold(Struct, frozen=True, kw_only=True, tag="key", array_like=True):
    """How an idempotency key stands now."""

    position: int
    state: str
    """`reserved`: by this very command, which is to do the work; `running`, `settled`, `unknown`, `free`."""
    fence: int
    holder: str
    outcome: bytes | None
    """None: there is none, or, where it is settled, there was no room for it."""


class LeaseTold(Struct, frozen=True, kw_only=True, tag="lease", array_like=True):
    """Who holds a lease now."""

    position: int
    held: bool
    """By who asked."""
    holder: str
    fence: int
    until: float


class HolderLost(Struct, frozen=True, kw_only=True, tag="lost", array_like=True):
    """How many of each were its own."""

    position: int
    tasks: int
    keys: int
    leases: int
    complete: bool
    """Whether that is all; else declare it once more."""


class Reinstated(Struct, frozen=True, kw_only=True, tag="reinstated", array_like=True):
    """Which had been revoked until then."""

    position: int
    ids: tuple[str, ...]


class Done(Struct, frozen=True, kw_only=True, tag="done", array_like=True):
    position: int


class Refusal(Struct, frozen=True, kw_only=True, tag="refusal", array_like=True):
    """The command changed nothing."""

    position: int
    code: int
    """Of the error tree (`flowcore.errors`)."""
    message: str
    version: int | None = None
    """For a conflict: the version that there is."""

    def error(self) -> CallError:
        """The typed error."""
        kind = _ERRORS.get(self.code, InvalidArguments)
        return kind(self.message, data=None if self.version is None else {"version": self.version})


Result = (
    Stored
    | Removed
    | Touched
    | Learned
    | Reembedded
    | SessionOpened
    | TaskTold
    | TaskClaimed
    | KeyTold
    | LeaseTold
    | HolderLost
    | Reinstated
    | Done
    | Refusal
)

_ERRORS: dict[int, type[CallError]] = {
    kind.code: kind
    for kind in (
        IdempotencyConflict,
        InvalidArguments,
        QuotaExceeded,
        SessionExpired,
        VersionConflict,
    )
}


class Refused(Exception):
    """Raised inside the state machine: the command is refused, and what it did is undone."""

    def __init__(self, error: CallError) -> None:
        super().__init__(error.message)
        self.error = error

    def result(self, position: int) -> Refusal:
        """The refusal as a result."""
        data = self.error.data
        return Refusal(
            position=position,
            code=self.error.wire_code,
            message=self.error.message,
            version=data.get("version") if isinstance(data, dict) else None,
        )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Result)


def encode_result(result: Result) -> bytes:
    """As it is stored."""
    return _encoder.encode(result)


def decode_result(data: bytes) -> Result:
    """From how it was stored."""
    result: Result = _decoder.decode(data)
    return result


def too_large(what: str, size: int, most: int) -> NoReturn:
    """Raise TooLarge."""
    raise TooLarge(
        f"{what} has {size} bytes, more than the {most} it may have", data={"limit": most}
    )
