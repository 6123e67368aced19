"""Whether an upstream that is busy with calls is alive: pings beside its calls, for servers that answer them.

A server that does its work in the loop that reads its input cannot answer a ping meanwhile, and is well all
the same. So silence beside calls is held against a server only once it has shown that it can answer there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flow_agents.mcp.calls import Calls
from flow_agents.mcp.errands import Errands
from flowcore.errors import UpstreamFailure


class Beats:
    """The pings beside the calls of one connection; one at a time is under way."""

    def __init__(
        self, calls: Calls, ping: Callable[[], Awaitable[object]], errands: Errands
    ) -> None:
        self._calls = calls
        self._ping = ping
        self._errands = errands
        self._under_way = False
        self._heard = 0
        self.able = False
        """It has answered a ping while a call was under way from before it until after."""

    def beat(self) -> None:
        """Have it pinged, and return at once; called at each heartbeat, while calls are under way.

        Raises UpstreamFailure if nothing was heard since the last beat of a server that is able to answer.
        """
        silent = self._under_way and self._heard == self._calls.messages
        self._heard = self._calls.messages
        if not self._under_way:
            self._under_way = self._errands.run(self._ask)
        elif silent and self.able:
            raise UpstreamFailure(
                "the upstream does not answer a ping beside its calls, as it did before"
            )

    async def _ask(self) -> None:
        before = {call.number for call in self._calls.working()}
        try:
            await self._ping()
            if any(call.number in before for call in self._calls.working()):
                self.able = True
        finally:
            self._under_way = False
