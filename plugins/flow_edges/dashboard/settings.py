"""The settings of `[edge.NAME]` with `type = "dashboard"`."""

from __future__ import annotations

import attrs

from flow_edges.listening import ListeningConfig
from flowcore.config import Address, Duration, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class DashboardConfig(ListeningConfig):
    """The node as live pages for a browser."""

    bind: Address = setting(Address("127.0.0.1", 7302), help="where to listen")
    every: Duration = setting(
        1.0,
        validator=v.ge(0.1),
        help="how often it looks at what changes; not at all while nobody watches",
    )
    streams: int = setting(
        32, validator=v.ge(1), help="most browsers that watch at a time; further ones get 429"
    )
    queue: int = setting(
        64,
        validator=v.ge(4),
        help="most events that wait for one browser; one that does not read them is let go",
    )
    recheck: Duration = setting(
        15.0,
        validator=v.ge(1),
        help="how often it is asked again whether who watches still may",
    )
