"""Whatever can be read as a command, with fields beyond all sense: what a node may have decided that lies."""

from __future__ import annotations

import math
import types
import typing
from random import Random
from typing import Any

import msgspec

from flowcore.state import Command, Entry, encode_entry

_NUMBERS = (0, 1, -1, 2, 3, 7, 2**31, 2**53, 2**63 - 1, -(2**63), 2**63, 2**64 - 1)
_REALS = (0.0, 1.0, -1.0, 5.0, 1e-300, 1e11, 1e300, math.inf, -math.inf, math.nan)
_TEXTS = ("", "a", "k", "\0", "a\0b", "x" * 300, "x" * 70_000, "\U0001f600", "ä", "1", " ", "\n")
_BYTES = (
    *(b"", b"\0", b"{}", b'{"a":1}', b"null", b"\xff\xfe", b"x" * 70_000, b"[" * 3000, b"1e999"),
    *(b"\0\0\x80\x3f", b"\0\0\x80\x3f" * 384, b"\0\0\xc0\x7f"),
)


def _kinds(kind: Any) -> list[Any]:
    """All structs of a union of unions."""
    inner = typing.get_args(kind)
    return [one for each in inner for one in _kinds(each)] if inner else [kind]


COMMANDS = _kinds(Command)


def wild(kind: Any, chance: Random) -> Any:
    """A value of a type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return wild(inner[0], chance)
    if origin in (typing.Union, types.UnionType):
        return wild(chance.choice(inner), chance)
    if origin is typing.Literal:
        return chance.choice(inner)
    if origin is tuple and inner[-1] is not Ellipsis:
        return tuple(wild(one, chance) for one in inner)
    if origin in (tuple, list):
        return [wild(inner[0], chance) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        return kind(
            **{
                one.name: wild(hints[one.name], chance)
                for one in msgspec.structs.fields(kind)
                if one.required or chance.random() < 0.7
            }
        )
    simple: dict[Any, Any] = {
        int: lambda: chance.choice(_NUMBERS) if chance.random() < 0.4 else chance.randint(0, 8),
        float: lambda: chance.choice(_REALS) if chance.random() < 0.5 else chance.random(),
        str: lambda: chance.choice(_TEXTS),
        bytes: lambda: chance.choice(_BYTES),
        bool: lambda: chance.random() < 0.5,
        type(None): lambda: None,
    }
    return simple[kind]()


def wild_entry(chance: Random, number: int) -> bytes:
    """An entry of any command."""
    return encode_entry(
        Entry(
            time=chance.choice(_REALS) if chance.random() < 0.2 else 1e9 + number,
            session=chance.choice((0, 0, 0, 1, 2, 5, 2**63 - 1, 2**63)),
            sequence=chance.choice((0, 1, 2, 3, 2**63 - 1, 2**64 - 1)),
            command=wild(chance.choice(COMMANDS), chance),
        )
    )
