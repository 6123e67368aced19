"""How far the members are, asked on any node: their leader knows it."""

from __future__ import annotations

from typing import Any

import trio

from flow_consensus.raft.core import Role
from flow_consensus.raft.driver.port import Node
from flow_consensus.raft.driver.wire import Known, Look, LookAnswer


class Looking:
    """This node's questions, and those that others ask of it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._asked: dict[int, LookAnswer | None] = {}

    async def followers(self) -> dict[str, dict[str, Any]]:
        """What the leader knows of each member but itself, by name; nothing if there is none that answers."""
        node = self._node
        leader = node.engine.leader
        if node.engine.role is Role.LEADER:
            return _shown(self._known())
        number = node.next_number()
        if not leader or not node.send_own(leader, Look(number)):
            return {}
        self._asked[number] = None
        try:
            with trio.move_on_after(node.settings.patience):
                while (answer := self._asked[number]) is None:
                    await node.wait_moved()
                return _shown(answer.members)
        finally:
            del self._asked[number]
        return {}

    def _known(self) -> list[Known]:
        now = self._node.engine.status()
        return [
            Known(name, one.phase, one.match, max(0, now.last - one.match), one.active)
            for name, one in now.followers.items()
        ]

    def asked(self, sender: str, message: Look) -> None:
        """Another node asks; who does not lead knows nothing."""
        self._node.send_own(sender, LookAnswer(message.id, self._known()))

    def answered(self, message: LookAnswer) -> None:
        """The leader has said it."""
        if message.id in self._asked:
            self._asked[message.id] = message
            self._node.moved()


def _shown(members: list[Known]) -> dict[str, dict[str, Any]]:
    return {
        one.name: {"phase": one.phase, "match": one.match, "lag": one.lag, "active": one.active}
        for one in members
    }
