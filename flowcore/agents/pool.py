"""The pool: which workers there are, which are free, and who waits for one.

Sans-IO: it knows no task, clock or socket. It is told what happened, and says what to do: which waiter was
given which worker, how many workers to start, which to let go. `flowcore.agents.agent` drives it.

What poolboy's authors test holds here: an owner that goes away returns its worker; a wait that ends without
a grant never takes one later; a worker that dies is replaced for the one who waits; nobody waits for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from flowcore.interfaces import Balancer, Load


@attrs.frozen(kw_only=True)
class PoolLimits:
    """The numbers of a pool, all settled."""

    min: int
    max: int
    concurrency: int
    idle_timeout: float
    queue: int


@attrs.define(eq=False)
class Slot:
    """One worker in the pool. `owner` is the driver's own: the pool does not look at it."""

    load: Load
    owner: Any
    idle_since: float
    alive: bool = True
    leaving: bool = False
    """It takes no further call: it is being let go, or has died."""


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits for a worker. `granted` is called once, with a slot or with a refusal."""

    granted: Callable[[], None]
    affinity: bytes | None
    slot: Slot | None = None
    refusal: Exception | None = None


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """The pool as it is now, and what it has done since it opened."""

    workers: int
    starting: int
    active: int
    free: int
    waiting: int
    grants: int
    waits: int
    refused: int


class Pool:
    """The free workers, and three queues of waiters: high, normal and low priority."""

    def __init__(self, limits: PoolLimits, balancer: Balancer) -> None:
        self.limits = limits
        self.balancer = balancer
        self.starting = 0
        self._slots: dict[int, Slot] = {}
        self._free: list[Load] = []
        self._queues: tuple[deque[Waiter], ...] = (deque(), deque(), deque())
        self._waiting = 0
        self._active = 0
        self._next = 0
        self._grants = 0
        self._waits = 0
        self._refused = 0

    # ---- taking and giving back

    def take(self, affinity: bytes | None, now: float) -> Slot | None:
        """A free worker, chosen by the balancer and taken; None if there is none, or others wait."""
        free = self._free
        if not free or self._waiting:
            return None
        index = self.balancer.pick(free, affinity, now) if len(free) > 1 else 0
        load = free[index]
        load.active += 1
        if load.active >= self.limits.concurrency:
            del free[index]
        self._active += 1
        self._grants += 1
        self.balancer.started(load.worker, now)
        return self._slots[load.worker]

    def give_back(self, slot: Slot, now: float, seconds: float, ok: bool | None) -> None:
        """A call on a worker ended after `seconds`; `ok` is None if the caller cancelled it."""
        load = slot.load
        self._active -= 1
        load.active -= 1
        if ok is not None:
            self.balancer.finished(load.worker, now, seconds, ok)
        if slot.leaving:
            return
        if load.active == self.limits.concurrency - 1:
            self._free.append(load)
        if load.active == 0:
            slot.idle_since = now
        if self._waiting:
            self._serve(now)

    def wait(self, priority: int, waiter: Waiter) -> bool:
        """Queue for a worker; False if the queue is full."""
        if self._waiting >= self.limits.queue:
            self._refused += 1
            return False
        self._queues[priority].append(waiter)
        self._waiting += 1
        self._waits += 1
        return True

    def leave_queue(self, priority: int, waiter: Waiter, now: float) -> None:
        """A waiter goes away. What it was granted meanwhile is given back, unused."""
        if waiter.slot is not None:
            self.give_back(waiter.slot, now, 0.0, None)
            waiter.slot = None
        elif waiter.refusal is None:
            self._queues[priority].remove(waiter)
            self._waiting -= 1

    def refuse_all(self, refusal: Callable[[], Exception]) -> None:
        """Refuse everyone who waits."""
        for queue in self._queues:
            while queue:
                waiter = queue.popleft()
                self._waiting -= 1
                waiter.refusal = refusal()
                waiter.granted()

    def _serve(self, now: float) -> None:
        for queue in reversed(self._queues):
            while queue and self._free:
                waiter = queue.popleft()
                self._waiting -= 1
                held, self._waiting = self._waiting, 0
                waiter.slot = self.take(waiter.affinity, now)
                self._waiting = held
                waiter.granted()

    # ---- workers come and go

    def up(self, owner: Any, now: float) -> Slot:
        """A worker is ready: it has a slot from now on."""
        slot = Slot(Load(self._next), owner, now)
        self._next += 1
        self._slots[slot.load.worker] = slot
        self._free.append(slot.load)
        self._serve(now)
        return slot

    def down(self, slot: Slot) -> None:
        """A worker is gone, whatever it was doing."""
        self.retire(slot)
        slot.alive = False
        del self._slots[slot.load.worker]
        self.balancer.removed(slot.load.worker)

    def retire(self, slot: Slot) -> None:
        """Give a worker no further call."""
        if not slot.leaving:
            slot.leaving = True
            if slot.load in self._free:
                self._free.remove(slot.load)

    def shortage(self) -> int:
        """How many workers should be started now."""
        staying = sum(not slot.leaving for slot in self._slots.values()) + self.starting
        for_waiters = -(-self._waiting // self.limits.concurrency) - self.starting
        wanted = max(self.limits.min - staying, for_waiters)
        return max(0, min(wanted, self.limits.max - staying))

    def surplus(self, now: float) -> list[Slot]:
        """Workers beyond `min` that have had nothing to do for the idle time-out, longest first."""
        staying = [slot for slot in self._slots.values() if not slot.leaving]
        idle = [
            slot
            for slot in staying
            if slot.load.active == 0 and now - slot.idle_since >= self.limits.idle_timeout
        ]
        idle.sort(key=lambda slot: slot.idle_since)
        return idle[: max(0, len(staying) + self.starting - self.limits.min)]

    def next_surplus(self) -> float | None:
        """When the longest idle worker will have been idle for the time-out; None if none counts."""
        staying = [slot for slot in self._slots.values() if not slot.leaving]
        if len(staying) + self.starting <= self.limits.min:
            return None
        idle = [slot.idle_since for slot in staying if slot.load.active == 0]
        return min(idle) + self.limits.idle_timeout if idle else None

    # ---- what can be seen

    @property
    def active(self) -> int:
        """Calls under way."""
        return self._active

    @property
    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return self._waiting

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Every worker there is."""
        return tuple(self._slots.values())

    def statistics(self) -> PoolStatistics:
        """The pool as it is now."""
        return PoolStatistics(
            workers=len(self._slots),
            starting=self.starting,
            active=self._active,
            free=len(self._free),
            waiting=self._waiting,
            grants=self._grants,
            waits=self._waits,
            refused=self._refused,
        )
