"""Changes of who takes part, and how far the others are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio

from flow_consensus.bft.core import Refused
from flow_consensus.bft.driver.port import Node
from flow_consensus.bft.epochs import Member
from flowcore.errors import InvalidArguments, OutcomeUnknown, StateUnavailable

_LONG = 30.0
"""Seconds until nobody waits any more for a change that enough voters want."""
KeyOf = Callable[[str], bytes]
"""The public key in a node's certificate. Raises AssemblyError."""


class Changing:
    """This node's voice in changes."""

    def __init__(self, node: Node, key_of: KeyOf) -> None:
        self._node = node
        self._key_of = key_of

    async def change(
        self, add: Sequence[str], remove: Sequence[str], promote: Sequence[str]
    ) -> None:
        """Want it, and wait until it is decided. Raises InvalidArguments, StateUnavailable."""
        node, engine = self._node, self._node.engine
        if node.stopped:
            raise StateUnavailable(node.stopped)
        epoch = engine.epoch
        members = {one.name: one for one in epoch.members}
        strangers = sorted(set(promote) - members.keys())
        if strangers:
            raise InvalidArguments(f"{strangers} are no members: add them first")
        try:
            wanted = [Member(name, self._key_of(name), False) for name in add]
            wanted += [Member(name, members[name].key, True) for name in promote]
            of = engine.change(wanted, remove)
        except Refused as refused:
            raise StateUnavailable(str(refused)) from None
        except ValueError as error:
            raise InvalidArguments(str(error)) from None
        node.wake()
        number, enough = epoch.number, epoch.some_honest
        with trio.move_on_after(node.settings.patience):
            while engine.epoch.number == number and len(engine.endorsed(of)) < enough:
                await self._moved()
        names = engine.endorsed(of)
        if engine.epoch.number == number and len(names) < enough:
            raise StateUnavailable(
                f"it is wanted here, and noted; it takes {enough} voters, for one may lie, and"
                f" {', '.join(names)} want it so far: ask the same at another one"
            )
        with trio.move_on_after(_LONG):
            while engine.epoch.number == number:
                await self._moved()
        if engine.epoch.number == number:
            raise OutcomeUnknown("the change has begun, and may be made, now or later")
        now = {one.name: one for one in engine.epoch.members}
        done = (
            all(name in now for name in (*add, *promote))
            and all(now[name].voter for name in promote)
            and not any(name in now for name in remove)
        )
        if not done:
            raise StateUnavailable("another change has taken its place: it is not made")

    async def _moved(self) -> None:
        if self._node.stopped:
            raise OutcomeUnknown(f"{self._node.stopped}: the change may be made, now or later")
        await self._node.wait_moved()


def followers(node: Node, heard: Callable[[str], bool]) -> dict[str, dict[str, Any]]:
    """How far each other member says it is, in heights."""
    here = node.engine.standing.height
    return {
        name: {
            "phase": "block",
            "match": height,
            "lag": max(0, here - height),
            "active": heard(name),
        }
        for name, height in node.engine.peer_heights().items()
    }
