"""What a node's wall clock is worth to the state: nodes ask each other, and go by the one in the middle.

Most clocks must be right, as in NTP's choice of truechimers (RFC 5905, section 11.2.1).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import trio

from flowcore.errors import SwarmError
from flowcore.federation import WrongMessage
from flowcore.flow.inquiry import ask
from flowcore.state import ClockTold, Consensus, StateClock
from flowcore.state.clock import FAR
from flowcore.swarm import Overlay, Stream
from flowcore.wall import WallClock

logger = logging.getLogger(__name__)

SERVICE = "flow.clock"
PATIENCE = 1.0
"""Seconds in which a node must have told its time."""
_SOON, _PAUSE = 0.25, 30.0
"""Seconds until all are asked again: before any has told, and after."""
_OLD = 10.0
"""Seconds after which nodes that can be reached and tell nothing are of a version that does not know how, and
those that are missed for want of an agreement are gone."""


@asynccontextmanager
async def keep_clock(
    wall: WallClock, consensus: Consensus, overlay: Overlay | None
) -> AsyncGenerator[StateClock]:
    """The clock of a state, held to those of other nodes as long as the block lasts; alone, to its own."""
    clock = StateClock(wall)
    if overlay is None:
        clock.believe(0.0)
        yield clock
        return
    asking = _Asking(clock, consensus, overlay)
    async with overlay.serve(SERVICE, asking.serve), trio.open_nursery() as nursery:
        nursery.start_soon(asking.run)
        yield clock
        nursery.cancel_scope.cancel()


class _Asking:
    """Asks the others, again and again."""

    def __init__(self, clock: StateClock, consensus: Consensus, overlay: Overlay) -> None:
        self._clock = clock
        self._consensus = consensus
        self._overlay = overlay
        self._far = False

    async def serve(self, node: str, head: bytes, stream: Stream) -> None:
        """Tell one node the time here."""
        del node, head
        async with stream:
            await stream.send(msgspec.msgpack.encode(self._clock.tell()))
            await stream.finish()

    async def run(self) -> None:
        """Until cancelled."""
        silent = heard = None
        while True:
            if self._alone():
                self._clock.believe(0.0)
            others = await self._ask()
            now = trio.current_time()
            silent = None if others or not self._overlay.reachable() else silent or now
            heard = (heard or now) if others else None
            if heard is not None:
                patient = now - heard < _OLD
                if self._clock.hear(others, len(self._voters()), patient=patient):
                    self._warn()
            elif silent is not None and now - silent >= _OLD:
                self._clock.believe(0.0)
            await trio.sleep(_PAUSE if self._clock.settled.is_set() and others else _SOON)

    def _voters(self) -> list[str]:
        """The nodes that have to agree to what this one writes; itself, where no other has to."""
        status, me = self._consensus.status(), [self._overlay.name]
        voters: list[str] = status.get("voters", status.get("nodes", me))
        return voters

    def _alone(self) -> bool:
        return self._voters() == [self._overlay.name]

    def _warn(self) -> None:
        """Say so once where this node's clock is not what the state goes by."""
        offset = self._clock.offset or 0.0
        if abs(offset) > FAR and not self._far:
            way = "behind" if offset > 0 else "ahead of"
            logger.warning(
                "this node's clock is %.1f s %s those of most nodes: the state goes by theirs",
                abs(offset),
                way,
            )
        self._far = abs(offset) > FAR

    async def _ask(self) -> list[ClockTold]:
        """What others tell, as if they said it now."""
        told: list[tuple[float, ClockTold]] = []

        async def hear(node: str) -> None:
            began = trio.current_time()
            with trio.move_on_after(PATIENCE):
                try:
                    theirs = await ask(self._overlay, node, SERVICE, ClockTold)
                except (SwarmError, WrongMessage) as error:
                    logger.debug("node %s does not tell its time: %s", node, error)
                    return
                # of a round trip, half is taken for the way there (RFC 5905, section 8)
                told.append(((began + trio.current_time()) / 2, theirs))

        async with trio.open_nursery() as nursery:
            for node in self._overlay.reachable():
                nursery.start_soon(hear, node)
        now = trio.current_time()
        return [one.after(now - then) for then, one in told]
