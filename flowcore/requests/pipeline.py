"""A request's way: choose, admit, guard, check, work, record. One outcome, whatever happens.

Design section 4. Each stage is a direct reference held by `Requests`; read `submit` from top to bottom.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio

from flowcore.agents.catalog import Catalog, Tool
from flowcore.agents.settings import AgentSettings
from flowcore.agents.state import State
from flowcore.entry import Entry, Outcome
from flowcore.envelope import Envelope, Priority, Reply
from flowcore.errors import (
    AgentUnavailable,
    CallCancelled,
    CallError,
    DeadlineExceeded,
    InternalError,
    InvalidArguments,
    OutcomeUnknown,
    UnknownTarget,
)
from flowcore.requests import traced
from flowcore.requests.guards import Guard, Guards
from flowcore.requests.idempotency import Keys, Reservation
from flowcore.requests.outside import SharedKeys
from flowcore.requests.retry import Retries, repeatable
from flowcore.requests.schema import SchemaChecks, ToolCheck
from flowcore.requests.settings import RequestSettings
from flowcore.requests.tasks import Tasks
from flowcore.requests.tracker import RequestStatistics, Tracker
from flowcore.telemetry import Noted, Span, Trace, Tracer, enter_span, tool_failed

logger = logging.getLogger(__name__)

# looking these up costs on every call
_NORMAL, _RESULT = Priority.NORMAL, Outcome.RESULT

SWARM = "swarm"
"""The edge by which requests of other nodes come: whoever sent one has reserved its key among all."""


class Doer(Protocol):
    """An agent, as requests see it."""

    @property
    def name(self) -> str: ...
    @property
    def settings(self) -> AgentSettings: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def state(self) -> State: ...
    async def call(self, envelope: Envelope) -> Reply: ...


Listener = Callable[[Envelope, Reply | CallError, float], None]
"""Is told of a request that has ended, what came of it, and how many seconds it took. It must be quick, and
must not raise."""


class Requests:
    """Every request of a node. Made by `open_requests`."""

    tasks: Tasks
    """Requests whose callers do not wait."""

    def __init__(
        self,
        settings: RequestSettings,
        agents: Mapping[str, Doer],
        chance: random.Random,
        guards: Guards | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.settings = settings
        self.tracer = tracer
        """Who records requests, if anybody does."""
        self.tracker = Tracker(
            limit=settings.limit,
            keep=settings.keep,
            most=settings.most,
            most_bytes=settings.keep_bytes,
            listed=self._listed,
        )
        self.schemas = SchemaChecks()
        self._agents = agents
        self.guards = guards or Guards()
        self.keys = Keys(
            join=settings.idempotency.running == "join",
            keep=settings.idempotency.keep,
            most=settings.idempotency.most,
            each=settings.idempotency.each,
            most_bytes=settings.idempotency.keep_bytes,
        )
        self.shared: SharedKeys | None = None
        """Keys that other nodes know, too, if there are any."""
        self.retries = Retries(settings.retry, chance)
        self._tools: dict[str, tuple[Catalog, dict[str, ToolCheck]]] = {}
        self.errors: Counter[tuple[str, str]] = Counter()
        """How many requests failed, by agent and type of error."""
        self._now = (
            trio.lowlevel.current_clock().current_time
        )  # trio.current_time, less its detours
        self.listener: Listener | None = None
        """Told of every request that has ended, if there is one."""
        self._parked: trio.Event | None = None
        self._drained: trio.Event | None = None

    def _listed(self, agent: str, method: str, name: str) -> bool:
        """Whether an agent offers a tool or a prompt of this name."""
        doer = self._agents.get(agent)
        if doer is None:
            return False
        if method == "tools/call":
            known = self._tools.get(agent)
            if known is not None and known[0] is doer.catalog:
                return name in known[1]
            return any(tool.name == name for tool in doer.catalog.tools)
        return any(prompt.name == name for prompt in doer.catalog.prompts)

    def retune(self, settings: RequestSettings) -> None:
        """Have these settings from now on, but for the guards; what is under way keeps its deadline."""
        self.settings = settings
        self.tracker.bound(
            limit=settings.limit,
            keep=settings.keep,
            most=settings.most,
            most_bytes=settings.keep_bytes,
        )
        keys = settings.idempotency
        self.keys.bound(
            join=keys.running == "join",
            keep=keys.keep,
            most=keys.most,
            each=keys.each,
            most_bytes=keys.keep_bytes,
        )
        self.retries.retune(settings.retry)
        self.tasks.retune(settings)

    # ---- the way

    async def submit(self, envelope: Envelope) -> Reply:
        """Take a request its whole way and give its result.

        Raises CallError for every other outcome. Cancelling the caller cancels the work, and is the
        request's outcome. The deadline holds as far as the work can be cancelled: code that shields itself,
        or holds the loop, is waited for; its request counts as expired all the same, and its result is late.
        """
        above, before, start = envelope.span, None, self._now()
        span: Span | None = None
        entry: Entry | None = None
        tracer, noted = self.tracer, envelope.noted
        if noted is not None:
            enter_span(noted)
        elif tracer is not None and tracer.enabled:
            if (
                type(above) is Trace
                and above.spans is None
                and not above.request
                and above.end < 0.0
                and envelope.priority is _NORMAL
                and envelope.idempotency_key is None
            ):
                above.request = envelope.id  # an ordinary one, so far
                span = above
            else:
                span = envelope.span = traced.begin(tracer, envelope, start)
            before = enter_span(span)
        try:
            agent, entry = self._admit(envelope, start)
            try:
                guards = self.guards.before(envelope.edge, agent.name)
                if guards:
                    reply = await self._guarded(guards, agent, envelope)
                else:
                    reply = await self._checked(agent, envelope)
            except CallError as error:
                self._record(entry, _outcome_of(error), _told(error))
                self.errors[agent.name, type(error).__name__] += 1
                if self.listener is not None:
                    self.listener(envelope, error, entry.ended - entry.accepted)
                raise
            except Exception as error:
                # a fault of the agent's or ours: named by id in the log, told without its inside
                logger.exception("request %s to agent %s failed", entry.id, agent.name)
                self._record(entry, Outcome.ERROR, type(error).__name__)
                self.errors[agent.name, InternalError.__name__] += 1
                raise _fault(agent.name, entry.id) from error
            except BaseException:
                self._record(entry, Outcome.CANCELLED)
                raise
            if not self._record(entry, _RESULT):
                raise DeadlineExceeded(
                    f"agent {agent.name!r} answered after the deadline", data={"agent": agent.name}
                )
            if self.listener is not None:
                self.listener(envelope, reply, entry.ended - entry.accepted)
            failed: bool | None = False
            if tracer is not None:
                failed = reply.failed
                if failed is None:
                    failed = envelope.method == "tools/call" and tool_failed(reply.result)
            if noted is not None:
                if not failed and noted.made is None:
                    noted.answered = True
                    return reply
                above = span = envelope.recorded()
            if tracer is not None and span is not None and (failed or tracer.content):
                span = traced.told(span, above, envelope, reply, bool(failed), start)
        except BaseException as error:
            if noted is not None:
                above = span = envelope.recorded()
            if span is not None:
                span = traced.failed(span, above, envelope, error, start)
                self._end(span, above, envelope, entry, before)
            raise
        if span is not None:
            self._end(span, above, envelope, entry, before)
        return reply

    def _end(
        self,
        span: Span,
        above: Span | None,
        envelope: Envelope,
        entry: Entry | None,
        before: Span | Noted | None,
    ) -> None:
        """What is recorded of a request ends with it; `above` is what it is part of."""
        enter_span(before)
        if isinstance(entry, Noted):
            entry.let_go()
        if span is not above:
            envelope.span = above
            traced.end(span, envelope, entry, self._now())
        elif type(span) is Trace and span.spans is None and entry is not None:
            span.asked = entry
        else:
            traced.end_ordinary(span, envelope, entry)

    def _admit(self, envelope: Envelope, now: float) -> tuple[Doer, Entry]:
        """The agent a request is for, and the entry it is accepted under."""
        agent = self._agents.get(envelope.agent)
        if agent is None:
            self.tracker.refuse()
            raise UnknownTarget(f"there is no agent {envelope.agent!r}")
        if self._drained is not None:
            self.tracker.refuse()
            raise AgentUnavailable("the node is draining and takes no new requests")
        settings = self.settings
        most = settings.max_deadline if envelope.explicit else agent.settings.deadline
        if envelope.deadline > now + most:
            envelope.deadline = now + most
        elif envelope.deadline <= now:
            self.tracker.refuse()
            raise DeadlineExceeded("the deadline had passed before the request came", began=False)
        entry = self.tracker.track(envelope, now)
        if self._parked is not None:
            self._parked.set()
            self._parked = None
        return agent, entry

    async def _guarded(self, guards: tuple[Guard, ...], agent: Doer, envelope: Envelope) -> Reply:
        """The rest of the way between the guards; what was let in is let out, whatever happens."""
        passed: list[Guard] = []
        error: CallError | None = None
        try:
            now = trio.current_time()
            for guard in guards:
                guard.enter(envelope, now)
                passed.append(guard)
            for guard in self.guards.holding(envelope.edge, agent.name):
                await self._held(guard, envelope)
            return await self._checked(agent, envelope)
        except CallError as failure:
            error = failure
            raise
        except Exception:
            error = _fault(agent.name, envelope.id)
            raise
        except BaseException:
            error = CallCancelled("the caller went away", began=envelope.began)
            raise
        finally:
            now = trio.current_time()
            for guard in reversed(passed):
                try:
                    guard.leave(envelope, now, error)
                except Exception:
                    # one guard's fault must not keep the others from giving back what they took
                    logger.exception("guard %s failed at a request's end", type(guard).__name__)
            error = None  # or the error, its traceback and this frame would hold each other

    async def _held(self, guard: Guard, envelope: Envelope) -> None:
        """Let a guard keep a request waiting, until its deadline at most."""
        with trio.move_on_at(envelope.deadline) as scope:
            await guard.hold(envelope)
        if scope.cancelled_caught:
            raise DeadlineExceeded("it was kept waiting until its deadline", began=False)

    def _checked(self, agent: Doer, envelope: Envelope) -> Coroutine[Any, Any, Reply]:
        """The work on a request, once its arguments fit."""
        tool = self._check(agent, envelope) if envelope.method == "tools/call" else None
        if envelope.idempotency_key is None:
            return self._work(agent, envelope, tool)
        return self._work_once(agent, envelope, tool)

    def _check(self, agent: Doer, envelope: Envelope) -> Tool:
        """The tool a call is of, once its arguments fit."""
        catalog = agent.catalog
        known = self._tools.get(agent.name)
        if known is None or known[0] is not catalog:
            known = (catalog, self.schemas.of(agent.name, catalog))
            self._tools[agent.name] = known
        check = known[1].get(envelope.name)
        if check is None:
            if (
                not agent.state.available
            ):  # what it offers is not known yet: another node asks too early
                raise AgentUnavailable(
                    f"agent {agent.name!r} is {agent.state.value}",
                    data={"agent": agent.name, "state": agent.state.value},
                    retry_after=0.25,
                )
            raise UnknownTarget(f"agent {agent.name!r} has no tool {envelope.name!r}")
        if agent.settings.validate_arguments:
            check.check(envelope.params.get("arguments"))
        return check.tool

    async def _work(self, agent: Doer, envelope: Envelope, tool: Tool | None) -> Reply:
        attempt = 1
        # not sooner: those that a guard refuses must not pay for the retries of others
        self.retries.accepted()
        while True:
            try:
                return await agent.call(envelope)
            except CallError as error:
                attempt += 1
                # an agent that is down is not waited for: its caller is told at once
                wait = self.retries.wait(error, tool, attempt) if agent.state.available else None
                if wait is None or trio.current_time() + wait >= envelope.deadline:
                    raise
            self.tracker.retries += 1
            await trio.sleep(wait)

    async def _work_once(self, agent: Doer, envelope: Envelope, tool: Tool | None) -> Reply:
        """Do the work if its key is new; else give the outcome that the key has or will have."""
        while True:
            reservation, first = self.keys.reserve(
                envelope, trio.current_time(), repeatable=repeatable(tool)
            )
            if first:
                if self.shared is not None and envelope.edge != SWARM:
                    return await self._work_shared(reservation, agent, envelope, tool, self.shared)
                return await self._work_first(reservation, agent, envelope, tool)
            await self._settled(reservation, envelope)
            if reservation.error is None or reservation.error.began:
                self.tracker.replayed += 1
                return reservation.outcome()
            # it never began: one of those who joined does it now

    async def _work_first(
        self, reservation: Reservation, agent: Doer, envelope: Envelope, tool: Tool | None
    ) -> Reply:
        reply: Reply | None = None
        error: CallError | None = None
        try:
            reply = await self._work(agent, envelope, tool)
        except CallError as failure:
            error = failure
            raise
        finally:
            if reply is None and error is None:
                error = _cut_off(envelope)
            self.keys.settle(reservation, trio.current_time(), reply=reply, error=error)
        return reply

    async def _work_shared(
        self,
        reservation: Reservation,
        agent: Doer,
        envelope: Envelope,
        tool: Tool | None,
        shared: SharedKeys,
    ) -> Reply:
        """The same where other nodes may have done it, or be about to: it is reserved among all first."""
        try:
            held = await shared.reserve(
                envelope,
                reservation.fingerprint,
                join=self.settings.idempotency.running == "join",
                repeatable=repeatable(tool),
            )
        except BaseException as failure:
            error = failure if isinstance(failure, CallError) else _cut_off(envelope)
            # not remembered here: what others know of it may change
            self.keys.settle(reservation, trio.current_time(), error=error, keep=False)
            self.tracker.replayed += error.began
            raise
        if isinstance(held, Reply):
            self.keys.settle(reservation, trio.current_time(), reply=held, keep=False)
            self.tracker.replayed += 1
            return held
        settled = False
        try:
            reply = await self._work_first(reservation, agent, envelope, tool)
            settled = True
            await held.settle(reply, None)
        except CallError as error:
            if not settled:
                settled = True
                await held.settle(None, error)
            raise
        finally:
            if not settled:
                held.give_up(began=envelope.began)
        return reply

    async def _settled(self, reservation: Reservation, envelope: Envelope) -> None:
        """Wait until somebody else's work under the same key has its outcome."""
        if reservation.settled:
            return
        event = trio.Event()
        reservation.waiters.add(event.set)
        try:
            with trio.move_on_at(envelope.deadline):
                await event.wait()
        finally:
            reservation.waiters.discard(event.set)
        if not reservation.settled:
            raise DeadlineExceeded(
                "the request with this idempotency key is still running", began=False
            )

    def _record(self, entry: Entry, outcome: Outcome, error: str = "") -> bool:
        recorded = self.tracker.resolve(entry, outcome, self._now(), error)
        if self._drained is not None and not self.tracker.running:
            self._drained.set()
        return recorded

    # ---- what ends requests

    async def expire(self) -> None:
        """Give requests whose workers do not stop at the deadline their outcome; runs until cancelled."""
        while True:
            grace = self.settings.grace
            if not self.tracker.running:
                self._parked = trio.Event()
                await self._parked.wait()
            await trio.sleep(grace)
            for entry in self.tracker.expire(trio.current_time(), grace):
                logger.warning(
                    "request %s did not stop at its deadline: agent %s shields itself, or holds the"
                    " loop; its result will be dropped",
                    entry.id,
                    entry.agent,
                )

    def refuse(self) -> trio.Event:
        """Take no requests from now on; set once those under way have ended."""
        if self._drained is None:
            self._drained = trio.Event()
            if not self.tracker.running:
                self._drained.set()
        return self._drained

    async def drain(self, seconds: float) -> bool:
        """Refuse what comes from now on, and wait for what is under way; whether all of it ended."""
        drained = self.refuse()
        with trio.move_on_after(seconds):
            await drained.wait()
        return not self.tracker.running

    async def cut(self) -> int:
        """End what a drain has left under way, as its deadline would, with the usual grace; how many.

        So each caller is told, where closing everything around it would leave it without an answer.
        """
        now, count = trio.current_time(), self.tracker.running
        for entry in self.tracker.entries():
            if entry.envelope is not None:
                entry.envelope.cut(now)
        await self.drain(self.settings.grace)
        return count

    def statistics(self) -> RequestStatistics:
        """Counts since the flow opened."""
        return self.tracker.statistics()


