"""What a request's parameters and `_meta` must be, as far as the edge itself reads them."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from flowcore.errors import InvalidArguments
from flowcore.mcp import LARGE, text_member
from flowcore.mcp.meta import DEADLINE, PRIORITY, PROGRESS_TOKEN
from flowcore.requests import Priority


class Reference(msgspec.Struct, gc=False):
    """What a completion is asked for: a prompt by name, or a resource or template by URI."""

    type: str
    name: str | None = None
    uri: str | None = None


class _Argument(msgspec.Struct, gc=False):
    name: str
    value: str


_decode_argument = msgspec.json.Decoder(_Argument).decode
_decode_reference = msgspec.json.Decoder(Reference).decode
_decode_token = msgspec.json.Decoder(int | str).decode
_decode_number = msgspec.json.Decoder(float).decode


def must_be_object(params: dict[str, Raw], key: str) -> None:
    """Raises InvalidArguments if a parameter that is there is no object."""
    raw = params.get(key)
    if raw is not None and memoryview(raw)[0] != ord("{"):
        raise InvalidArguments(f"params.{key} must be an object")


def reference(params: dict[str, Raw]) -> Reference:
    """What `completion/complete` asks about. Raises InvalidArguments, for a malformed argument too."""
    for key in ("ref", "argument"):
        if key not in params:
            raise InvalidArguments(f"params.{key} is missing")
        if len(memoryview(params[key])) > LARGE:
            raise InvalidArguments(f"params.{key} has more than {LARGE} bytes")
    try:
        _decode_argument(params["argument"])
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise InvalidArguments(f"params.argument: {problem}") from None
    try:
        return _decode_reference(params["ref"])
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise InvalidArguments(f"params.ref: {problem}") from None


def check_progress_token(meta: dict[str, Raw]) -> None:
    """Raises InvalidArguments if the token is neither a string nor an integer."""
    raw = meta[PROGRESS_TOKEN]
    if len(memoryview(raw)) > LARGE:
        raise InvalidArguments(f"{PROGRESS_TOKEN!r} has more than {LARGE} bytes")
    try:
        _decode_token(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidArguments(f"{PROGRESS_TOKEN!r} must be a string or an integer") from None


def patience(meta: dict[str, Raw]) -> float:
    """How many seconds the caller will wait, as it says. Raises InvalidArguments."""
    try:
        seconds = _decode_number(meta[DEADLINE])
    except msgspec.MsgspecError:
        seconds = -1.0
    if seconds < 0:
        raise InvalidArguments(f"{DEADLINE!r} must be a number of seconds")
    return seconds


def priority(meta: dict[str, Raw]) -> Priority:
    """The priority that the caller asks for. Raises InvalidArguments."""
    name = text_member(meta, PRIORITY)
    try:
        return Priority[(name or "normal").upper()]
    except KeyError:
        raise InvalidArguments(f"{PRIORITY!r} must be low, normal or high") from None
