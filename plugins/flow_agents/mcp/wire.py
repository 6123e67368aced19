"""What a transport does for a connection to an upstream, whichever it is."""

from __future__ import annotations

from typing import Protocol

import msgspec

from flow_agents.mcp.calls import Call
from flow_agents.mcp.errands import Errands
from flow_agents.mcp.phrasing import Phrasing
from flowcore.errors import AgentUnavailable, UpstreamError
from flowcore.mcp import ErrorObject, Message, Response


class Hearing(Protocol):
    """Who is told what the upstream says besides answers."""

    def hear(self, message: Message, call: Call | None) -> None:
        """A message came; `call` is the one on whose stream it came, where calls have streams."""
        ...

    def unwanted(self, response: Response) -> None:
        """A response came that nobody waits for."""
        ...

    def missed(self) -> None:
        """Notifications may have been missed."""
        ...


class Wire(Protocol):
    """One connection's way to its upstream."""

    http: bool
    """Whether it is HTTP: headers mirror what requests hold, and calls have streams of their own."""
    session: str | None
    """The session that the upstream gave with its answer to `initialize`, if it did."""

    def attach(self, hearing: Hearing, errands: Errands) -> None:
        """Who hears what comes besides answers, and who does what nobody waits for. Called once, first."""
        ...

    async def run(self) -> None:
        """Everything that the transport does while the connection is open.

        Raises CallError when the connection is lost.
        """
        ...

    def speak(self, phrasing: Phrasing) -> None:
        """From now on messages are of this version."""
        ...

    def agreed(self) -> None:
        """The version is agreed upon: the upstream may speak of itself from now on."""
        ...

    async def settled(self) -> None:
        """Wait until what the upstream says of itself is heard, or it is clear that it will not be.

        It does not wait long: an upstream may as well leave that open.
        """
        ...

    async def exchange(self, call: Call) -> Response:
        """Send a call's request and wait for its response. One task for each call.

        Cancelled, it has the upstream told so and returns at once. Raises CallError: AgentUnavailable if
        the request was not sent, OutcomeUnknown if the connection was lost after it, UpstreamFailure, and
        SessionExpired.
        """
        ...

    async def tell(self, message: bytes) -> None:
        """Send a notification, or the answer to a question. Raises CallError if it cannot be sent."""
        ...


class SessionExpired(AgentUnavailable):
    """The upstream does not know the session (any more), and did nothing."""

    def __init__(self, session: str) -> None:
        super().__init__("the upstream has ended the session")
        self.session = session


def upstream_error(error: ErrorObject) -> UpstreamError:
    """An upstream's own error, as its caller gets it: code, message and data as they came."""
    data = None if error.data is msgspec.UNSET else msgspec.json.decode(error.data)
    return UpstreamError(error.message, code=error.code, data=data)
