"""Changes of who takes part, asked on any node: the leader begins them; whoever asked waits for the end."""

from __future__ import annotations

import trio

from flow_consensus.raft.core import Refused, Role
from flow_consensus.raft.driver.port import Node
from flow_consensus.raft.driver.wire import Ask, AskAnswer
from flow_consensus.raft.membership import Change, ChangeRefused
from flowcore.errors import InvalidArguments, OutcomeUnknown, StateUnavailable

_AGAIN = 0.1
"""Seconds until a change that could not begin is tried again."""
_LONG = 30.0
"""Seconds until nobody waits any more for one that has begun."""


class Changing:
    """This node's changes, and those that others ask of it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._asked: dict[int, AskAnswer | None] = {}

    async def change(self, change: Change) -> None:
        """Make it, here or by the leader. Raises StateUnavailable, InvalidArguments, OutcomeUnknown."""
        position = await self._begun(change)
        node = self._node
        with trio.move_on_after(_LONG):
            while node.last < position or node.engine.membership.joint:
                if node.stopped:
                    raise OutcomeUnknown(f"{node.stopped}: the change may be made, now or later")
                await node.wait_moved()
            now = node.engine.membership
            left = now.deciders - change.learners - change.remove
            if (
                change.voters <= now.voters
                and change.learners <= now.learners
                and now.deciders == left
            ):
                return
            raise StateUnavailable("another leader's change has taken its place: it is not made")
        raise OutcomeUnknown("the change has begun, and may be made, now or later")

    async def _begun(self, change: Change) -> int:
        """The position of its entry."""
        deadline = trio.current_time() + self._node.settings.patience
        while True:
            answer = await self._begin(change)
            if answer.position:
                return answer.position
            if not answer.busy:
                raise InvalidArguments(answer.why)
            if trio.current_time() >= deadline:
                leader = self._node.engine.leader
                raise StateUnavailable(answer.why, data={"leader": leader}, retry_after=1.0)
            await trio.sleep(_AGAIN)

    async def _begin(self, change: Change) -> AskAnswer:
        node = self._node
        leader = node.engine.leader
        if node.stopped:
            raise StateUnavailable(node.stopped)
        if node.engine.role is Role.LEADER:
            return self._take(0, change)
        if not leader:
            return AskAnswer(0, 0, True, "no leader is known")
        number = node.next_number()
        lists = (sorted(change.learners), sorted(change.remove), sorted(change.voters))
        if not node.send_own(leader, Ask(number, *lists)):
            return AskAnswer(0, 0, True, f"{leader} leads, and cannot be reached")
        self._asked[number] = None
        try:
            with trio.move_on_after(node.settings.patience):
                while (answer := self._asked[number]) is None:
                    await node.wait_moved()
                return answer
        finally:
            del self._asked[number]
        raise OutcomeUnknown(f"{leader} has not answered: the change may be made, now or later")

    def _take(self, number: int, change: Change) -> AskAnswer:
        engine = self._node.engine
        strangers = change.voters - engine.membership.members
        if strangers and engine.role is Role.LEADER:
            return AskAnswer(
                number, 0, False, f"{sorted(strangers)} are no learners: add them first"
            )
        settled = change.learners & engine.membership.deciders
        if (
            settled and engine.role is Role.LEADER
        ):  # a learner has no vote: nobody loses one by the way
            return AskAnswer(number, 0, False, f"{sorted(settled)} are voters already")
        for name in sorted(change.voters & engine.progress.keys()):
            behind = engine.log.commit - engine.progress[name].match
            if behind > self._node.settings.batch:  # it would be counted on, and could not help
                return AskAnswer(number, 0, True, f"{name} is {behind} entries behind, as yet")
        try:
            position = engine.change_voters(change)
        except Refused as refused:
            busy = refused.busy or engine.role is not Role.LEADER
            return AskAnswer(number, 0, busy, str(refused))
        self._node.wake()
        return AskAnswer(number, position)

    def asked(self, sender: str, message: Ask) -> None:
        """Another node asks this one to begin a change."""
        try:
            change = Change(learners=message.learners, remove=message.remove, voters=message.voters)
            answer = self._take(message.id, change)
        except ChangeRefused as error:
            answer = AskAnswer(message.id, 0, False, str(error))
        self._node.send_own(sender, answer)

    def answered(self, message: AskAnswer) -> None:
        """The leader has begun it, or says why not."""
        if message.id in self._asked:
            self._asked[message.id] = message
            self._node.moved()
