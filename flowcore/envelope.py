"""What travels: the envelope that carries a request, and the reply that answers it."""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import msgspec

from flowcore.errors import InvalidArguments
from flowcore.structs import stored_to

if TYPE_CHECKING:
    import trio

    from flowcore.telemetry.noted import Noted
    from flowcore.telemetry.tracing import Span

Raw = msgspec.Raw


class Priority(enum.IntEnum):
    """Who waits behind whom in a queue: higher goes first, equals keep their order."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


Owner = tuple[str, str]
"""A principal's scheme and name: who it is, over time and connections."""


@attrs.frozen(kw_only=True)
class Principal:
    """Who asks: a name that limits, permissions and audit speak of."""

    name: str
    scheme: str = "anonymous"
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    credentials: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False)
    """What it was recognised by, as what may be revoked: `jti:ID`, `key:ID`, `token:SHA-256`. It stays at the
    edge that it came in by."""

    @property
    def owner(self) -> Owner:
        """Whom what it leaves here (tasks, idempotency keys) belongs to: one name may be known to several
        schemes, and is somebody else in each."""
        return (self.scheme, self.name)


ANONYMOUS = Principal(name="anonymous")
LOCAL = Principal(name="local", scheme="embedded")


class Peer(Protocol):
    """The asking side, as the work sees it: what may be told to it and asked of it while it waits.

    The params are raw JSON objects in the protocol's own form.
    """

    @property
    def capabilities(self) -> dict[str, Raw]:
        """What the client declared it can do (`elicitation`, `sampling`, `roots`); empty if nothing."""
        ...

    def notify(self, method: str, params: Raw) -> None:
        """Tell the client something (`notifications/progress`, `notifications/message`); never blocks.

        What the client did not ask for, or cannot receive any more, is dropped and counted.
        """
        ...

    async def request(self, method: str, params: Raw) -> Raw:
        """Ask the client (`elicitation/create`, `sampling/createMessage`, `roots/list`) and wait.

        Raises UnknownMethod if the client did not declare it, UpstreamError for its own error.
        """
        ...


class Deaf:
    """The peer of a caller that can be told nothing and asked nothing."""

    capabilities: dict[str, Raw] = {}  # noqa: RUF012 - never written

    def notify(self, method: str, params: Raw) -> None:
        del method, params

    async def request(self, method: str, params: Raw) -> Raw:
        from flowcore.errors import UnknownMethod

        raise UnknownMethod(f"this caller cannot be asked {method!r}")


DEAF: Peer = Deaf()


def new_request_id() -> str:
    """A random UUID (RFC 9562 version 4) as text."""
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            _drawn.extend(_draw(256))


def _draw(count: int) -> list[str]:
    chance = bytearray(os.urandom(16 * count))
    chance[6::16] = chance[6::16].translate(_VERSION)
    chance[8::16] = chance[8::16].translate(_VARIANT)
    digits, text = chance.hex().encode(), bytearray(b"-" * (36 * count))
    for digit, place in enumerate(_PLACES):  # that digit of all of them at once
        text[place::36] = digits[digit::32]
    whole = text.decode()
    return [whole[start : start + 36] for start in range(0, len(whole), 36)]


_VERSION = bytes(0x40 | octet & 0x0F for octet in range(256))
_VARIANT = bytes(0x80 | octet & 0x3F for octet in range(256))
_PLACES = [place for place in range(36) if place not in (8, 13, 18, 23)]
"""Where the digits are in the text; dashes are between."""
_drawn: list[str] = []
"""Drawn ahead, for each draw is a system call; every text is taken once, by whichever thread is first."""
os.register_at_fork(after_in_child=_drawn.clear)


def tool_params(name: str, arguments: Mapping[str, Any] | Raw) -> dict[str, Raw]:
    """The params of a `tools/call` or `prompts/get`, as a client would send them.

    Raises InvalidArguments for arguments that are no JSON.
    """
    try:
        raw = arguments if isinstance(arguments, Raw) else Raw(msgspec.json.encode(arguments))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArguments(f"arguments of {name!r} are no JSON: {error}") from error
    return {"name": Raw(msgspec.json.encode(name)), "arguments": raw}


