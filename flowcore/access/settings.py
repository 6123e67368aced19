"""What every edge has besides the settings of its type: who may come in, and past which guards."""

from __future__ import annotations

from typing import Literal

import attrs

from flowcore.config import reference, setting
from flowcore.http import NETWORKS
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
        validator=NETWORKS,
        help="proxies, as addresses or networks, whose word for where a request comes from is believed",
    )
    forwarded_by: Literal["x-forwarded-for", "forwarded"] = setting(
        "x-forwarded-for",
        help="the header in which these proxies say it; the other is not looked at",
    )
    failed_logins: FailedLoginSettings = setting(
        factory=FailedLoginSettings, help="how often an address may bring wrong credentials"
    )
