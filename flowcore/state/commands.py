"""Commands: everything that changes the state, as what stands in the log.

Encoded as MessagePack arrays with a tag, in the order of their fields: the same command has the same bytes
everywhere. A new version of a command adds fields at its end, with defaults. What a command does is decided
by the state and the command alone; its time is the proposer's, and never goes back.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Struct

from flowcore.errors import UntrustedFile
from flowcore.state.limits import Limits
from flowcore.state.work import Reinstate, WorkCommand

VERSION = 5
"""The greatest of an entry that this flowcore can apply. What it writes has the least that is enough."""


class PutPattern(Struct, frozen=True, kw_only=True, array_like=True):
    """A pattern to keep.

    With a `key` it takes the place of the one that has it. Without, it gets its id as key, and is merged
    into one of the same namespace, expert, text and owner, if there is one: weights add up, and rewards are
    averaged by weight.
    """

    namespace: str
    key: str | None = None
    text: str = ""
    value: bytes | None = None
    """JSON."""
    vector: bytes = b""
    """Little-endian float32, of length one; empty: none."""
    embedder: str = ""
    """The identity of the embedder that made the vector, as text."""
    expert: str = ""
    reward: float = 1.0
    weight: float = 1.0
    ttl: float | None = None
    """Seconds after which it goes; None: never."""
    owner: tuple[str, str] = ("", "")
    """Scheme and name of whom it belongs to."""
    if_version: int | None = None
    """Only if this is the version now; 0: only if there is none of this key."""
    time: float | None = None
    """When it was learned, seconds since 1970; None: now."""


class PutPatterns(Struct, frozen=True, tag="put", array_like=True):
    """Keep patterns: all of them, or none where one is refused. Gives `Stored`."""

    patterns: tuple[PutPattern, ...]


class RemovePatterns(Struct, frozen=True, kw_only=True, tag="remove", array_like=True):
    """Remove patterns by id, or by key; what is not there is no error. Gives `Removed`.

    With a namespace, only its patterns; keys need one.
    """

    ids: tuple[int, ...] = ()
    namespace: str = ""
    keys: tuple[str, ...] = ()
    if_version: int | None = None
    """Only if this is the version of all of them now."""


class Touch(Struct, frozen=True, tag="touch", array_like=True):
    """These patterns were used: they are the last to go. Gives `Touched`."""

    ids: tuple[int, ...]


class Feedback(Struct, frozen=True, kw_only=True, array_like=True):
    """How a choice turned out."""

    request: str = ""
    """The request it is about: one of each `source`, expert and owner is kept. Empty: none."""
    source: str = "explicit"
    """Who says so: `explicit`, a person or a client; `implicit`, the outcome itself."""
    text: str = ""
    vector: bytes = b""
    embedder: str = ""
    expert: str
    reward: float
    propensity: float = 1.0
    exclusive: bool = True
    weight: float = 1.0
    owner: tuple[str, str] = ("", "")


class GiveFeedback(Struct, frozen=True, tag="feedback", array_like=True):
    """Lessons for a gate, in order. Gives `Learned`."""

    lessons: tuple[Feedback, ...]


class Retrain(Struct, frozen=True, tag="retrain", array_like=True):
    """Train gates anew: each node does, on the same lessons. Of version 2. Gives `Learned`.

    It stands among the lessons, as one without an expert whose text is the number of the oldest that is kept
    at that point: gates are made of the lessons from that one to here, and go on from there.
    """


class Reembed(Struct, frozen=True, tag="reembed", array_like=True):
    """New vectors. Gives `Reembedded`; a pattern that has changed since is left as it is."""

    embedder: str
    items: tuple[tuple[int, int, bytes], ...]
    """Id, the version whose text was embedded, vector."""


class ReembedFeedback(Struct, frozen=True, tag="reembed_feedback", array_like=True):
    """New vectors for lessons, whose texts never change. Of version 5. Gives `Reembedded`.

    Gates that have followed them learn nothing of it: `Retrain` makes them of what is there then.
    """

    embedder: str
    items: tuple[tuple[int, bytes], ...]
    """Number, vector; a lesson that is not kept any more is left out."""


class OpenSession(Struct, frozen=True, tag="open_session", array_like=True):
    """A session, in which each sequence number is applied once. Gives `SessionOpened`."""

    client: str = ""
    """For a person to see whose it is."""


class CloseSession(Struct, frozen=True, tag="close_session", array_like=True):
    """Forget a session and its answers. Gives `Done`."""

    session: int


class SetLimits(Struct, frozen=True, tag="limits", array_like=True):
    """Other limits from here on. Gives `Done`."""

    limits: Limits


class Tidy(Struct, frozen=True, tag="tidy", array_like=True):
    """Let time pass: what has expired goes, and what is beyond the limits. Gives `Done`."""


Command = (
    PutPatterns
    | RemovePatterns
    | Touch
    | GiveFeedback
    | Retrain
    | Reembed
    | ReembedFeedback
    | OpenSession
    | CloseSession
    | SetLimits
    | Tidy
    | WorkCommand
)


Count = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A number that the tables can hold."""


class Entry(Struct, frozen=True, kw_only=True, array_like=True):
    """A command as it stands in the log."""

    version: int = 1
    time: float
    """When it was proposed, seconds since 1970."""
    session: Count = 0
    sequence: Count = 0
    """With a session: from 1. The same session and sequence are applied once."""
    proposer: Count = 0
    ticket: Count = 0
    """By which whoever proposed it knows it again; the state does not look at them."""
    command: Command


class _Versioned(Struct, frozen=True, array_like=True):
    version: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)
_versioned = msgspec.msgpack.Decoder(_Versioned)


def version_of(command: Command) -> int:
    """The version of an entry with this command: the least flowcore that knows it can apply it."""
    if isinstance(command, ReembedFeedback):
        return 5
    if isinstance(command, Reinstate):
        return 4
    if isinstance(command, WorkCommand):
        return 3
    return 2 if isinstance(command, Retrain) else 1


def encode_entry(entry: Entry) -> bytes:
    """The bytes that stand in the log. Raises UnicodeEncodeError for a text that is no Unicode."""
    return _encoder.encode(entry)


def decode_entry(data: bytes) -> Entry:
    """The entry. Raises UntrustedFile for one of a newer version, or none at all."""
    try:
        entry = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _refuse_newer(data)
        raise UntrustedFile(f"an entry of the log is no command: {error}") from error
    if entry.version > VERSION:  # its fields may mean something else
        _refuse_newer(data)
    return entry


def _refuse_newer(data: bytes) -> None:
    try:
        version = _versioned.decode(data).version
    except msgspec.MsgspecError:
        return
    if version > VERSION:
        raise UntrustedFile(
            f"an entry of version {version} is in the log, made by a newer flowcore;"
            f" this one knows {VERSION}"
        )
