"""Requests and outcomes as they stand in the state."""

from __future__ import annotations

import hashlib

from msgspec import Raw, Struct

from flowcore.envelope import Envelope, Principal, Priority, Reply
from flowcore.errors import CallError, UnknownMethod
from flowcore.federation.wire import Asked, Failed, WrongMessage, error_of, failed, pack, unpack

LONGEST = 400
"""Bytes of a text that stands in the state as it is; of a longer one its digest does."""


class Result(Struct, frozen=True, array_like=True, tag="result"):
    """A result."""

    modern: bool
    data: bytes


def pack_outcome(reply: Reply | None, error: CallError | None) -> bytes:
    """An outcome: a result or an error; neither is none."""
    if reply is not None:
        return pack(Result(reply.modern, bytes(reply.result)))
    return b"" if error is None else pack(failed(error))


def unpack_outcome(data: bytes) -> Reply | CallError | None:
    """The same back. Raises WrongMessage for what is none, such as of a newer flowcore."""
    if not data:
        return None
    told: Result | Failed = unpack(data, Result | Failed)  # type: ignore[arg-type]
    if isinstance(told, Failed):
        return error_of(told)
    return Reply(Raw(told.data), told.modern)


class KeptRequest(Struct, frozen=True, omit_defaults=True):
    """The request of a task, so that any node can begin with it. Times are seconds since 1970."""

    asked: Asked
    """Without its deadline."""
    created: float
    until: float
    """When the task is over at the latest."""
    keep: float
    """Seconds for which it is kept after its end."""
    edge: str = ""


class Progress(Struct, frozen=True, omit_defaults=True):
    """How far a task is, as other nodes hear of it."""

    message: str = ""
    questions: dict[str, tuple[str, bytes]] = {}
    """Method and params of what it asks, by key."""


def unpack_request(data: bytes) -> KeptRequest:
    """The request of a task. Raises WrongMessage."""
    return unpack(data, KeptRequest)


def unpack_progress(data: bytes) -> Progress:
    """How far it is. Raises WrongMessage."""
    return unpack(data, Progress) if data else Progress()


class Absent:
    """The peer of a task whose caller is not there: what it declared is known, and nothing is told to it."""

    def __init__(self, capabilities: dict[str, Raw]) -> None:
        self.capabilities = capabilities

    def notify(self, method: str, params: Raw) -> None:
        """Nobody listens."""
        del method, params

    async def request(self, method: str, params: Raw) -> Raw:
        """Nobody answers. Raises UnknownMethod."""
        del params
        raise UnknownMethod(f"the caller of this task is not there to be asked {method!r}")


def envelope_of(kept: KeptRequest, deadline: float) -> Envelope:
    """The request anew, with another id; `deadline` is on trio's clock. Raises WrongMessage."""
    asked = kept.asked
    try:
        priority = Priority(asked.priority)
    except ValueError:
        raise WrongMessage(f"an unknown priority {asked.priority}") from None
    return Envelope(
        method=asked.method,
        agent=asked.agent,
        name=asked.name,
        params=_raws(asked.params),
        meta=_raws(asked.meta),
        principal=Principal(
            name=asked.principal,
            scheme=asked.scheme,
            roles=frozenset(asked.roles),
            scopes=frozenset(asked.scopes),
        ),
        deadline=deadline,
        explicit=True,
        priority=priority,
        idempotency_key=asked.key,
        affinity=asked.affinity,
        edge=kept.edge,
        client=asked.client,
        modern=asked.modern,
        peer=Absent(_raws(asked.capabilities)),
    )


def _raws(members: dict[str, bytes]) -> dict[str, Raw]:
    return {name: Raw(data) for name, data in members.items()}


def short(text: str) -> str:
    """A text that the state takes as a name: itself, or a digest of one that is too long for that."""
    data = text.encode()
    if len(data) <= LONGEST:
        return text
    return f"{text[:40]}#sha256:{hashlib.sha256(data).hexdigest()}"
