"""Tasks that outlive a node: kept in the state, claimed by the node that does them, done by another one where
that is lost.

Whoever hands a task to its caller has submitted it first, claimed by itself. While it is done the claim is
renewed; when it ends its outcome is stored under the claim's fence, and only then told. A node that is lost
loses its claims: what may be repeated waits in the queue of its agent, until a node that has the agent claims
it; anything else is told as unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import trio
from msgspec import Raw

from flowcore.durable.answering import Answering
from flowcore.durable.asking import PASSING, Patience, do_in_the_end
from flowcore.durable.claimed import Claimed, Ended
from flowcore.durable.records import KeptRequest, envelope_of, pack_outcome, short, unpack_request
from flowcore.durable.views import view_of
from flowcore.envelope import Envelope, Owner, Reply, new_request_id
from flowcore.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidArguments,
    OutcomeUnknown,
    StateUnavailable,
    TooLarge,
    UnknownTarget,
    VersionConflict,
)
from flowcore.federation.forwarding import asked
from flowcore.federation.wire import WrongMessage, pack
from flowcore.requests import Doer, Requests, Task, complete, repeatable
from flowcore.state import (
    VALUE_SIZE,
    CancelTask,
    Claim,
    ClaimTask,
    Command,
    EndTask,
    RenewClaims,
    State,
    SubmitTask,
    TaskClaimed,
)

logger = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks while there is something that waits, or that is done here."""
BREATH = 0.05
"""Seconds between two looks at least."""
APART = 1.0
"""Seconds for which a queue is left alone whose agent took nothing."""


