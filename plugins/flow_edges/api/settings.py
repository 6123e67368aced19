"""What the `api` edge is told in the configuration."""

from __future__ import annotations

import attrs

from flowcore.config import Address, Duration, setting
from flowcore.config import validators as v
from flowcore.http import Limits, TlsSettings


@attrs.frozen(kw_only=True)
class ApiConfig:
    """Health, status and steering over HTTP, for flowctl and for machines that watch."""

    bind: Address = setting(Address("127.0.0.1", 7301), help="where to listen")
    public_url: str = setting(
        "",
        validator=v.matches(r"(https?://[^\s/?#@]+(/[^\s?#]*)?)?"),
        help="the URL under which it is reached, if it is another than that of `bind`: tokens must be meant"
        " for it",
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), help="further host names under which it is reached"
    )
    tls: TlsSettings | None = setting(None, help="TLS 1.3; unset: plain HTTP")
    limits: Limits = setting(factory=Limits, help="what is taken, and how long is waited")
    drain: Duration = setting(1.0, help="how long requests may go on when the edge closes")
