"""The pool: which workers there are, which are free, who waits for one, how many there should be.

Sans-IO: it knows no task, clock or socket. It is told what happened and says what to do: which worker a
call gets, how many workers to start, which to let go, when to ask again. `flowcore.agents.incarnation`
drives it.

What poolboy's authors test holds here: an owner that goes away returns its worker; a wait that ends without
a grant never takes one later; a worker that dies is replaced for the one who waits; nobody waits for ever.
The first two are kept by whoever calls (`give_back`, `leave_queue` in a `finally`), the others by `plan`.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from flowcore.interfaces import Balancer, Load

logger = logging.getLogger(__name__)

_HIGHEST = 2
"""The highest priority."""


@attrs.frozen(kw_only=True)
class PoolLimits:
    """The numbers of a pool, all settled; times in seconds."""

    min: int
    max: int
    concurrency: int
    idle_timeout: float
    queue: int
    ageing: float = 5.0
    """How long somebody waits until they count as of the next higher priority, and again as long for the
    one after: so a constant stream of high priority keeps nobody waiting for ever."""
    max_starting: int = 4
    retry_base: float = 1.0
    """How long nothing is started after a failed start; doubled with each further one."""
    retry_cap: float = 60.0


@attrs.define(eq=False)
class Slot(Load):
    """One worker in the pool. `owner` is the driver's own: the pool does not look at it."""

    owner: Any = None
    idle_since: float = 0.0
    leaving: bool = False
    """It takes no further call: it is being let go, or is gone."""
    gone: bool = False


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits for a worker. `wake` is called once: there is a slot then, or a refusal."""

    wake: Callable[[], None]
    priority: int
    """0 to 2, higher goes first; it counts for more with the time (`PoolLimits.ageing`)."""
    affinity: bytes | None
    since: float
    slot: Slot | None = None
    refusal: Exception | None = None


@attrs.frozen
class Plan:
    """What should be done now, and when to ask again (math.inf: when something happens)."""

    start: int
    dismiss: tuple[Slot, ...]
    again: float


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """The pool as it is now, and what it has done since it opened."""

    workers: int
    starting: int
    active: int
    free: int
    waiting: int
    leaving: int
    """Workers that take no further call and are still there: they end what they do."""
    grants: int
    waits: int
    refused: int
    failed_starts: int
    most: int
    """How many workers there may be."""
    queue: int
    """How many calls may wait."""


class Pool:
    """The free workers, and three queues of waiters: high, normal and low priority.

    Whenever somebody waits, no worker is free: whoever gives one back gives it on.
    """

    def __init__(self, limits: PoolLimits, balancer: Balancer) -> None:
        self.limits = limits
        self._balancer = balancer
        self._slots: dict[int, Slot] = {}
        self._free: list[Slot] = []
        """In the order in which they became free: the last one's caches are warmest."""
        self._queues: tuple[deque[Waiter], ...] = (deque(), deque(), deque())
        self._staying = 0
        self.starting = 0
        self.active = 0
        """Calls under way."""
        self.waiting = 0
        """Calls that wait for a worker."""
        self._grants = self._waits = self._refused = self._failed_starts = 0
        self._failures = 0
        self._hold = -math.inf
        self._known = False
        self._service: float | None = None
        self._balancer_failed = False

    @property
    def load(self) -> float:
        """The part of the calls that it may take at a time that are under way or wait, 0 to 1."""
        most = self.limits.max * self.limits.concurrency
        return min(1.0, (self.active + self.waiting) / most) if most else 1.0

    # ---- taking and giving back

    def take(self, affinity: bytes | None, now: float) -> Slot | None:
        """A free worker, chosen by the balancer and taken; None if there is none."""
        free = self._free
        if not free:
            return None
        index = 0 if len(free) == 1 else self._pick(free, affinity, now)
        slot = free[index]
        slot.active += 1
        if slot.active >= self.limits.concurrency:
            del free[index]
        self.active += 1
        self._grants += 1
        try:
            self._balancer.started(slot.worker, now)
        except Exception as error:
            self._blame(error)
        return slot

    def give_back(self, slot: Slot, now: float, seconds: float, ok: bool | None) -> None:
        """A call ended after `seconds`; `ok` is None if that says nothing of the worker (a cancel)."""
        self.active -= 1
        slot.active -= 1
        if slot.gone:
            return
        if ok is not None:
            known = self._service
            self._service = seconds if known is None else known + 0.1 * (seconds - known)
            try:
                self._balancer.finished(slot.worker, now, seconds, ok)
            except Exception as error:
                self._blame(error)
        if slot.leaving:
            return
        if slot.active == self.limits.concurrency - 1:
            self._free.append(slot)
        if not slot.active:
            slot.idle_since = now
        if self.waiting:
            self._serve(now)

    def wait(self, waiter: Waiter) -> bool:
        """Queue for a worker, when `take` gave none; False if the queue is full.

        Those for whom workers are coming, or can be started, do not count against the queue: what is bounded
        is who waits for others to end.
        """
        limits = self.limits
        if self.waiting >= limits.queue + (limits.max - self._staying) * limits.concurrency:
            self._refused += 1
            return False
        self._queues[waiter.priority].append(waiter)
        self.waiting += 1
        self._waits += 1
        return True

    def leave_queue(self, waiter: Waiter, now: float) -> None:
        """A waiter goes away. What it was granted meanwhile goes back, unused."""
        if waiter.slot is not None:
            self.give_back(waiter.slot, now, 0.0, None)
            waiter.slot = None
        elif waiter.refusal is None:
            self._queues[waiter.priority].remove(waiter)
            self.waiting -= 1

    def refuse_all(self, refusal: Callable[[], Exception]) -> None:
        """Refuse everyone who waits."""
        for queue in reversed(self._queues):
            while queue:
                waiter = queue.popleft()
                self.waiting -= 1
                waiter.refusal = refusal()
                waiter.wake()

    def retry_after(self, now: float) -> float:
        """How long those who wait will take, in seconds: estimated from how long calls took.

        As long as no call has ended, what the first in the queue has waited for until now is all that is
        known.
        """
        if self._service is not None:
            at_once = max(1, self._staying * self.limits.concurrency)
            return self._service * (self.waiting + 1) / at_once
        waits = [now - queue[0].since for queue in self._queues if queue]
        return max(waits, default=0.0)

    def _serve(self, now: float) -> None:
        while self._free and self.waiting:
            waiter = self._first(now).popleft()
            self.waiting -= 1
            waiter.slot = self.take(waiter.affinity, now)
            waiter.wake()

    def _first(self, now: float) -> deque[Waiter]:
        """The queue whose head goes next: of the highest priority it has come to, and of equals the one
        that came first. In each queue the head is the oldest, so no other of it can go before."""
        best: deque[Waiter] | None = None
        highest = (-1, 0.0)
        for queue in reversed(self._queues):
            if queue:
                head = queue[0]
                aged = head.priority + int((now - head.since) / self.limits.ageing)
                rank = (min(aged, _HIGHEST), -head.since)
                if best is None or rank > highest:
                    best, highest = queue, rank
        assert best is not None
        return best

    def _pick(self, free: list[Slot], affinity: bytes | None, now: float) -> int:
        try:
            index = self._balancer.pick(free, affinity, now)
            free[index]
        except Exception as error:
            # a balancer is a plugin: when it fails, calls go on to the first free worker
            self._blame(error)
            return 0
        return index

    def _blame(self, error: Exception) -> None:
        if not self._balancer_failed:
            self._balancer_failed = True
            logger.error(
                "balancer %r failed; calls it cannot place go to the first free worker",
                type(self._balancer).__name__,
                exc_info=error,
            )

    # ---- workers come and go

    def start(self) -> None:
        """A worker is being started; `up` or `start_ended` follows."""
        self.starting += 1

    def up(self, number: int, owner: Any, now: float, weight: float = 1.0) -> Slot:
        """A worker is ready: it has a slot from now on. Its number must not have been given before."""
        self.starting -= 1
        self._known = True
        self._failures = 0
        self._hold = -math.inf
        slot = self._slots[number] = Slot(number, weight=weight, owner=owner, idle_since=now)
        self._staying += 1
        self._free.append(slot)
        self._serve(now)
        return slot

    def start_ended(self, now: float, *, failed: bool) -> None:
        """A worker did not become ready. If it failed, nothing is started for a while, longer each time."""
        self.starting -= 1
        if failed:
            limits = self.limits
            self._failed_starts += 1
            self._hold = now + min(
                limits.retry_cap, limits.retry_base * 2.0 ** min(self._failures, 64)
            )
            self._failures += 1

    def retire(self, slot: Slot) -> None:
        """Give a worker no further call."""
        if not slot.leaving:
            slot.leaving = True
            self._staying -= 1
            if slot.active < self.limits.concurrency:
                self._free.remove(slot)

    def down(self, slot: Slot) -> None:
        """A worker is gone, whatever it was doing. Calls it was given still have to be given back."""
        self.retire(slot)
        slot.gone = True
        del self._slots[slot.worker]
        try:
            self._balancer.removed(slot.worker)
        except Exception as error:
            self._blame(error)

    @property
    def short(self) -> bool:
        """Whether `plan` may want to start workers (it may also want to wait with that)."""
        return self._wanted() > 0

    def _wanted(self) -> int:
        """Workers to start, were it not for failed starts: below min, or for those who wait."""
        limits = self.limits
        coming = self._staying + self.starting
        below = max(limits.min, 0 if self._known else 1) - coming
        for_waiters = -(-self.waiting // limits.concurrency) - self.starting
        at_once = limits.max_starting if self._known else 1
        return min(max(below, for_waiters), limits.max - coming, at_once - self.starting)

    def plan(self, now: float) -> Plan:
        """What to do now to have the right number of workers.

        The first worker starts alone: what cannot start fails once then, not several times, and what
        the agent offers is known soonest.
        """
        start = max(0, self._wanted())
        again = math.inf
        if start and now < self._hold:
            start, again = 0, self._hold
        dismiss: list[Slot] = []
        spare = self._staying - self.limits.min
        if spare > 0:
            timeout = self.limits.idle_timeout
            staying = [slot for slot in self._slots.values() if not slot.leaving]
            idle = sorted((s for s in staying if not s.active), key=lambda slot: slot.idle_since)
            dismiss = [slot for slot in idle if slot.idle_since + timeout <= now][:spare]
            if len(dismiss) < spare:
                # who is busy now will not have been idle for that long any sooner than from now on
                earliest = idle[len(dismiss)].idle_since if len(dismiss) < len(idle) else now
                again = min(again, earliest + timeout)
        return Plan(start, tuple(dismiss), again)

    # ---- what can be seen

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Every worker there is."""
        return tuple(self._slots.values())

    def statistics(self) -> PoolStatistics:
        """The pool as it is now."""
        return PoolStatistics(
            workers=len(self._slots),
            starting=self.starting,
            active=self.active,
            free=len(self._free),
            waiting=self.waiting,
            leaving=len(self._slots) - self._staying,
            grants=self._grants,
            waits=self._waits,
            refused=self._refused,
            failed_starts=self._failed_starts,
            most=self.limits.max,
            queue=self.limits.queue,
        )