class StateTasks:
    """`flowcore.requests.Keeper`, over the hard state."""

    def __init__(
        self,
        state: State,
        holder: str,
        requests: Requests,
        doers: Mapping[str, Doer],
        nursery: trio.Nursery,
        draining: Callable[[], bool],
    ) -> None:
        """`draining` says whether nothing more is begun here."""
        self.state = state
        self.holder = holder
        self.nursery = nursery
        self._requests = requests
        self._doers = doers
        self._draining = draining
        self._clock = state.now
        self._mine: dict[str, Claimed] = {}
        """What this node has claimed and its outcome is not stored of, by id."""
        self._keeping: set[str] = set()
        """What is being submitted."""
        self._apart: dict[str, float] = {}
        self.answering: Answering | None = None
        """How answers get to other nodes, where there are any."""
        self._woken = trio.Event()
        self.left = False
        self.kept = self.resumed = self.lost = 0

    # ---- as the requests' keeper

    async def keep(self, task: Task, envelope: Envelope) -> Claimed:
        if self.left:
            raise StateUnavailable("the node is being stopped")
        command = self._submitted(task, envelope)
        self._keeping.add(task.id)
        try:
            fence = await self._submit(command)
            return self._claim(task, fence)
        finally:
            self._keeping.discard(task.id)

    def _submitted(self, task: Task, envelope: Envelope) -> SubmitTask:
        settings, now = self._requests.settings.durable, self._clock()
        left = max(0.0, task.until - trio.current_time())
        payload = pack(
            KeptRequest(
                asked=asked(envelope),
                created=task.created.timestamp(),
                until=now + left,
                keep=task.keep,
                edge=envelope.edge,
            )
        )
        if len(payload) > VALUE_SIZE:
            raise TooLarge(
                f"the request of a task has {len(payload)} bytes, and {VALUE_SIZE} can be kept",
                data={"limit": VALUE_SIZE},
            )
        doer = self._doers.get(envelope.agent)
        tools = doer.catalog.tools if doer is not None else ()
        tool = next((one for one in tools if one.name == envelope.name), None)
        scheme, name = task.owner
        return SubmitTask(
            id=task.id,
            queue=short(envelope.agent),
            payload=payload,
            owner=(short(scheme), short(name)),
            ttl=left + task.keep,
            repeatable=repeatable(tool),
            attempts=settings.attempts,
            holder=self.holder,
            seconds=settings.claim,
        )

    async def _submit(self, command: SubmitTask) -> int:
        """The fence under which it is this node's."""
        patience, doubt = Patience(), False
        while True:
            try:
                told = await self.state.do(command)
            except OutcomeUnknown as error:
                doubt = True
                await patience.wait(error)
            except VersionConflict as error:
                if not doubt:
                    raise InternalError("a task's id was given twice") from error
                fence: int = error.data["version"]  # the attempt before has done it
                return fence
            else:
                position: int = told.position
                return position

    def _claim(self, task: Task, fence: int) -> Claimed:
        claimed = self._mine[task.id] = Claimed(self, task, fence)
        self.nursery.start_soon(claimed.tell)
        self.kept += 1
        self._woken.set()
        return claimed

    async def find(self, id_: str, owner: Owner) -> Task:
        found = await self.state.task(id_)
        scheme, name = owner
        if found is None or found.owner != (short(scheme), short(name)):
            raise UnknownTarget("there is no such task", data={"taskId": id_[:200]})
        return view_of(found, owner)

    async def cancel(self, id_: str, owner: Owner) -> None:
        scheme, name = owner
        try:
            await self.state.do(CancelTask(id=id_, owner=(short(scheme), short(name))))
        except InvalidArguments:
            raise UnknownTarget("there is no such task", data={"taskId": id_[:200]}) from None

    async def answer(self, id_: str, owner: Owner, answers: dict[str, Raw]) -> None:
        found = await self.find(id_, owner)
        if found.where and self.answering is not None:
            await self.answering.give(found.where, id_, owner, answers)

    # ---- what others do

    def heard(self, command: Command | None) -> None:
        """A command about work was applied here."""
        if isinstance(command, RenewClaims):
            return
        self._woken.set()

    async def run(self) -> None:
        """Do what waits, heed wishes and losses, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew)
            while True:
                self._woken = trio.Event()
                try:
                    waits = await self._look()
                except PASSING as error:
                    logger.debug("tasks cannot be claimed now: %s", error)
                    waits = True
                await trio.sleep(BREATH)
                with trio.move_on_after(LOOK if waits or self._mine else 60.0):
                    await self._woken.wait()

    async def _renew(self) -> None:
        """Say that this node is at work, as often as it must."""
        while True:
            claim = self._requests.settings.durable.claim
            await trio.sleep(claim / 3)
            if self._mine:
                try:
                    await self.state.do(RenewClaims(holder=self.holder, seconds=claim))
                except PASSING as error:
                    logger.info("claims of tasks are not renewed now: %s", error)

    async def _look(self) -> bool:
        """Look at what is claimed and what waits; whether something still waits."""
        before = dict(self._mine)
        there = {one.id: one for one in await self.state.claims(self.holder)}
        for id_, claimed in before.items():
            claim = there.get(id_)
            if claim is None or claim.fence != claimed.fence:
                claimed.lose()
            elif claim.cancel:
                claimed.task.scope.cancel()
        for id_, claim in there.items():
            if id_ not in self._mine and id_ not in self._keeping and id_ not in before:
                await self._let_go(claim)
        if self._draining() or self.left:
            return False
        return await self._take()

    async def _let_go(self, claim: Claim) -> None:
        """A claim of this node that it does not know of: it was not told that it has it."""
        told = claim.fence == claim.number  # its caller was never told of it
        state: Ended = "cancelled" if told else "queued"
        try:
            await self.state.do(EndTask(id=claim.id, fence=claim.fence, state=state))
        except (VersionConflict, InvalidArguments) as error:
            logger.debug("a claim is over by itself: %s", error)

    async def _take(self) -> bool:
        """Claim what waits for agents that are here to be had."""
        waits = False
        now = trio.current_time()
        self._apart = {queue: until for queue, until in self._apart.items() if until > now}
        for queue in await self.state.queues():
            waits = True
            doer = self._doers.get(queue)
            if doer is None or not doer.state.available or queue in self._apart:
                continue
            while self._requests.tasks.room and not self._draining():
                seconds = self._requests.settings.durable.claim
                told = await self.state.do(
                    ClaimTask(queue=queue, holder=self.holder, seconds=seconds)
                )
                if told.task is None:
                    break
                await self._resume(told)
        return waits

    async def _resume(self, told: TaskClaimed) -> None:
        """Go on with a task whose node was lost."""
        assert told.task is not None
        try:
            kept = unpack_request(told.payload)
            left = kept.until - self._clock()
            now = trio.current_time()
            envelope = envelope_of(kept, now + left)
        except WrongMessage as error:
            logger.error("task %s cannot be read: %s", told.task, error)
            await self._fail(told, InternalError("the task cannot be read by this node"))
            return
        if left <= 0:
            late = DeadlineExceeded("the task was not done before its deadline")
            await self._fail(told, late)
            return
        task = Task(
            id=told.task,
            owner=envelope.principal.owner,
            agent=envelope.agent,
            name=envelope.name,
            request=new_request_id(),
            began=now - max(0.0, self._clock() - kept.created),
            until=now + left,
            keep=kept.keep,
            created=datetime.fromtimestamp(kept.created, UTC),
            updated=datetime.now(UTC),
            keeping=trio.Event(),
        )
        assert task.keeping is not None
        task.keeping.set()
        task.kept = self._claim(task, told.fence)
        envelope.id = task.request
        self.resumed += 1
        logger.info(
            "a task of agent %s is begun here, attempt %d: its node was lost",
            task.agent,
            told.attempt,
        )
        self._requests.tasks.resume(task, envelope, self._submit_again)

    async def _submit_again(self, envelope: Envelope) -> Reply:
        reply = await self._requests.submit(envelope)
        left = max(0.0, envelope.deadline - trio.current_time())
        return await complete(self._requests.submit, envelope, reply, deadline=left)

    async def _fail(self, told: TaskClaimed, error: InternalError | DeadlineExceeded) -> None:
        assert told.task is not None
        result = pack_outcome(None, error)
        try:
            await do_in_the_end(
                self.state,
                EndTask(id=told.task, fence=told.fence, state="failed", result=result),
            )
        except (VersionConflict, InvalidArguments) as gone:
            logger.debug("a task that cannot be done is another's: %s", gone)

    # ---- what claims tell

    def over(self, claimed: Claimed) -> None:
        """This claim is over: its outcome is stored, or it was lost."""
        if self._mine.get(claimed.task.id) is claimed:
            del self._mine[claimed.task.id]
        self.lost += claimed.lost

    def leave_alone(self, agent: str) -> None:
        """An agent took nothing: its queue is for others for a while."""
        self._apart[short(agent)] = trio.current_time() + APART

    def settings(self) -> tuple[float, float]:
        """For how many seconds a claim holds, and between two words of progress."""
        durable = self._requests.settings.durable
        return durable.claim, durable.progress

    def leave(self) -> None:
        """Stop all that is done here without telling that it ended: somebody is about to declare it lost."""
        self.left = True
        for claimed in tuple(self._mine.values()):
            claimed.lose()

    @property
    def claims(self) -> int:
        """Tasks that this node does now."""
        return len(self._mine)
