"""What every edge has besides the settings of its type: who may come in, and past which guards."""

from __future__ import annotations

import ipaddress

import attrs

from flowcore.config import reference, setting
from flowcore.resilience import FailedLoginSettings


@attrs.frozen(kw_only=True)
class EdgeSettings:
    """What every edge has besides the settings of its type."""

    auth: tuple[str, ...] = reference(
        "auth",
        (),
        help="who may come in: schemes in the order in which they are asked; the first that applies decides",
    )
    anonymous: bool = setting(
        False, help="let those in, on loopback only, who bring no credentials at all"
    )
    guards: tuple[str, ...] = reference(
        "guard", (), help="guards that requests by this edge must pass, after those of `[requests]`"
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        help="networks of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8",
    )
    failed_logins: FailedLoginSettings = setting(
        factory=FailedLoginSettings, help="how often an address may bring wrong credentials"
    )

    def __attrs_post_init__(self) -> None:
        for one in self.trusted_proxies:
            ipaddress.ip_network(one)  # raises ValueError that names it
