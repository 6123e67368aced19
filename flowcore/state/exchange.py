"""Patterns as JSON lines: out of one state, and into another."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import AsyncGenerator, AsyncIterable

import attrs
import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from flowcore.errors import InvalidArguments
from flowcore.state.commands import PutPattern, PutPatterns
from flowcore.state.readable import Clock
from flowcore.state.records import Pattern, ReadLevel
from flowcore.state.state import State

_PART = 500
_PART_BYTES = 4 * 2**20


class PatternLine(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line. What it leaves out is as in `PutPattern`."""

    namespace: str
    key: str | None = None
    """Left out where the pattern has none of its own."""
    text: str = ""
    value: Raw | UnsetType = UNSET
    """Any JSON."""
    vector: str = ""
    """Little-endian float32, in base64 (RFC 4648 section 4)."""
    embedder: str = ""
    expert: str = ""
    reward: float = 1.0
    weight: float = 1.0
    time: float | None = None
    expires: float | None = None
    owner: tuple[str, str] = ("", "")


@attrs.frozen(kw_only=True)
class Imported:
    """What came of an import."""

    created: int
    merged: int
    """Those that took the place of one, or were merged into one."""
    expired: int
    """Those that were over already."""


_decoder = msgspec.json.Decoder(PatternLine)


async def export_patterns(
    state: State, namespace: str | None = None, *, level: ReadLevel = ReadLevel.LINEARIZABLE
) -> AsyncGenerator[bytes]:
    """Every pattern of a namespace, or of all, as a line of JSON, its end included; by namespace and id.

    Patterns that change meanwhile are as they are when their page is read.
    """
    counts = await state.counts(level=level)
    for name in sorted(counts.namespaces) if namespace is None else (namespace,):
        cursor = None
        while True:
            page = await state.list_patterns(name, cursor=cursor, level=level)
            for one in page.patterns:
                yield msgspec.json.encode(_line(one)) + b"\n"
            cursor = page.cursor
            if cursor is None:
                break


def _line(one: Pattern) -> PatternLine:
    return PatternLine(
        namespace=one.namespace,
        key=None if one.key == str(one.id) else one.key,
        text=one.text,
        value=UNSET if one.value is None else Raw(one.value),
        vector=base64.b64encode(one.vector).decode(),
        embedder=one.embedder,
        expert=one.expert,
        reward=one.reward,
        weight=one.weight,
        time=one.time,
        expires=one.expires,
        owner=one.owner,
    )


async def import_patterns(
    state: State, lines: AsyncIterable[bytes], *, clock: Clock = time.time
) -> Imported:
    """Put patterns from lines of JSON, some hundred at a time; empty lines are passed over.

    Raises InvalidArguments naming the line; those of earlier parts are in the state then. Other errors as
    `State.do`.
    """
    made = {True: 0, False: 0}
    expired = number = first = 0
    part: list[PutPattern] = []
    size = 0

    async def put() -> None:
        try:
            stored = await state.do(PutPatterns(tuple(part)))
        except InvalidArguments as error:
            raise InvalidArguments(f"lines {first} to {number}: {error.message}") from error
        for one in stored.patterns:
            made[one.created] += 1
        part.clear()

    async for line in lines:
        number += 1
        if not line.strip():
            continue
        one = _read(line, number, clock())
        if one is None:
            expired += 1
            continue
        first = first if part else number
        part.append(one)
        size += len(line)
        if len(part) >= _PART or size >= _PART_BYTES:
            await put()
            size = 0
    if part:
        await put()
    return Imported(created=made[True], merged=made[False], expired=expired)


def _read(line: bytes, number: int, now: float) -> PutPattern | None:
    """The pattern of a line, None if it is over."""
    try:
        said = _decoder.decode(line)
        vector = base64.b64decode(said.vector, validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise InvalidArguments(f"line {number} is no pattern: {error}") from error
    if said.expires is not None and said.expires <= now:
        return None
    return PutPattern(
        namespace=said.namespace,
        key=said.key,
        text=said.text,
        value=None if said.value is UNSET else bytes(said.value),
        vector=vector,
        embedder=said.embedder,
        expert=said.expert,
        reward=said.reward,
        weight=said.weight,
        time=said.time,
        ttl=None if said.expires is None else said.expires - now,
        owner=said.owner,
    )
