"""The supervisor: Erlang's, on trio.

One loop takes everything in turn: ends of children, requests to start or stop one, attempts that have to
be made again. So no two decisions overlap, and the order of what happens is the order of the log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from flowcore.supervise.child import Child, ChildStatus, Phase, Run, What, serve_context
from flowcore.supervise.instance import GaveUp, Instance, StartFailed
from flowcore.supervise.journal import Journal, Watch
from flowcore.supervise.mailbox import Mailbox
from flowcore.supervise.policy import Exit, Intensity, Restart, Strategy, affected, restarts


@attrs.define(eq=False)
class _Slot:
    """A child's specification and, while it runs, its instance."""

    child: Child
    instance: Instance | None = None
    phase: Phase = Phase.STOPPED
    restarts: int = 0
    error: BaseException | None = None


@attrs.frozen(kw_only=True)
class SupervisorStatistics:
    """Counts since the supervisor opened."""

    children: int
    running: int
    started: int
    restarts: int
    crashes: int
    recent: int
    """Restarts within the period, as of the last one."""


class Supervisor:
    """Starts children in order, restarts them by its strategy, stops them in reverse order."""

    def __init__(
        self,
        name: str,
        strategy: Strategy,
        intensity: Intensity,
        watch: Watch | None,
        dynamic: bool,
        quiet: bool = False,
    ) -> None:
        self.name = name
        self._dynamic = dynamic
        self.strategy = strategy
        self._intensity = intensity
        self._journal = Journal(name, watch, quiet=quiet)
        self._slots: dict[str, _Slot] = {}
        self._nursery: trio.Nursery
        self._mailbox = Mailbox()
        self._starting: trio.CancelScope | None = None
        self._stopping: Instance | None = None
        self._hurried = False
        self._closing = False
        self._failure: GaveUp | None = None
        self._restarted = 0

    # ---- what can be seen

    def children(self) -> tuple[ChildStatus, ...]:
        """Every child that has a specification here, in start order."""
        return tuple(self._status(slot) for slot in self._slots.values())

    def _status(self, slot: _Slot) -> ChildStatus:
        return ChildStatus(
            name=slot.child.name,
            phase=slot.phase,
            handle=slot.instance.handle if slot.instance is not None else None,
            restarts=slot.restarts,
            error=slot.error,
        )

    def handle(self, name: str) -> Any:
        """What a running child gave to `started`; None while it does not run. Raises KeyError."""
        slot = self._slots[name]
        return slot.instance.handle if slot.instance is not None else None

    def statistics(self) -> SupervisorStatistics:
        """Counts since the supervisor opened."""
        return SupervisorStatistics(
            children=len(self._slots),
            running=sum(slot.phase is Phase.RUNNING for slot in self._slots.values()),
            started=self._journal.count(What.STARTED),
            restarts=self._restarted,
            crashes=self._journal.crashes,
            recent=self._intensity.count,
        )

    # ---- what can be asked

    async def start_child(self, child: Child) -> Any:
        """Add a child after the others and start it; give its handle.

        Raises ValueError if the name is taken, StartFailed (the child is forgotten) if it does not start.
        """
        return await self._ask(partial(self._start_child, child))

    async def stop_child(self, name: str) -> None:
        """Stop a child; its specification is kept unless it is temporary. Raises KeyError."""
        await self._ask(partial(self._stop_child, name))

    async def restart_child(self, name: str) -> Any:
        """Start a stopped child again; give its handle. Raises KeyError, ValueError, StartFailed."""
        return await self._ask(partial(self._restart_child, name))

    async def delete_child(self, name: str) -> None:
        """Forget a stopped child. Raises KeyError, or ValueError if it is not stopped."""
        await self._ask(partial(self._delete_child, name))

    def hurry(self) -> None:
        """From now on, let nothing here take time to stop: neither what is being stopped nor what will be.

        Children still stop in order; each is cancelled, and so is what a child that is a supervisor closes.
        """
        self._hurried = True
        if self._stopping is not None:
            self._stopping.scope.cancel()

    async def _ask(self, work: Callable[[], Awaitable[Any]]) -> Any:
        if self._closing:
            raise self._refusal()
        return await self._mailbox.ask(work)

    async def _start_child(self, child: Child) -> Any:
        if child.name in self._slots:
            raise ValueError(f"supervisor {self.name!r} already has a child {child.name!r}")
        slot = self._slots[child.name] = _Slot(child)
        try:
            return await self._start(slot)
        except StartFailed:
            del self._slots[child.name]
            raise

    async def _stop_child(self, name: str) -> None:
        slot = self._slots[name]
        await self._stop(slot)
        if self._forgets(slot):
            del self._slots[name]

    async def _restart_child(self, name: str) -> Any:
        slot = self._slots[name]
        if slot.phase is not Phase.STOPPED:
            raise ValueError(f"child {name!r} is {slot.phase.value}, not stopped")
        return await self._start(slot)

    async def _delete_child(self, name: str) -> None:
        slot = self._slots[name]
        if slot.phase is not Phase.STOPPED:
            raise ValueError(f"child {name!r} is {slot.phase.value}, not stopped")
        del self._slots[name]

    # ---- the loop

    async def _loop(self) -> None:
        while self._failure is None:
            await self._mailbox.do_next()

    async def _ended(self, slot: _Slot, instance: Instance) -> None:
        """A child ended on its own. Ends of instances that were replaced or stopped are old news."""
        if slot.instance is not instance:
            return
        slot.instance = None
        slot.phase = Phase.STOPPED
        slot.error = instance.error
        self._tell(What.EXITED, slot, instance.exit, instance.error)
        if restarts(slot.child.restart, instance.exit):
            await self._restart(slot)
        elif self._forgets(slot):
            del self._slots[slot.child.name]

    def _forgets(self, slot: _Slot) -> bool:
        """Whether a child that is not running any more is forgotten, specification and all."""
        return self._dynamic or slot.child.restart is Restart.TEMPORARY

    async def _again(self, slot: _Slot) -> None:
        """Make another attempt for a child whose restart failed, unless somebody decided otherwise."""
        if self._slots.get(slot.child.name) is slot and slot.phase is Phase.RESTARTING:
            await self._restart(slot)

    async def _restart(self, slot: _Slot) -> None:
        if not self._intensity.allows(trio.current_time()):
            self._give_up(slot)
            return
        self._restarted += 1
        names = affected(self.strategy, list(self._slots), slot.child.name)
        for name in reversed(names):
            await self._stop(self._slots[name])
        for name in names:
            other = self._slots[name]
            if other is not slot and other.child.restart is Restart.TEMPORARY:
                del self._slots[name]
        for name in names:
            if name not in self._slots:
                continue
            other = self._slots[name]
            try:
                other.restarts += 1
                await self._start(other)
            except StartFailed as error:
                other.phase = Phase.RESTARTING
                other.error = error
                self._mailbox.post(partial(self._again, other))
                return

    def _give_up(self, slot: _Slot) -> None:
        failure = GaveUp(
            f"supervisor {self.name!r} gave up: more than {self._intensity.limit} restarts"
            f" in {self._intensity.period:g} s, the last of child {slot.child.name!r}"
        )
        failure.__cause__ = slot.error
        self._failure = failure
        self._journal.tell(What.GAVE_UP, self.name, Exit.SHUTDOWN, failure)

    async def _start(self, slot: _Slot) -> Any:
        """Start a child and wait until it is ready; give its handle. Raises StartFailed."""
        instance = Instance(slot.child)
        slot.phase = Phase.STARTING
        slot.instance = instance
        self._nursery.start_soon(self._live, slot, instance)
        try:
            with trio.CancelScope() as self._starting:
                if self._closing:
                    self._starting.cancel()
                await instance.wait_started()
        except StartFailed as error:
            slot.instance = None
            slot.phase = Phase.STOPPED
            slot.error = error
            self._tell(What.START_FAILED, slot, instance.exit, error)
            raise
        finally:
            self._starting = None
        if not instance.started_once:  # we are closing: what was being started is stopped first
            await self._stop(slot)
            raise StartFailed(f"child {slot.child.name!r} did not start: the supervisor is closing")
        slot.phase = Phase.RUNNING
        self._tell(What.STARTED, slot)
        return instance.handle

    async def _live(self, slot: _Slot, instance: Instance) -> None:
        await instance.live()
        if instance.started_once:
            self._mailbox.post(partial(self._ended, slot, instance))

    async def _stop(self, slot: _Slot, *, graceful: bool = True) -> None:
        instance, slot.instance = slot.instance, None
        slot.phase = Phase.STOPPED
        if instance is None:
            return
        slot.phase = Phase.STOPPING
        overdue = partial(self._tell, What.OVERDUE, slot)
        self._stopping = instance
        try:
            await instance.end(graceful=graceful and not self._hurried, overdue=overdue)
        except trio.Cancelled:
            slot.instance = instance
            raise
        finally:
            self._stopping = None
        slot.phase = Phase.STOPPED
        if instance.error is not None:
            slot.error = instance.error
        if graceful and not self._hurried and slot.child.shutdown and instance.cut_off:
            self._journal.cut_off(slot.child.name, slot.child.shutdown)
        self._tell(What.STOPPED, slot, instance.exit, instance.error)

    # ---- opening and closing

    async def _open(self, children: Iterable[Child]) -> None:
        for child in children:
            if child.name in self._slots:
                raise ValueError(f"supervisor {self.name!r} has two children {child.name!r}")
            self._slots[child.name] = _Slot(child)
        for slot in self._slots.values():
            await self._start(slot)

    async def _close(self, *, graceful: bool) -> None:
        """Stop every child, in reverse start order, one at a time; once cancelled, without grace."""
        self._closing = True
        try:
            if graceful:
                await self._stop_all(graceful=True)
        finally:
            with trio.CancelScope(shield=True):
                await self._stop_all(graceful=False)
            self._mailbox.refuse(self._refusal)

    async def _stop_all(self, *, graceful: bool) -> None:
        for slot in reversed(self._slots.values()):
            await self._stop(slot, graceful=graceful)

    def _refusal(self) -> RuntimeError:
        return RuntimeError(f"supervisor {self.name!r} is closing")

    def _tell(
        self,
        what: What,
        slot: _Slot,
        exit_: Exit | None = None,
        error: BaseException | None = None,
    ) -> None:
        self._journal.tell(what, slot.child.name, exit_, error)


