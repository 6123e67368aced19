"""A Hypothesis state machine over the pool's policy, with poolboy's list of what must never happen.

The machine plays everybody around the pool: callers who take, wait, cancel and give back, workers that come
up, fail to start, crash and leave, and the clock. After each step it checks the pool against its own books.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from flowcore.agents.pool import Pool, PoolLimits, Slot, Waiter
from support.balancing import FirstFree


@attrs.define(eq=False)
class Caller:
    """Somebody who wants a worker: waits for one, or holds one."""

    priority: int
    arrived: int
    since: float
    waiter: Waiter | None = None
    slot: Slot | None = None
    woken: int = 0


AGEING = 1.0


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.opening = 0
        self.holders: list[Caller] = []
        self.queue: list[Caller] = []
        self.up: set[int] = set()
        self.number = 0
        self.arrivals = 0
        self.pool: Pool

    @initialize(
        least=st.integers(0, 3),
        more=st.integers(0, 3),
        concurrency=st.integers(1, 3),
        queue=st.integers(0, 5),
        at_once=st.integers(1, 3),
    )
    def open(self, least: int, more: int, concurrency: int, queue: int, at_once: int) -> None:
        self.limits = PoolLimits(
            min=least,
            max=max(1, least + more),
            concurrency=concurrency,
            idle_timeout=30.0,
            queue=queue,
            ageing=AGEING,
            max_starting=at_once,
        )
        self.pool = Pool(self.limits, FirstFree())

    # ---- callers

    @rule(priority=st.integers(0, 2))
    def call(self, priority: int) -> None:
        self.arrivals += 1
        caller = Caller(priority, self.arrivals, self.now)
        caller.slot = self.pool.take(None, self.now)
        if caller.slot is not None:
            assert not self.queue, "nobody overtakes those who wait"
            self.holders.append(caller)
            return

        def wake() -> None:
            caller.woken += 1

        caller.waiter = Waiter(wake, priority, None, self.now)
        full = len(self.queue) >= self.room()
        assert self.pool.wait(caller.waiter) is not full
        if not full:
            self.queue.append(caller)

    def room(self) -> int:
        """The queue, and as many as the workers that are not there yet could take."""
        staying = sum(not slot.leaving for slot in self.pool.slots)
        return self.limits.queue + (self.limits.max - staying) * self.limits.concurrency

    @precondition(lambda self: self.holders)
    @rule(data=st.data(), ok=st.sampled_from([True, False, None]))
    def end(self, data: st.DataObject, ok: bool | None) -> None:
        """A call ends, or its caller dies: the same for the pool."""
        caller = self.holders.pop(data.draw(st.integers(0, len(self.holders) - 1)))
        assert caller.slot is not None
        self.pool.give_back(caller.slot, self.now, 0.5, ok)
        self.settle()

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def give_up_waiting(self, data: st.DataObject) -> None:
        caller = self.queue.pop(data.draw(st.integers(0, len(self.queue) - 1)))
        assert caller.waiter is not None
        self.pool.leave_queue(caller.waiter, self.now)
        assert caller.waiter.slot is None
        self.settle()
        assert caller.woken == 0, "a late grant would leak"

    @precondition(lambda self: self.queue and self.holders)
    @rule(data=st.data())
    def granted_and_cancelled_at_once(self, data: st.DataObject) -> None:
        """The waiter is cancelled after it was granted a worker and before it could know."""
        holder = self.holders.pop(data.draw(st.integers(0, len(self.holders) - 1)))
        assert holder.slot is not None
        before = list(self.queue)
        self.pool.give_back(holder.slot, self.now, 0.5, True)
        for caller in before:
            if caller.waiter is not None and caller.waiter.slot is not None:
                self.queue.remove(caller)
                self.pool.leave_queue(caller.waiter, self.now)
                break
        self.settle()

    @rule()
    def fail_the_agent(self) -> None:
        self.pool.refuse_all(lambda: RuntimeError("failed"))
        for caller in self.queue:
            assert caller.waiter is not None
            assert caller.woken == 1
            assert isinstance(caller.waiter.refusal, RuntimeError)
        self.queue.clear()
        assert self.pool.waiting == 0

    def settle(self) -> None:
        """Take note of whom the pool has granted a worker: the first of the highest priority it has come to.

        So whoever has waited long enough to count as of high priority goes before all that came later.
        """
        granted = [c for c in self.queue if c.waiter is not None and c.waiter.slot is not None]
        waiting = [c for c in self.queue if c not in granted]
        for caller in granted:
            assert caller.woken == 1
            assert caller.waiter is not None
            caller.slot = caller.waiter.slot
            for other in waiting:
                assert self.rank(caller) > self.rank(other)
                assert caller.since <= other.since or self.now - other.since < 2 * AGEING
        self.holders += granted
        self.queue = waiting

    def rank(self, caller: Caller) -> tuple[int, float, int, int]:
        """Higher goes first: a step up for each time of ageing, then by arrival."""
        aged = caller.priority + math.floor((self.now - caller.since) / AGEING)
        return (min(2, aged), -caller.since, caller.priority, -caller.arrived)

    # ---- workers

    @rule()
    def keep(self) -> None:
        """Do what the pool says should be done."""
        plan = self.pool.plan(self.now)
        assert plan.again > self.now
        for slot in plan.dismiss:
            assert slot.active == 0
            assert slot.idle_since + self.limits.idle_timeout <= self.now
            self.pool.retire(slot)
            self.gone(slot)
        for _ in range(plan.start):
            self.pool.start()
            self.opening += 1
        assert self.opening <= self.limits.max_starting

    @precondition(lambda self: self.opening)
    @rule()
    def come_up(self) -> None:
        self.opening -= 1
        self.number += 1
        slot = self.pool.up(self.number, object(), self.now)
        self.up.add(slot.worker)
        self.settle()

    @precondition(lambda self: self.opening)
    @rule(failed=st.booleans())
    def do_not_come_up(self, failed: bool) -> None:
        self.opening -= 1
        self.pool.start_ended(self.now, failed=failed)
        if failed:
            plan = self.pool.plan(self.now)
            assert plan.start == 0, "not again at once"

    @precondition(lambda self: self.up)
    @rule(data=st.data(), told=st.booleans())
    def crash(self, data: st.DataObject, told: bool) -> None:
        """A worker dies, busy or not, on its own or while it was already leaving."""
        slot = data.draw(st.sampled_from(self.pool.slots))
        if told:
            self.pool.retire(slot)
            self.pool.retire(slot)
        self.gone(slot)

    def gone(self, slot: Slot) -> None:
        self.up.discard(slot.worker)
        self.pool.down(slot)

    @rule(seconds=st.sampled_from([0.1, 1.0, 29.0, 30.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # ---- what always holds

    @invariant()
    def the_books_agree(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool, limits = self.pool, self.limits
        assert pool.active == len(self.holders)
        assert pool.waiting == len(self.queue) <= self.room()
        assert {slot.worker for slot in pool.slots} == self.up
        assert len(self.up) + self.opening <= limits.max
        held: dict[Any, int] = {}
        for caller in self.holders:
            assert caller.slot is not None
            held[caller.slot.worker] = held.get(caller.slot.worker, 0) + 1
        for slot in pool.slots:
            assert slot.active == held.get(slot.worker, 0) <= limits.concurrency
        statistics = pool.statistics()
        assert statistics.workers == len(self.up)
        assert statistics.starting == self.opening
        assert statistics.free == sum(slot.active < limits.concurrency for slot in pool.slots)
        if self.queue:
            assert statistics.free == 0, "somebody waits beside a free worker"
            assert pool.retry_after(self.now) >= 0.0

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """While somebody waits, a worker works, is coming, or is planned, now or at a known time."""
        if hasattr(self, "pool") and self.queue:
            plan = self.pool.plan(self.now)
            assert self.pool.active or self.opening or plan.start or plan.again < math.inf

    def teardown(self) -> None:
        """After all has been given back the pool has its min again, and serves everyone who waits."""
        if not hasattr(self, "pool"):
            return
        for _ in range(10_000):
            plan = self.pool.plan(self.now)
            if self.holders:
                self.end_first()
            elif plan.start or plan.dismiss:
                self.keep()
            elif self.opening:
                self.come_up()
            elif plan.again < math.inf:
                self.now = plan.again
            else:
                break
        assert not self.queue
        assert len(self.up) == max(self.limits.min, 0)

    def end_first(self) -> None:
        slot = self.holders.pop(0).slot
        assert slot is not None
        self.pool.give_back(slot, self.now, 0.5, True)
        self.settle()


PoolMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestPool = PoolMachine.TestCase
