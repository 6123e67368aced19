"""What a handler is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import msgspec
import trio

from flowcore.errors import FlowError
from flowcore.http.fields import HeaderMap, Headers

Send = Callable[[bytes], Awaitable[None]]
"""Sends some bytes of a stream; waits until the client has room for more."""


@attrs.frozen
class Tls:
    """What a TLS connection was secured with."""

    version: str
    """For instance `TLSv1.3`."""
    cipher: str
    protocol: str | None
    """What was agreed on by ALPN."""
    certificate: bytes | None
    """The client's certificate (DER), where one was asked for and given; its chain has been verified."""
    uris: tuple[str, ...] = ()
    """The URIs among that certificate's names (SAN)."""


class Request(msgspec.Struct, eq=False):
    """One request, its body read."""

    method: str
    target: str
    """Path and query as they came, visible ASCII; or `*`."""
    headers: HeaderMap
    body: bytes
    client: str
    """The other side's address, as text."""
    connection: int
    """A number that stays with the connection."""
    draining: trio.Event
    """Set when the server wants to close: long answers should end soon."""
    tls: Tls | None = None
    http_version: str = "1.1"

    @property
    def secure(self) -> bool:
        """Whether it came over TLS."""
        return self.tls is not None

    @property
    def peer_certificate(self) -> bytes | None:
        """The client's certificate (DER), verified; None without TLS, or where none was given."""
        return None if self.tls is None else self.tls.certificate

    @property
    def path(self) -> str:
        """The target without its query, as it came: nothing is decoded or normalised."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target's query, without the question mark."""
        return self.target.partition("?")[2]


class Response(msgspec.Struct, eq=False):
    """A whole answer. Content-Length, Date and Connection are added.

    Headers that are a tuple are encoded once and remembered.
    """

    status: int
    headers: Headers = ()
    body: bytes = b""
    close: bool = False
    """Whether the connection ends with it."""


class Hopeless(FlowError):
    """Raised by a stream's `run`: the client takes nothing, and its connection is closed at once."""


class Stream(msgspec.Struct, eq=False):
    """An answer in pieces. `run(send)` sends them and returns at the end; it is cancelled if the client
    goes away."""

    status: int
    headers: Headers
    run: Callable[[Send], Awaitable[None]]
    close: Callable[[], None] | None = None
    """Called once when it is over, however that came; also if the client left before `run` was called."""


Handler = Callable[[Request], Awaitable[Response | Stream]]
