"""The settings of `[edge.NAME]` with `type = "dashboard"`."""

from __future__ import annotations

import attrs

from flowcore.config import Address, Duration, setting
from flowcore.config import validators as v
from flowcore.http import Limits, TlsSettings


@attrs.frozen(kw_only=True)
class DashboardConfig:
    """The node as live pages for a browser."""

    bind: Address = setting(Address("127.0.0.1", 7302), help="where to listen")
    public_url: str = setting(
        "",
        validator=v.matches(r"(https?://[^\s/?#@]+(/[^\s?#]*)?)?"),
        help="the URL under which it is reached, if it is another than that of `bind`: tokens must be meant"
        " for it, and pages of it are its own",
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), help="further host names under which it is reached"
    )
    tls: TlsSettings | None = setting(None, help="TLS 1.3; unset: plain HTTP")
    limits: Limits = setting(factory=Limits, help="what is taken, and how long is waited")
    drain: Duration = setting(1.0, help="how long requests may go on when the edge closes")
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
