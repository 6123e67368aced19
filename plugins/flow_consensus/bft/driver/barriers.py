"""Read barriers: all that are asked in one turn share one question to the voters."""

from __future__ import annotations

import attrs
import trio

from flow_consensus.bft.core import Refused
from flow_consensus.bft.driver.port import Node
from flow_consensus.effects import ReadState
from flowcore.errors import StateUnavailable


@attrs.define(eq=False)
class _Barrier:
    """What several wait for."""

    done: trio.Event = attrs.field(factory=trio.Event)
    position: int | None = None
    number: int = 0


class Barriers:
    """Those that wait to be asked, and those that wait for an answer."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._next: _Barrier | None = None
        self._under_way: dict[int, _Barrier] = {}
        self._number = 0

    async def wait(self) -> int:
        """A position, as `Consensus.read_barrier` gives it. Raises StateUnavailable."""
        node = self._node
        deadline = trio.current_time() + node.settings.patience
        while True:
            if node.stopped:
                raise StateUnavailable(node.stopped)
            barrier = self._next
            if barrier is None:
                barrier = self._next = _Barrier()
                node.wake()
            with trio.move_on_at(deadline):
                await barrier.done.wait()
                if barrier.position is not None:
                    return barrier.position
                continue
            self._forget(barrier)
            why = node.lonely() or "a quorum has not answered in time"
            raise StateUnavailable(why, retry_after=node.settings.view_timeout)

    def _forget(self, barrier: _Barrier) -> None:
        if self._under_way.pop(barrier.number, None) is not None:
            self._node.engine.forget_read(barrier.number)
            barrier.done.set()

    def offer(self) -> None:
        """Ask the engine what is to be asked."""
        barrier, self._next = self._next, None
        if barrier is None:
            return
        self._number += 1
        barrier.number = self._number
        self._under_way[barrier.number] = barrier
        try:
            self._node.engine.read(barrier.number)
        except Refused:
            del self._under_way[barrier.number]
            self._next = barrier  # too many wait: it is asked with the next ones

    def settled(self, read: ReadState) -> None:
        """The engine has found an answer, or none."""
        if isinstance(read.context, int):
            barrier = self._under_way.pop(read.context, None)
            if barrier is not None:
                barrier.position = read.position
                barrier.done.set()

    def stop(self) -> None:
        """Nobody is answered any more."""
        for barrier in (*([self._next] if self._next else []), *self._under_way.values()):
            barrier.done.set()
        self._next = None
        self._under_way.clear()
