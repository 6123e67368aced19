"""What nodes say to each other about agents and requests: MessagePack, and every field of it checked.

Members that this version does not know are ignored, so that a newer node can say more to an older one;
what it must have and is missing, or of another form, is WrongMessage.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from flowcore.agents import Catalog, Prompt, Resource, State, Template, Tool
from flowcore.errors import CallError, FlowError, UpstreamError

T = TypeVar("T")


class WrongMessage(FlowError):
    """Another node said something that is not of the form it must have."""


# ---- who has which agents


class About(Struct, frozen=True, array_like=True):
    """What a node tells of itself with each message of gossip; at most `swarm.MOST_ABOUT` bytes."""

    boot: int
    """Another one each time the node has started."""
    version: int
    """Grows with every change of what it announces."""
    draining: bool
    loads: bytes
    """How busy its agents are, in the order of the announcement: a byte each, 255 is wholly; those that
    there is no room for count as half busy."""


class AgentNews(Struct, frozen=True, omit_defaults=True):
    """An agent of another node."""

    name: str
    state: str
    catalog: bytes
    """The digest of what it offers."""
    reason: str = ""
    description: str = ""
    type: str = ""
    roles: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    bare: bool = False
    deadline: float = 30.0
    size: int = 1
    """How many calls it takes at a time."""


class Announcement(Struct, frozen=True):
    """All agents of a node."""

    node: str
    boot: int
    version: int
    agents: tuple[AgentNews, ...]
    catalogs: dict[bytes, bytes] = {}
    """What its agents offer, by digest; without those that whoever asked knows."""


class Asking(Struct, frozen=True):
    """What a node wants to know of another: its announcement, and the catalogs that it has not."""

    known: tuple[bytes, ...] = ()


class Offer(Struct, frozen=True, omit_defaults=True):
    """An offer: a tool, a resource, a template, a prompt, by its name, URI or URI template."""

    name: str
    definition: bytes
    schema: bytes | None = None
    read_only: bool = False
    idempotent: bool = False


class CatalogNews(Struct, frozen=True, omit_defaults=True):
    """A catalog, as it is digested and sent."""

    tools: tuple[Offer, ...] = ()
    resources: tuple[Offer, ...] = ()
    templates: tuple[Offer, ...] = ()
    prompts: tuple[Offer, ...] = ()
    completions: bool = False
    subscriptions: bool = False
    logging: bool = False
    instructions: str | None = None


def pack_catalog(catalog: Catalog) -> tuple[bytes, bytes]:
    """A catalog as bytes, and their digest (BLAKE2b, 16 bytes)."""
    news = CatalogNews(
        tools=tuple(
            Offer(
                one.name,
                bytes(one.definition),
                None if one.input_schema is None else bytes(one.input_schema),
                one.read_only,
                one.idempotent,
            )
            for one in catalog.tools
        ),
        resources=tuple(Offer(one.uri, bytes(one.definition)) for one in catalog.resources),
        templates=tuple(
            Offer(one.uri_template, bytes(one.definition)) for one in catalog.templates
        ),
        prompts=tuple(Offer(one.name, bytes(one.definition)) for one in catalog.prompts),
        completions=catalog.completions,
        subscriptions=catalog.subscriptions,
        logging=catalog.logging,
        instructions=catalog.instructions,
    )
    packed = msgspec.msgpack.encode(news)
    return packed, hashlib.blake2b(packed, digest_size=16).digest()


def unpack_catalog(packed: bytes, digest: bytes) -> Catalog:
    """A catalog of another node. Raises WrongMessage, also if it is not the one of this digest."""
    if hashlib.blake2b(packed, digest_size=16).digest() != digest:
        raise WrongMessage("a catalog that is not the one of its digest")
    news = unpack(packed, CatalogNews)
    for one in (*news.tools, *news.resources, *news.templates, *news.prompts):
        _check_object(one.definition)
        if one.schema is not None:
            _check_object(one.schema)
    return Catalog(
        tools=tuple(
            Tool(
                name=one.name,
                definition=Raw(one.definition),
                input_schema=None if one.schema is None else Raw(one.schema),
                read_only=one.read_only,
                idempotent=one.idempotent,
            )
            for one in news.tools
        ),
        resources=tuple(
            Resource(uri=one.name, definition=Raw(one.definition)) for one in news.resources
        ),
        templates=tuple(
            Template(uri_template=one.name, definition=Raw(one.definition))
            for one in news.templates
        ),
        prompts=tuple(
            Prompt(name=one.name, definition=Raw(one.definition)) for one in news.prompts
        ),
        completions=news.completions,
        subscriptions=news.subscriptions,
        logging=news.logging,
        instructions=news.instructions,
    )


def _check_object(raw: bytes) -> None:
    try:
        _json_object(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise WrongMessage("an offer whose definition is no JSON object") from None


_json_object = msgspec.json.Decoder(dict[str, Raw]).decode


# ---- requests


class Asked(Struct, frozen=True, omit_defaults=True):
    """A request that another node is to do; it is sent in parts, then `End`."""

    id: str
    method: str
    agent: str
    name: str
    left: float
    """Seconds until its deadline; that of the clock of whoever asked stays with them."""
    params: dict[str, bytes] = {}
    meta: dict[str, bytes] = {}
    principal: str = ""
    scheme: str = ""
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    priority: int = 1
    explicit: bool = False
    key: str | None = None
    affinity: bytes | None = None
    client: str = ""
    modern: bool = False
    capabilities: dict[str, bytes] = {}
    """What whoever asks can be asked in turn."""
    attempt: int = 1
    """From 2 on it was sent before, here or elsewhere, and is safe to do again."""


class Part(Struct, frozen=True, array_like=True, tag="part"):
    """A piece of the request, or of the result."""

    data: bytes


class End(Struct, frozen=True, array_like=True, tag="end"):
    """The last piece: of the request (`Asked`), or of the result (JSON)."""

    modern: bool = False
    data: bytes = b""


class Notified(Struct, frozen=True, array_like=True, tag="notified"):
    """The work says something before its answer."""

    method: str
    params: bytes


class Wanted(Struct, frozen=True, array_like=True, tag="wanted"):
    """The work asks whoever asked."""

    number: int
    method: str
    params: bytes


class Given(Struct, frozen=True, array_like=True, tag="given"):
    """The answer to a question of the work; an error in its place is packed as `Failed`."""

    number: int
    result: bytes | None
    error: bytes | None = None


class Failed(Struct, frozen=True, array_like=True, tag="failed"):
    """The outcome that is not a result."""

    kind: str
    code: int
    message: str
    data: bytes | None = None
    """JSON."""
    retry_after: float | None = None
    began: bool = False


Heard = Part | End | Notified | Wanted | Failed
"""What whoever asked hears."""
Said = Part | End | Given
"""What whoever asked says."""


def failed(error: CallError) -> Failed:
    """An outcome as it travels."""
    return Failed(
        type(error).__name__,
        error.wire_code,
        error.message,
        None if error.data is None else msgspec.json.encode(error.data),
        error.retry_after,
        error.began,
    )


def error_of(told: Failed) -> CallError:
    """The outcome that another node told; one of a kind that is not known here keeps its code."""
    data: Any = None
    if told.data is not None:
        try:
            data = msgspec.json.decode(told.data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise WrongMessage("an error whose data is no JSON") from None
    kind = _kinds().get(told.kind)
    if kind is None or issubclass(kind, UpstreamError):
        error: CallError = UpstreamError(told.message, code=told.code, data=data)
        error.began = told.began
        return error
    error = kind.__new__(kind)
    # not its own: some make message and data of other things
    CallError.__init__(
        error, told.message, data=data, retry_after=told.retry_after, began=told.began
    )
    return error


def _kinds() -> dict[str, type[CallError]]:
    """Every typed outcome by its name, those of plugins, too."""
    found: dict[str, type[CallError]] = {}
    todo: list[type[CallError]] = [CallError]
    while todo:
        kind = todo.pop()
        found.setdefault(kind.__name__, kind)
        todo += kind.__subclasses__()
    return found


# ---- what happens to agents


class Happened(Struct, frozen=True, omit_defaults=True):
    """An event of a node, told to the others; of no agent where some are missing."""

    agent: str = ""
    ago: float = 0.0
    """Seconds since it happened, when it was sent."""
    old: str = ""
    new: str = ""
    """The states, of a change of state."""
    reason: str = ""
    method: str = ""
    """Of something that an agent said outside any call."""
    params: bytes = b"{}"
    audience: str | None = None
    """The principal whom alone it is for."""
    scheme: str = ""


_STATES = {one.value: one for one in State}


def state_of(value: str) -> State:
    """A state by its name. Raises WrongMessage."""
    try:
        return _STATES[value]
    except KeyError:
        raise WrongMessage(f"unknown state {value[:40]!r} of an agent") from None


# ---- bytes

pack = msgspec.msgpack.encode


def unpack(data: bytes, kind: type[T]) -> T:
    """A message of a kind. Raises WrongMessage."""
    try:
        return _decoder(kind).decode(data)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise WrongMessage(f"expected {getattr(kind, '__name__', kind)}: {error}"[:300]) from None


_decoders: dict[Any, Any] = {}


def _decoder(kind: Any) -> Any:
    known = _decoders.get(kind)
    if known is None:
        known = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return known


_decode_heard = msgspec.msgpack.Decoder(Heard).decode
_decode_said = msgspec.msgpack.Decoder(Said).decode


def heard(data: bytes) -> Heard:
    """What whoever asked hears. Raises WrongMessage."""
    try:
        message: Heard = _decode_heard(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongMessage(f"not of a reply: {error}"[:300]) from None
    return message


def said(data: bytes) -> Said:
    """What whoever asked says. Raises WrongMessage."""
    try:
        message: Said = _decode_said(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongMessage(f"not of a request: {error}"[:300]) from None
    return message
