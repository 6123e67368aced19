"""Why a request of the client got no whole answer.

    FlowError
    └── HttpError             `sent`: whether the other side may have seen the request
        ├── ConnectFailed     no connection could be made; nothing was sent
        ├── ProtocolFailure   the answer is not HTTP/1.1, or the connection ended within it
        └── BodyTooLarge      the answer's body is larger than allowed

A deadline is the caller's cancel scope; only connecting has one of its own, whose end is a ConnectFailed.
"""

from __future__ import annotations

from flowcore.errors import FlowError


class HttpError(FlowError):
    """A request that got no whole answer. `sent` tells whether the other side may have seen it."""

    def __init__(self, message: str, *, sent: bool = True, silent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.silent = silent
        """Whether not a byte of an answer came."""


class ConnectFailed(HttpError):
    """No connection could be made; nothing was sent."""


class ProtocolFailure(HttpError):
    """The answer is not HTTP/1.1, or the connection ended within it."""


class BodyTooLarge(HttpError):
    """The answer's body is larger than allowed."""
