"""The way of a call through a pool: wait, take a worker, work, give it back, whatever happens."""

from __future__ import annotations

from collections.abc import Callable

import trio

from flowcore.agents.pool import Pool, Slot, Waiter
from flowcore.agents.statistics import Came, Tally
from flowcore.agents.traced import Work, apart, begin
from flowcore.agents.worker import LiveWorker
from flowcore.envelope import Envelope, Reply
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    UpstreamFailure,
)
from flowcore.telemetry import Noted, Span, Trace

_WORKER_FAULTS = (
    AgentUnavailable,
    DeadlineExceeded,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    UpstreamFailure,
)
"""Errors that tell against the worker that answered so; others tell of the request."""


# looking these up costs on every call
_SUCCEEDED, _CANCELLED, _EXPIRED = Came.SUCCEEDED, Came.CANCELLED, Came.EXPIRED


def _work(noted: Noted) -> Work:
    """What is noted of the work on a request whose trace was made meanwhile."""
    assert isinstance(noted.work, Work)
    return noted.work


class Calls:
    """The calls of one life of an agent."""

    __slots__ = ("_agent", "_at_rest", "_now", "_pool", "_tally", "_wake")

    def __init__(
        self,
        agent: str,
        pool: Pool,
        tally: Tally,
        *,
        wake: Callable[[], None],
        at_rest: Callable[[float], None],
    ) -> None:
        self._agent = agent
        self._pool = pool
        self._tally = tally
        self._now = (
            trio.lowlevel.current_clock().current_time
        )  # trio.current_time, less its detours
        self._wake = wake
        """Called when somebody waits and another worker may help."""
        self._at_rest = at_rest
        """Called when no call is under way, or waits, any more."""

    async def do(self, envelope: Envelope, now: float) -> Reply:
        """Do a request on a worker, before its deadline. Raises as `Agent.call` says."""
        came = _CANCELLED
        tally = self._tally
        tally.calls += 1
        above, noted, waited = envelope.span, envelope.noted, 0.0
        span: Span | None = None
        work: Work | None = None
        live: LiveWorker | None = None
        try:
            with trio.CancelScope(deadline=envelope.deadline) as scope:
                envelope.scope = scope
                slot = self._pool.take(envelope.affinity, now)
                if slot is None:
                    asked = now
                    try:
                        slot = await self._wait(envelope, now)
                    except CallError:
                        came = Came.REFUSED
                        raise
                    finally:
                        now = trio.current_time()
                    waited = now - asked
                    if noted is not None:
                        if noted.made is not None:  # somebody looked: it is recorded since
                            above, noted = envelope.recorded(), None
                        else:
                            noted.waited = waited
                live = slot.owner
                live.scopes.add(scope)
                envelope.began = True
                envelope.started = start = now
                if noted is not None:
                    noted.label = label = live.label
                    noted.taken = start
                    if label.passes:
                        if label.beside and noted.made is None:
                            envelope.context = noted.context()
                        else:
                            envelope.meta, envelope.context = noted.carried(envelope.meta), b""
                elif above is not None:
                    traced = live.traced
                    work = Work(
                        traced,
                        live.name,
                        envelope.agent,
                        envelope.method,
                        envelope.name,
                        waited,
                        start,
                    )
                    if type(above) is Trace and above.spans is None and above.done is None:
                        above.done = work  # an ordinary one, so far
                    else:
                        span = envelope.span = above.inner = begin(above, work)
                    if traced.passes:
                        envelope.meta = (span or above).carried(envelope.meta)
                        envelope.context = b""
                try:
                    reply = await live.worker.call(envelope)
                    came = _SUCCEEDED
                except CallError as error:
                    came = Came.FAULTY if isinstance(error, _WORKER_FAULTS) else Came.FAILED
                    if noted is not None:
                        above, work = envelope.recorded(), _work(noted)
                    if above is not None and work is not None:
                        span = span or apart(above, work)
                        span.failed_by(error)
                    raise
                except Exception as error:
                    came = Came.LOST if live.lost else Came.FAULTY
                    if noted is not None:
                        above, work = envelope.recorded(), _work(noted)
                    if above is not None and work is not None:
                        span = span or apart(above, work)
                        span.failed_by(error)
                    if live.lost:
                        raise self._lost(live) from error
                    raise
                finally:
                    end = now = self._now()
                    live.scopes.discard(scope)
                    if came is _CANCELLED:
                        if live.lost:
                            came = Came.LOST
                        elif end >= scope.deadline:
                            came = Came.EXPIRED
                    if noted is not None:
                        if noted.made is not None or came is not _SUCCEEDED:
                            above, work = envelope.recorded(), _work(noted)
                        noted.worked = end
                    if above is not None and work is not None:
                        work.end = end
                        if span is not None or came is not _SUCCEEDED:
                            self._recorded(span or apart(above, work), end, came)
                            envelope.span, above.inner = above, None
                        elif above.trace.done is not work:
                            apart(above, work).finish(end)
                    self._give_back(slot, live, end, end - start, came)
            if not scope.cancelled_caught:
                return reply
            if live is None:
                came = Came.EXPIRED
            elif live.lost:
                raise self._lost(live)
            raise self._expired(began=live is not None)
        finally:
            tally.came[came] += 1
            if not self._pool.active:
                self._at_rest(now)

    @staticmethod
    def _recorded(span: Span, end: float, came: Came) -> None:
        if came is Came.EXPIRED:
            span.fail(DeadlineExceeded.__name__)
        elif came is Came.LOST:
            span.fail(OutcomeUnknown.__name__)
        elif came is Came.CANCELLED:
            span.note(**{"flowcore.cancelled": True})
        span.finish(end)

    def _give_back(
        self, slot: Slot, live: LiveWorker, now: float, seconds: float, came: Came
    ) -> None:
        ok: bool | None = came.ok
        live.silent = ok is None or came is _EXPIRED
        if ok is not None:
            self._tally.durations.record(seconds)
        self._pool.give_back(slot, now, seconds, ok)
        if live.idle is not None and not slot.active:
            live.idle.set()

    async def _wait(self, envelope: Envelope, now: float) -> Slot:
        """Wait for a worker, in order of priority and arrival."""
        pool = self._pool
        granted = trio.Event()
        waiter = Waiter(granted.set, envelope.priority, envelope.affinity, now)
        if not pool.wait(waiter):
            raise Overloaded(
                f"the queue of agent {self._agent!r} is full ({pool.waiting} wait)",
                data={"agent": self._agent},
                retry_after=max(0.001, pool.retry_after(now)),
            )
        if pool.short:
            self._wake()
        try:
            await granted.wait()
        except BaseException:
            pool.leave_queue(waiter, trio.current_time())
            raise
        if waiter.refusal is not None:
            raise waiter.refusal
        assert waiter.slot is not None
        return waiter.slot

    def _lost(self, live: LiveWorker) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"worker {live.name} was gone before it had done this request: it may have happened",
            data={"agent": self._agent},
        )

    def _expired(self, *, began: bool) -> DeadlineExceeded:
        what = "did not answer" if began else "had no free worker"
        return DeadlineExceeded(
            f"agent {self._agent!r} {what} before the deadline",
            data={"agent": self._agent},
            began=began,
        )
