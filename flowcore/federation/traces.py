"""What other nodes have recorded of a trace: asked of all that can be reached, when somebody looks at it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from flowcore.errors import StreamBroken, SwarmError
from flowcore.federation.wire import WrongMessage, pack, unpack
from flowcore.swarm import Lane, Overlay, Stream, receive_whole, send_whole

logger = logging.getLogger(__name__)

SERVICE = "traces"
PATIENCE = 2.0
"""Seconds that other nodes have to answer."""
_MOST = 1 << 20
"""Bytes of a node's answer."""
_LONGEST_ID = 256


class SpanTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """A span of another node."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: float
    seconds: float
    failed: bool = False
    error: str = ""
    attributes: dict[str, str | bool | int | float | list[str]] = {}


class Gathering:
    """Asks, and answers, for spans."""

    def __init__(self, overlay: Overlay, own: Callable[[str], list[dict[str, Any]]]) -> None:
        """`own` gives the spans of a trace at this node."""
        self._overlay = overlay
        self._own = own

    async def serve(self, node: str, head: bytes, stream: Stream) -> None:
        """Tell another node the spans here: the handler of a stream, whose head is the trace's id."""
        try:
            async with stream:
                id_ = head[:_LONGEST_ID].decode("utf-8", "replace")
                told = [msgspec.convert(one, SpanTold) for one in self._own(id_)]
                packed = pack(told)
                while len(packed) > _MOST:
                    told = told[: len(told) // 2]
                    packed = pack(told)
                await send_whole(stream, packed)
        except StreamBroken as error:
            logger.debug("node %s wants to know no more of a trace: %s", node, error)

    async def gather(self, trace_id: str) -> tuple[list[dict[str, Any]], list[str]]:
        """The spans of a trace at the other nodes, and those nodes that did not answer."""
        found: list[dict[str, Any]] = []
        nodes = sorted({*self._overlay.reachable(), *self._overlay.unreachable()})
        missing = set(nodes) - {self._overlay.name}

        async def ask(node: str) -> None:
            try:
                opening = self._overlay.open(node, SERVICE, trace_id.encode(), Lane.CONTROL)
                async with await opening as stream:
                    told = unpack(await receive_whole(stream, _MOST), list[SpanTold])
            except (SwarmError, StreamBroken, WrongMessage) as error:
                logger.debug("node %s does not tell of a trace: %s", node, error)
                return
            missing.discard(node)
            found.extend({**msgspec.structs.asdict(one), "node": node} for one in told)

        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for node in sorted(missing):
                    nursery.start_soon(ask, node)
        return found, sorted(missing)