@stored_to
class Envelope(msgspec.Struct, kw_only=True, eq=False):
    """One request on its way: it crosses stages and nodes unchanged but for a deadline that shrinks.

    `method` is the MCP method (`tools/call`, `resources/read`, `prompts/get`, `completion/complete`,
    `resources/subscribe`, ...), `name` what it is about as the agent itself calls it (tool or prompt
    name, URI). `params` are the JSON members of the request as bytes, unknown ones included, without
    `_meta`; `meta` is `_meta`, member by member, where the W3C trace context also is (`traceparent`).
    """

    id: str = msgspec.field(default_factory=new_request_id)
    method: str = "tools/call"
    agent: str
    name: str
    params: dict[str, Raw]
    meta: dict[str, Raw] = {}
    context: bytes = b""
    """The W3C trace context as a member of a JSON object, `"traceparent":"..."`, where `meta` has none of it
    because the worker said that it puts it beside those members itself (`Traced.beside`)."""
    principal: Principal = LOCAL
    deadline: float
    """Absolute, on trio's clock, in seconds; math.inf is not allowed past admission."""
    explicit: bool = False
    """Whether the caller asked for this deadline: it then holds instead of the agent's own, be it longer."""
    priority: Priority = Priority.NORMAL
    idempotency_key: str | None = None
    affinity: bytes | None = None
    """What consistent hashing looks at: calls of one affinity meet one worker, while it can take them."""
    edge: str = ""
    """The name of the edge it came by; "" if the program itself asks."""
    client: str = ""
    """The address it came from, as far as the edge believes it; "" where there is none."""
    node: str = ""
    """The node of a swarm by which alone it is to be done; "" for whichever can."""
    modern: bool = False
    """Whether the asking side speaks MCP 2026-07-28 or later."""
    peer: Peer = DEAF
    scope: trio.CancelScope | None = None
    """The scope in which an agent does it, ended at `deadline`."""
    began: bool = False
    """Whether a worker has been given it."""
    started: float = -math.inf
    """When a worker was given it last, on trio's clock; -math.inf: never."""
    attempts: int = 0
    """How often it was sent to other nodes."""
    span: Span | None = None
    """What is recorded of it at this node, as far as it has come; None where nothing is, or not yet."""
    noted: Noted | None = None
    """What is noted of it, as long as it is an ordinary one and nothing is recorded: see `recorded`."""
    _asking: int = 0
    _asked_at: float = 0.0

    def again(self, **changes: Any) -> Envelope:
        """The same request anew, with these fields changed; nothing of it has begun."""
        self.recorded()  # both are part of one trace
        return msgspec.structs.replace(
            self,
            **{
                "scope": None,
                "context": b"",
                "began": False,
                "started": -math.inf,
                "_asking": 0,
                **changes,
            },
        )

    def recorded(self) -> Span | None:
        """Its span, made now where it was only noted so far; None where nothing is recorded."""
        if self.noted is not None:
            self.span, self.noted = self.noted.trace(), None
        return self.span

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that it is part of; None where nothing is recorded."""
        if self.noted is not None:
            return self.noted.trace_id
        return None if self.span is None else self.span.trace.trace_id

    @property
    def until(self) -> float:
        """The deadline that holds now, in seconds on trio's clock; math.inf while the caller is asked."""
        if self._asking:
            return math.inf
        return self.deadline if self.scope is None else self.scope.deadline

    def stop_clock(self, now: float) -> None:
        """The work waits for an answer of the caller's from now on: that time is not the agent's."""
        self._asking += 1
        if self._asking == 1:
            self._asked_at = now
            if self.scope is not None:
                self.scope.deadline = math.inf

    def start_clock(self, now: float) -> None:
        """The answer is there, or waited for no more: the deadline is so much later."""
        self._asking -= 1
        if not self._asking:
            self.deadline += now - self._asked_at
            if self.scope is not None:
                self.scope.deadline = self.deadline

    def cut(self, now: float) -> None:
        """The deadline is over now, whatever it was, also for a caller who is being asked."""
        self.deadline = min(self.deadline, now)
        if self.scope is not None:
            self.scope.deadline = self.deadline

    @property
    def arguments(self) -> Any:
        """The decoded `arguments` member; {} if there is none."""
        raw = self.params.get("arguments")
        return {} if raw is None else msgspec.json.decode(raw)


class Reply(msgspec.Struct, frozen=True):
    """What came of a request: the raw JSON result object.

    `modern` tells which era's fields it carries: True if it is a complete 2026-07-28 result
    (`resultType` and all), False if it is of an earlier form or made by an agent that knows no era.
    `failed` tells whether a tool says in it that it failed, where whoever made it knows.
    """

    result: Raw
    modern: bool = False
    failed: bool | None = None