def _cut_off(envelope: Envelope) -> OutcomeUnknown:
    return OutcomeUnknown(
        "the request with this idempotency key was cut off: its outcome is unknown",
        began=envelope.began,
    )


def _outcome_of(error: CallError) -> Outcome:
    return Outcome.EXPIRED if isinstance(error, DeadlineExceeded) else Outcome.ERROR


def _told(error: CallError) -> str:
    """What the tracker keeps of an error. Arguments that did not fit may be anything: not those."""
    if isinstance(error, InvalidArguments):
        return type(error).__name__
    return error.message


def _fault(agent: str, request: str) -> InternalError:
    return InternalError(
        f"agent {agent!r} failed while it did request {request}", data={"request": request}
    )


@asynccontextmanager
async def open_requests(
    settings: RequestSettings,
    agents: Mapping[str, Doer],
    chance: random.Random,
    guards: Guards | None = None,
    tracer: Tracer | None = None,
) -> AsyncGenerator[Requests]:
    """The requests of a node. Tasks that still run are cancelled when the block is left."""
    requests = Requests(settings, agents, chance, guards, tracer)
    async with trio.open_nursery() as nursery:
        requests.tasks = Tasks(settings, requests.submit, nursery)
        nursery.start_soon(requests.expire)
        yield requests
        nursery.cancel_scope.cancel()
