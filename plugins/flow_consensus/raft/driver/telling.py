"""When followers are told what is committed: with whatever they are told next, or a moment later.

A leader's engine has it said at once. While commands come, an append follows that says the same: so a message
to each follower is spared for each batch, and a turn of its driver. Who waits for it is told at once. To a
follower's engine this is a network on which a `Commit` comes late, or never.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from flow_consensus.raft.messages import Append, Commit, Heartbeat, Message, ReadAnswer

_MOMENT = 0.01
"""Seconds for which a follower that waits for nothing may not know what is committed."""


class Telling:
    """What a leader sends, in its order, but for what can wait."""

    def __init__(self, send: Callable[[str, Message], None]) -> None:
        self._send = send
        self._held: dict[str, Commit] = {}
        self._awaited: dict[str, int] = {}
        """What a follower waits to see committed: up to which position."""
        self._more = trio.Event()

    def send(self, to: str, message: Message) -> None:
        """Send a message now; a `Commit` that nobody waits for later, or not at all."""
        if type(message) is ReadAnswer:
            self.awaited(to, message.position)
        elif isinstance(message, Commit | Append | Heartbeat):
            if type(message) is Commit and to not in self._awaited:
                self._held[to] = message
                self._more.set()
                return
            self._held.pop(to, None)
            if message.commit >= self._awaited.get(to, math.inf):
                del self._awaited[to]
        self._send(to, message)

    def awaited(self, by: str, position: int) -> None:
        """A follower waits to hear that what is up to a position is committed."""
        self._awaited[by] = max(position, self._awaited.get(by, 0))
        held = self._held.get(by)
        if held is not None:
            self.send(by, held)

    def forget(self) -> None:
        """This node leads no more, or begins to."""
        self._held.clear()
        self._awaited.clear()

    async def run(self) -> None:
        """Say what was held for long enough."""
        while True:
            await self._more.wait()
            await trio.sleep(_MOMENT)
            self._more = trio.Event()
            held, self._held = self._held, {}
            for to, message in held.items():
                self._send(to, message)
