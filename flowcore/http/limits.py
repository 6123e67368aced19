"""What an HTTP face takes, and for how long it waits: every bound in one place."""

from __future__ import annotations

import attrs

from flowcore.config import Duration, Size, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of a listening HTTP server."""

    head: Size = setting(
        16 << 10, validator=v.ge(256), help="most bytes of request line and headers (431)"
    )
    headers: int = setting(100, validator=v.ge(1), help="most headers of a request (431)")
    target: Size = setting(
        8 << 10, validator=v.ge(16), help="most bytes of a request's target (414)"
    )
    body: Size = setting(16 << 20, validator=v.ge(0), help="most bytes of a request's body (413)")
    bodies: Size = setting(
        256 << 20, validator=v.ge(0), help="most bytes of bodies held at a time, in all (503)"
    )
    connections: int = setting(
        1000,
        validator=v.ge(1),
        help="most connections at a time; beyond it the slowest or idlest goes, or the new one gets 503",
    )
    connections_per_address: int = setting(
        500, validator=v.ge(1), help="most connections of one address (IPv6: of one /64), likewise"
    )
    handshakes: int = setting(
        1000,
        validator=v.ge(1),
        help="most TLS handshakes under way at a time; beyond it the oldest is given up",
    )
    streams: int = setting(
        800, validator=v.ge(0), help="most answers that are streams at a time (503)"
    )
    head_timeout: Duration = setting(
        10.0, validator=v.gt(0), help="time for a request's head to arrive"
    )
    body_timeout: Duration = setting(
        30.0, validator=v.gt(0), help="time for a request's body to arrive"
    )
    idle_timeout: Duration = setting(
        75.0, validator=v.gt(0), help="time a connection may have nothing to do"
    )
    write_timeout: Duration = setting(
        30.0, validator=v.gt(0), help="time a client may take to read what is sent to it"
    )
    handshake_timeout: Duration = setting(5.0, validator=v.gt(0), help="time for a TLS handshake")
