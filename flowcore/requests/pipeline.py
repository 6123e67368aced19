"""A request's way: admit, choose, check, guard, work, record. One outcome, whatever happens.

Design section 4. Each stage is a direct reference held by `Requests`; read `submit` from top to bottom.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from flowcore.agents.catalog import Catalog, Tool
from flowcore.agents.settings import AgentSettings
from flowcore.agents.state import State
from flowcore.envelope import Envelope, Reply
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    InternalError,
    OutcomeUnknown,
    UnknownTarget,
)
from flowcore.requests.idempotency import Keys, Reservation
from flowcore.requests.retry import Retries
from flowcore.requests.schema import SchemaCheck
from flowcore.requests.settings import RequestSettings
from flowcore.requests.tasks import Tasks
from flowcore.requests.tracker import Entry, Outcome, RequestStatistics, Tracker

logger = logging.getLogger(__name__)


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


class Requests:
    """Every request of a node. Made by `open_requests`."""

    def __init__(
        self, settings: RequestSettings, agents: Mapping[str, Doer], chance: random.Random
    ) -> None:
        self.settings = settings
        self._agents = agents
        self._random = chance
        self.tracker = Tracker(limit=settings.limit, keep=settings.keep, most=settings.most)
        self.schemas = SchemaCheck()
        self.tasks: Tasks
        self._keys = Keys(
            join=settings.idempotency.running == "join",
            keep=settings.idempotency.keep,
            most=settings.idempotency.most,
        )
        self._retries = Retries(settings.retry, chance)
        self._tools: dict[str, tuple[Catalog, dict[str, Tool]]] = {}
        self._draining = False
        self._none_running = trio.Event()

    # ---- the way

    async def submit(self, envelope: Envelope) -> Reply:
        """Take a request its whole way and give its result.

        Raises CallError for every other outcome. Cancelling the caller cancels the work, and is the
        request's outcome.
        """
        agent = self._choose(envelope)
        now = trio.current_time()
        if envelope.deadline > now + agent.settings.deadline:
            envelope.deadline = now + agent.settings.deadline
        entry = self._admit(envelope, now)
        try:
            tool = self._check(agent, envelope)
            if envelope.idempotency_key is None:
                reply = await self._work(agent, envelope, tool)
            else:
                reply = await self._work_once(agent, envelope, tool)
        except CallError as error:
            expired = isinstance(error, DeadlineExceeded)
            self._record(entry, Outcome.EXPIRED if expired else Outcome.ERROR, str(error))
            raise
        except trio.Cancelled:
            self._record(entry, Outcome.CANCELLED)
            raise
        except Exception as error:
            # a fault of the agent's or ours: named by id in the log, told without its inside
            logger.exception("request %s to agent %s failed", entry.id, agent.name)
            self._record(entry, Outcome.ERROR, type(error).__name__)
            raise InternalError(
                f"agent {agent.name!r} failed while it did request {entry.id}",
                data={"request": entry.id},
            ) from error
        self._record(entry, Outcome.RESULT)
        return reply

    def _choose(self, envelope: Envelope) -> Doer:
        agent = self._agents.get(envelope.agent)
        if agent is None:
            raise UnknownTarget(f"there is no agent {envelope.agent!r}")
        return agent

    def _admit(self, envelope: Envelope, now: float) -> Entry:
        if self._draining:
            self.tracker.refuse()
            raise AgentUnavailable("the node is draining and takes no new requests")
        if envelope.deadline <= now:
            self.tracker.refuse()
            raise DeadlineExceeded("the deadline had passed before the request came", began=False)
        entry = self.tracker.track(envelope, now)
        self._retries.accepted()
        return entry

    def _check(self, agent: Doer, envelope: Envelope) -> Tool | None:
        """The tool a call is of, once its arguments fit; None for what is no tool call."""
        if envelope.method != "tools/call":
            return None
        catalog = agent.catalog
        known = self._tools.get(agent.name)
        if known is None or known[0] is not catalog:
            known = self._tools[agent.name] = (catalog, {one.name: one for one in catalog.tools})
        tool = known[1].get(envelope.name)
        if tool is None:
            raise UnknownTarget(f"agent {agent.name!r} has no tool {envelope.name!r}")
        if agent.settings.validate_arguments:
            self.schemas.check(agent.name, tool, envelope.params.get("arguments"))
        return tool

    async def _work(self, agent: Doer, envelope: Envelope, tool: Tool | None) -> Reply:
        attempt = 1
        while True:
            try:
                return await agent.call(envelope)
            except CallError as error:
                attempt += 1
                wait = self._retries.wait(error, tool, attempt)
                if wait is None or trio.current_time() + wait >= envelope.deadline:
                    raise
            self.tracker.retries += 1
            await trio.sleep(wait)

    async def _work_once(self, agent: Doer, envelope: Envelope, tool: Tool | None) -> Reply:
        """Do the work if its key is new; else give the outcome that the key has or will have."""
        reservation, first = self._keys.reserve(envelope, trio.current_time())
        if not first:
            await self._settled(reservation, envelope)
            self.tracker.replayed += 1
            return reservation.outcome()
        reply: Reply | None = None
        outcome: CallError = OutcomeUnknown(
            "the request with this key was cut off: its outcome is unknown"
        )
        try:
            reply = await self._work(agent, envelope, tool)
        except CallError as error:
            outcome = error
            raise
        finally:
            now = trio.current_time()
            self._keys.settle(
                reservation, now, reply=reply, error=outcome if reply is None else None
            )
            for waiter in reservation.waiters:
                assert isinstance(waiter, trio.Event)
                waiter.set()
            reservation.waiters.clear()
        return reply

    async def _settled(self, reservation: Reservation, envelope: Envelope) -> None:
        if reservation.settled:
            return
        event = trio.Event()
        reservation.waiters.append(event)
        with trio.move_on_at(envelope.deadline):
            await event.wait()
        if not reservation.settled:
            raise DeadlineExceeded(
                "the request with this idempotency key is still running", began=False
            )

    def _record(self, entry: Entry, outcome: Outcome, error: str = "") -> None:
        self.tracker.resolve(entry, outcome, trio.current_time(), error)
        if not self.tracker.running:
            self._none_running.set()

    # ---- the end

    async def drain(self, seconds: float) -> bool:
        """Refuse what comes from now on, and wait for what is under way; whether all of it ended."""
        self._draining = True
        with trio.move_on_after(seconds):
            while self.tracker.running:
                self._none_running = trio.Event()
                await self._none_running.wait()
        return not self.tracker.running

    def statistics(self) -> RequestStatistics:
        """Counts since the flow opened."""
        return self.tracker.statistics()


@asynccontextmanager
async def open_requests(
    settings: RequestSettings, agents: Mapping[str, Doer], chance: random.Random
) -> AsyncGenerator[Requests]:
    """The requests of a node. Tasks that still run are cancelled when the block is left."""
    requests = Requests(settings, agents, chance)
    async with trio.open_nursery() as nursery:
        requests.tasks = Tasks(settings, requests.submit, nursery)
        yield requests
        nursery.cancel_scope.cancel()
