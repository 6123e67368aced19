"""What a node's wall clock is worth to the state: nodes ask each other, and go by the one in the middle.

Most clocks must be right, as in NTP's choice of truechimers (RFC 5905, section 11.2.1).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
import trio

from flowcore.errors import SwarmError
from flowcore.federation import WrongMessage
from flowcore.flow.inquiry import ask
from flowcore.state import Consensus, StateClock, agreed
from flowcore.swarm import Overlay, Stream
from flowcore.wall import WallClock

logger = logging.getLogger(__name__)

SERVICE = "flow.clock"
PATIENCE = 1.0
"""Seconds in which a node must have told its time."""
_SOON, _PAUSE = 0.25, 30.0
"""Seconds until all are asked again: before any has told, and after."""
_OLD = 10.0
"""Seconds after which nodes that can be reached and tell nothing are of a version that does not know how."""
_FAR = 1.0
"""Seconds that clocks may differ by without a word."""


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


Moment = Annotated[float, msgspec.Meta(ge=0.0, le=1e11)]
"""Seconds since 1970: a number, and no more than some thousand years."""


class Told(msgspec.Struct, array_like=True):
    """What a node tells."""

    wall: Moment
    """Its wall clock."""
    time: Moment | None
    """What time it is for its state; None: it does not know."""


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
            clock = self._clock
            told = Told(clock.wall(), clock() if clock.settled.is_set() else None)
            await stream.send(msgspec.msgpack.encode(told))
            await stream.finish()

    async def run(self) -> None:
        """Until cancelled."""
        silent = None
        while True:
            if self._alone():
                self._clock.believe(0.0)
            others = await self._ask()
            reachable = bool(self._overlay.reachable())
            silent = None if others or not reachable else silent or trio.current_time()
            if others and (self._clock.settled.is_set() or self._most(1 + len(others))):
                self._believe(others)
            elif silent is not None and trio.current_time() - silent >= _OLD:
                self._clock.believe(0.0)
            await trio.sleep(_PAUSE if self._clock.settled.is_set() and others else _SOON)

    def _voters(self) -> list[str]:
        """The nodes that have to agree to what this one writes; itself, where no other has to."""
        status, me = self._consensus.status(), [self._overlay.name]
        voters: list[str] = status.get("voters", status.get("nodes", me))
        return voters

    def _alone(self) -> bool:
        return self._voters() == [self._overlay.name]

    def _most(self, count: int) -> bool:
        """Whether so many clocks are enough to believe the one in the middle at first.

        After all nodes were down, two that hear each other alone could else go by the wrong one of their
        clocks, and what they promise be over when the others are heard again. Fewer can agree to nothing.
        """
        return 2 * count > len(self._voters())

    def _believe(self, others: list[Told]) -> None:
        mine = self._clock.wall()
        offset = agreed([one.wall - mine for one in others])
        times = [one.time for one in others if one.time is not None]
        self._clock.believe(offset, times, compared=True)
        if abs(offset) > _FAR and not self._far:
            way = "behind" if offset > 0 else "ahead of"
            logger.warning(
                "this node's clock is %.1f s %s those of most nodes: the state goes by theirs",
                abs(offset),
                way,
            )
        self._far = abs(offset) > _FAR

    async def _ask(self) -> list[Told]:
        """What others tell, as if they said it now."""
        told: list[tuple[float, Told]] = []

        async def hear(node: str) -> None:
            began = trio.current_time()
            with trio.move_on_after(PATIENCE):
                try:
                    theirs = await ask(self._overlay, node, SERVICE, Told)
                except (SwarmError, WrongMessage) as error:
                    logger.debug("node %s does not tell its time: %s", node, error)
                    return
                # of a round trip, half is taken for the way there (RFC 5905, section 8)
                told.append(((began + trio.current_time()) / 2, theirs))

        async with trio.open_nursery() as nursery:
            for node in self._overlay.reachable():
                nursery.start_soon(hear, node)
        now = trio.current_time()
        return [
            Told(one.wall + now - then, None if one.time is None else one.time + now - then)
            for then, one in told
        ]
