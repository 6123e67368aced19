"""A stream of events from an upstream: what it says on the way to an answer, across broken connections."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import trio

from flow_agents.mcp.calls import Call
from flow_agents.mcp.wire import Hearing
from flowcore.errors import InvalidArguments, InvalidRequest, UpstreamFailure
from flowcore.http import ClientStream, EventTooLarge, HttpError, ServerEvent, SseDecoder
from flowcore.mcp import Response, decode

logger = logging.getLogger(__name__)

_FIRST_WAIT: Final = 0.5
_SHORTEST_WAIT: Final = 0.02
_LONGEST_WAIT: Final = 30.0
"""Seconds before a broken stream is taken up again, whatever the upstream says."""
_LONGEST_ID: Final = 1024
"""Characters of an event's id that is sent back; longer ones are not ids, but a load."""


_LINES: Final = 64
"""Lines that may come at once and be looked at in one go."""
_PART: Final = 2048
"""Bytes of more of them that are, before others have their turn."""


class EventStream:
    """A stream of events, and where in it we are. `call` is the one whose answer ends it, if it is of one."""

    def __init__(self, hearing: Hearing, call: Call | None, limit: int) -> None:
        self.call = call
        self.last_id = ""
        """The id of its last event, which it can be taken up after."""
        self._hearing = hearing
        self._limit = limit
        self._retry: int | None = None

    async def hear(self, answer: ClientStream) -> Response | None:
        """Hear one connection's part of it: the response of its call, or None if the connection ended first.

        Raises UpstreamFailure if what comes is no message.
        """
        events = SseDecoder(limit=self._limit)
        try:
            while piece := await answer.receive():
                for part in _parts(piece):
                    response = self._hear(events.feed(part))
                    if response is not None:
                        return response
                    if part is not piece:
                        await trio.lowlevel.checkpoint()
        except EventTooLarge as error:
            raise UpstreamFailure(f"the upstream says too much at once: {error}") from error
        except HttpError as error:
            logger.debug("a stream broke off: %s", error)
        if events.retry is not None:
            self._retry = events.retry
        return None

    def _hear(self, events: Iterable[ServerEvent]) -> Response | None:
        for event in events:
            if event.id:
                self.last_id = event.id if len(event.id) <= _LONGEST_ID else ""
            if event.data and event.event == "message":
                response = self._take(event.data)
                if response is not None:
                    return response
        return None

    def _take(self, data: bytes) -> Response | None:
        try:
            message = decode(data)
        except (InvalidRequest, InvalidArguments) as problem:
            raise UpstreamFailure(f"the upstream sends what is no message: {problem}") from None
        call = self.call
        if type(message) is not Response:
            self._hearing.hear(message, call)
        elif call is not None and message.id == call.number:
            return message
        else:
            self._hearing.unwanted(message)
        return None

    def wait(self, tries: int) -> float:
        """Seconds until it is taken up again for the `tries`-th time in a row: what the upstream says, else
        longer each time."""
        if self._retry is not None:
            return max(_SHORTEST_WAIT, min(self._retry / 1000, _LONGEST_WAIT))
        return float(min(_FIRST_WAIT * 2 ** min(tries - 1, 16), _LONGEST_WAIT))


def _parts(piece: bytes) -> Iterable[bytes]:
    """What came at once; in parts if it is a flood of short lines."""
    if piece.count(b"\n") + piece.count(b"\r") <= _LINES:
        return (piece,)
    return (piece[start : start + _PART] for start in range(0, len(piece), _PART))
