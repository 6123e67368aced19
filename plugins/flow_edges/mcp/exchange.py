"""One request whose work runs on its own, and the messages that answer it."""

from __future__ import annotations

from collections.abc import Callable

from flow_edges.mcp.running import Running
from flowcore.errors import CallError
from flowcore.mcp import Id, encode_error, encode_result, error_for

Park = Callable[[Running], bytes]
"""Puts a call that asks aside, and gives the result that asks the client. Raises CallError."""


class Exchange:
    """Takes what a running call says, as messages, until the one that ends the request."""

    def __init__(self, request: Id, running: Running, *, modern: bool, park: Park | None) -> None:
        self._request = request
        self._running = running
        self._modern = modern
        self._park = park
        self.done = False
        self.error: CallError | None = None
        """What the request failed of, once it is done."""

    async def take(self) -> list[bytes]:
        """Wait for something to send. Nothing, and done, if the client itself cancelled the request."""
        running = self._running
        await running.news()
        frames = list(running.frames)
        running.frames.clear()
        if running.ended:
            self.done = True
            if running.result is not None:
                frames.append(encode_result(self._request, running.result))
            elif not running.cancelled:
                assert running.error is not None
                frames.append(self._failed(running.error))
        elif running.questions and self._park is not None:
            self.done = True
            try:
                frames.append(encode_result(self._request, self._park(running)))
            except CallError as error:
                running.scope.cancel()
                frames.append(self._failed(error))
        return frames

    def abandon(self) -> None:
        """The client is gone: cancel the call, unless it is parked for a retry."""
        if not self.done:
            self._running.scope.cancel()

    def _failed(self, error: CallError) -> bytes:
        self.error = error
        return encode_error(self._request, error_for(error, modern=self._modern))
