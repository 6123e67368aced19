"""Who asks, as far as one request's work needs to know it."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from flowcore.requests import Principal

OFF = "off"


class Caller(msgspec.Struct, frozen=True):
    """Who sent one HTTP request, and from where."""

    principal: Principal
    address: str = ""


class Client(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The asking side of one request."""

    modern: bool
    version: str
    principal: Principal
    capabilities: dict[str, Raw]
    address: str = ""
    """Where it came from, as far as the edge believes it; "" where there is no address."""
    affinity: bytes | None = None
    """What its requests have in common, if they should meet the same worker."""
    level: str | None = None
    """The least severe log messages it wants; None if it did not say, OFF if it can hear none."""
