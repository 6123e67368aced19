"""What the `api` edge does with a node's memory as a whole: patterns out, in, embedded anew, and drawn."""

from __future__ import annotations

from typing import Any

import msgspec

from flow_edges.api.answers import read_body
from flow_edges.api.memory_map import POINTS, map_of
from flowcore.errors import InvalidRequest
from flowcore.interfaces import Host
from flowcore.state import PatternLine

_WITHIN = 5.0
"""Seconds that one request embeds anew; whoever asks goes on asking until it is complete."""


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


async def export(host: Host, body: bytes) -> dict[str, Any]:
    """A page of patterns. Raises CallError."""
    asked = read_body(body, _Export)
    return await host.router.porting.out(asked.namespace, asked.cursor, vectors=asked.vectors)


async def take(host: Host, body: bytes) -> dict[str, Any]:
    """Take patterns in. Raises CallError."""
    patterns = read_body(body, _Import).patterns
    return {"count": await host.router.porting.take(patterns, host.wall())}


async def reembed(host: Host, body: bytes) -> dict[str, Any]:
    """Embed anew, for some seconds, what another embedder has embedded. Raises CallError."""
    read_body(body, _Nothing)
    done = await host.router.reembed(within=_WITHIN, wait=False)
    return {"count": done.patterns, "lessons": done.lessons, "complete": done.complete}


async def retrain(host: Host, body: bytes) -> dict[str, Any]:
    """Have gates trained anew on the lessons that are kept; begun when this returns. Raises CallError."""
    read_body(body, _Nothing)
    return {"count": await host.router.learning.retrain(wait=False)}


async def draw(host: Host, body: bytes) -> dict[str, Any]:
    """The latest patterns of a namespace as points in a plane. Raises CallError."""
    asked = read_body(body, _Map)
    if not 1 <= asked.most <= POINTS:
        raise InvalidRequest(f"expected 1 to {POINTS} points, not {asked.most!r}")
    return await map_of(host, asked.namespace, asked.most, asked.text)


ACTIONS = {"export": export, "import": take, "reembed": reembed, "retrain": retrain, "map": draw}
"""By the last part of the path."""
