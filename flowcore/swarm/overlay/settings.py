"""What can be set of the overlay."""

from __future__ import annotations

import attrs

from flowcore.config import Duration, Size, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class OverlaySettings:
    """How ways are found, and how long is waited for them."""

    detour_after: Duration = setting(
        0.3,
        validator=v.gt(0),
        help="a neighbour without a link for so long is left out, and links are made as if it were lost",
    )
    retire_after: Duration = setting(
        1.0,
        validator=v.ge(0),
        help="a link that the topology has no use for any more is kept so long after the others stand",
    )
    wait: Duration = setting(
        1.0,
        validator=v.ge(0),
        help="a request waits so long for a member that has just become unreachable",
    )
    second_way: Duration = setting(
        0.5,
        validator=v.gt(0),
        help="a stream that is not taken within this time is tried on a second way, too",
    )
    patience: Duration = setting(
        30.0,
        validator=v.gt(0),
        help="a message that must arrive in order is given up after this time, and the gap is told",
    )
    waiting: int = setting(
        256, validator=v.ge(1), help="messages to one node and topic that may wait to be confirmed"
    )
    waiting_bytes: Size = setting(4 * 2**20, validator=v.ge(2**20), help="the same, in bytes")
    sync: Duration = setting(
        2.0,
        validator=v.gt(0),
        help="how often a neighbour, drawn by chance, is asked for reports of links that were missed",
    )
