"""Read barriers: all that are asked in one turn share one question to the engine."""

from __future__ import annotations

import attrs
import trio

from flow_consensus.effects import ReadState
from flow_consensus.raft.core import Refused
from flow_consensus.raft.driver.port import Node
from flowcore.errors import StateUnavailable


@attrs.define(eq=False)
class _Barrier:
    """What several wait for."""

    leased: bool
    done: trio.Event = attrs.field(factory=trio.Event)
    position: int | None = None
    asked: float = 0.0
    """When the engine was asked; 0 while it was not."""
    number: int = 0


class Barriers:
    """Those that wait to be asked, and those that wait for an answer."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._next: dict[bool, _Barrier] = {}
        self._under_way: dict[int, _Barrier] = {}
        self._number = 0

    async def wait(self, *, leased: bool) -> int:
        """A position, as `Consensus.read_barrier` gives it. Raises StateUnavailable, Overloaded."""
        node = self._node
        deadline = trio.current_time() + node.settings.patience
        why = "no leader is known"
        while True:
            if node.stopped:
                raise StateUnavailable(node.stopped)
            barrier = self._next.get(leased)
            if barrier is None:
                barrier = self._next[leased] = _Barrier(leased)
                node.wake()
            with trio.move_on_at(deadline):
                await barrier.done.wait()
                if barrier.position is not None:
                    return barrier.position
                await trio.sleep(node.settings.tick)  # nobody leads just now
                continue
            if node.engine.leader:
                why = f"{node.engine.leader} leads, and could not make sure of it in time"
            raise StateUnavailable(
                f"{why}: a majority of {sorted(node.engine.membership.voters)} cannot be reached",
                data={"leader": node.engine.leader},
                retry_after=node.settings.election,
            )

    def offer(self) -> None:
        """Ask the engine what is to be asked."""
        if not self._next:
            return
        engine = self._node.engine
        if True in self._next:
            self._node.tick_now()
        for leased, barrier in list(self._next.items()):
            del self._next[leased]
            self._number += 1
            barrier.number, barrier.asked = self._number, trio.current_time()
            self._under_way[self._number] = barrier
            try:
                engine.read_index(self._number, leased=leased)
            except Refused:
                self._end(barrier, None)

    def settled(self, read: ReadState) -> None:
        """The engine has found an answer, or none."""
        barrier = self._under_way.get(read.context) if isinstance(read.context, int) else None
        if barrier is not None:
            self._end(barrier, read.position)

    def tick(self) -> None:
        """What has no answer for long, its question or answer may be lost: it is asked again by who waits."""
        if self._under_way:
            late = trio.current_time() - 2 * self._node.settings.election
            for barrier in [one for one in self._under_way.values() if one.asked < late]:
                self._node.engine.forget_reads(barrier.number)
                self._end(barrier, None)

    def _end(self, barrier: _Barrier, position: int | None) -> None:
        self._under_way.pop(barrier.number, None)
        barrier.position = position
        barrier.done.set()

    def stop(self) -> None:
        """Nobody is answered any more."""
        for barrier in (*self._next.values(), *self._under_way.values()):
            barrier.done.set()
        self._next.clear()
        self._under_way.clear()
