"""What the `api` edge does with a node's memory as a whole: patterns out, in, embedded anew, and drawn."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from flow_edges.memory_map import POINTS, map_of
from flowcore.errors import InvalidRequest
from flowcore.interfaces import Host
from flowcore.state import PatternLine

T = TypeVar("T")


class _Export(msgspec.Struct, forbid_unknown_fields=True):
    namespace: str | None = None
    cursor: str | None = None
    vectors: bool = False


class _Import(msgspec.Struct, forbid_unknown_fields=True):
    patterns: list[PatternLine]


class _Map(msgspec.Struct, forbid_unknown_fields=True):
    namespace: str = "shared"
    most: int = POINTS
    text: str = ""


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


def _read(body: bytes, of: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=of)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"expected a JSON object: {error}") from None


async def export(host: Host, body: bytes) -> dict[str, Any]:
    """A page of patterns. Raises CallError."""
    asked = _read(body, _Export)
    return await host.router.porting.out(asked.namespace, asked.cursor, vectors=asked.vectors)


async def take(host: Host, body: bytes) -> dict[str, Any]:
    """Take patterns in. Raises CallError."""
    patterns = _read(body, _Import).patterns
    return {"count": await host.router.porting.take(patterns, host.wall())}


async def reembed(host: Host, body: bytes) -> dict[str, Any]:
    """Embed anew what another embedder has embedded. Raises CallError."""
    _read(body, _Nothing)
    return {"count": await host.router.memory.reembed()}


async def draw(host: Host, body: bytes) -> dict[str, Any]:
    """The latest patterns of a namespace as points in a plane. Raises CallError."""
    asked = _read(body, _Map)
    if not 1 <= asked.most <= POINTS:
        raise InvalidRequest(f"expected 1 to {POINTS} points, not {asked.most!r}")
    return await map_of(host, asked.namespace, asked.most, asked.text)


ACTIONS = {"export": export, "import": take, "reembed": reembed, "map": draw}
"""By the last part of the path."""