@asynccontextmanager
async def open_supervisor(
    name: str,
    children: Iterable[Child] = (),
    *,
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    intensity: int = 5,
    period: float = 60.0,
    watch: Watch | None = None,
    dynamic: bool = False,
    quiet: bool = False,
) -> AsyncGenerator[Supervisor]:
    """A supervisor over `children`, entered when all have started, in order.

    If one fails to start, those before it are stopped in reverse and StartFailed is raised. Leaving the
    block stops all in reverse order, one at a time, each within its `shutdown`; once it is cancelled, also
    while it stops them, the rest is stopped in the same order without that grace. More than `intensity`
    restarts within `period` seconds: the children are stopped, the block is cancelled and GaveUp is raised in
    its place.

    A `dynamic` supervisor is for children that come and go in numbers (OTP's simple_one_for_one): it
    forgets a child that ended and is not to be restarted. `watch` is called with each Happening, in order;
    it must be quick and must not raise. A `quiet` one leaves it to others to log that a child crashed.
    """
    supervisor = Supervisor(name, strategy, Intensity(intensity, period), watch, dynamic, quiet)
    body = trio.CancelScope()
    # what the block or a start raises is raised again outside the nursery, so that no group is put around it
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        supervisor._nursery = nursery
        graceful = False
        try:
            try:
                await supervisor._open(children)
                with body:
                    async with _looping(supervisor, body):
                        yield supervisor
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                raised = error
            graceful = True
        finally:
            try:
                await supervisor._close(graceful=graceful)
            except trio.Cancelled:
                if raised is None and supervisor._failure is None:
                    raise
    if raised is not None:
        raise raised
    if supervisor._failure is not None:
        raise supervisor._failure


@asynccontextmanager
async def _looping(supervisor: Supervisor, body: trio.CancelScope) -> AsyncGenerator[None]:
    """The supervisor's loop beside the block; the end of either ends the other."""
    stop = trio.CancelScope(shield=True)
    ended = trio.Event()

    async def loop() -> None:
        try:
            with stop:
                await supervisor._loop()
        finally:
            ended.set()
        if supervisor._failure is not None:
            body.cancel()

    supervisor._nursery.start_soon(loop)
    try:
        yield
    finally:
        supervisor._closing = True
        if supervisor._starting is not None:
            supervisor._starting.cancel()
        stop.cancel()
        with trio.CancelScope(shield=True):
            await ended.wait()


def supervisor_child(
    name: str,
    open_: Callable[[], AbstractAsyncContextManager[Supervisor]],
    *,
    restart: Restart = Restart.PERMANENT,
) -> Child:
    """A supervisor as a child of another one: it may take as long as its children need to stop."""
    run: Run = serve_context(open_)
    return Child(name=name, run=run, restart=restart, shutdown=float("inf"))
