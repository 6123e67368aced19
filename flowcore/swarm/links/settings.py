"""What can be set about the links of a node."""

from __future__ import annotations

import attrs

from flowcore.config import Duration, Size, setting
from flowcore.config import validators as v
from flowcore.swarm.interfaces import MOST_MESSAGE
from flowcore.swarm.links.greeting import LEAST_WINDOW, MOST_WINDOW


@attrs.frozen(kw_only=True)
class LinkSettings:
    """How links are kept, and what each of them may hold."""

    keepalive: Duration = setting(
        1.0, validator=v.gt(0), help="how often each side asks whether the other is there"
    )
    dead_after: Duration = setting(
        5.0, validator=v.gt(0), help="time without an answer after which a link is dead"
    )
    doubted_after: Duration = setting(
        0.5,
        validator=v.gt(0),
        help="the same while there is doubt: members suspect the neighbour, or a request over the link has"
        " not been taken; unless they hold it for dead, what its answers may take is added, and it begins"
        " anew with whatever the neighbour sends",
    )
    handshake_timeout: Duration = setting(
        5.0, validator=v.gt(0), help="time for TLS and the greeting"
    )
    handshakes: int = setting(
        128, validator=v.ge(1), help="how many connections may be in their handshake at a time"
    )
    retry_first: Duration = setting(
        0.1, validator=v.gt(0), help="wait before a neighbour is dialled again, at first"
    )
    retry_most: Duration = setting(5.0, validator=v.gt(0), help="the same after many failures")
    linger: Duration = setting(
        10.0, validator=v.ge(0), help="time that a link stands which nobody wants any more"
    )
    drain: Duration = setting(
        2.0, validator=v.ge(0), help="time to send what waits when links are closed"
    )
    window: Size = setting(
        256 * 2**10,
        validator=v.in_range(LEAST_WINDOW, MOST_WINDOW),
        help="bytes of one stream that may be on their way or unread",
    )
    streams: int = setting(
        1024, validator=v.in_range(1, 1 << 20), help="streams that one neighbour may have open"
    )
    lane_messages: int = setting(
        8192, validator=v.ge(1), help="messages that may wait on one lane of a link"
    )
    lane_bytes: Size = setting(
        8 * 2**20, validator=v.ge(MOST_MESSAGE), help="bytes that may wait on one lane of a link"
    )
