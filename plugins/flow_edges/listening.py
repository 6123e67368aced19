"""What edges for people and machines that look after a node are told alike."""

from __future__ import annotations

import attrs

from flowcore.config import Duration, setting
from flowcore.config import validators as v
from flowcore.http import Limits, TlsSettings


@attrs.frozen(kw_only=True)
class ListeningConfig:
    """How an edge is reached, but for where it listens."""

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
