"""A pattern as it travels: an object of JSON, one line of a file."""

from __future__ import annotations

import base64
import binascii

from msgspec import UNSET, Raw, Struct, UnsetType

from flowcore.errors import InvalidArguments
from flowcore.state.commands import PutPattern
from flowcore.state.records import Pattern


class PatternLine(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line. What it leaves out is as in `PutPattern`."""

    namespace: str
    key: str | None = None
    """Left out where the pattern has none of its own."""
    text: str = ""
    value: Raw | UnsetType = UNSET
    """Any JSON."""
    vector: str = ""
    """Little-endian float32, in base64 (RFC 4648 section 4). Without, the text is embedded anew."""
    embedder: str = ""
    """The identity of the embedder that made the vector."""
    expert: str = ""
    reward: float = 1.0
    weight: float = 1.0
    time: float | None = None
    """When it was learned, seconds since 1970."""
    expires: float | None = None
    owner: tuple[str, str] = ("", "")


def line_of(one: Pattern, *, vector: bool = False) -> PatternLine:
    """The line of a pattern, with its vector if that is asked for."""
    return PatternLine(
        namespace=one.namespace,
        key=None if one.key == str(one.id) else one.key,
        text=one.text,
        value=UNSET if one.value is None else Raw(one.value),
        vector=base64.b64encode(one.vector).decode() if vector else "",
        embedder=one.embedder if vector else "",
        expert=one.expert,
        reward=one.reward,
        weight=one.weight,
        time=one.time,
        expires=one.expires,
        owner=one.owner,
    )


def pattern_of(line: PatternLine, now: float) -> PutPattern | None:
    """The pattern of a line, None if it is over. Raises InvalidArguments for a vector that is none."""
    try:
        vector = base64.b64decode(line.vector, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArguments(f"vector: expected base64: {error}") from None
    if line.expires is not None and line.expires <= now:
        return None
    return PutPattern(
        namespace=line.namespace,
        key=line.key,
        text=line.text,
        value=None if line.value is UNSET else bytes(line.value),
        vector=vector,
        embedder=line.embedder,
        expert=line.expert,
        reward=line.reward,
        weight=line.weight,
        time=line.time,
        ttl=None if line.expires is None else line.expires - now,
        owner=line.owner,
    )
