"""A request's way from acceptance to exactly one outcome."""

from flowcore.requests.envelope import (
    ANONYMOUS,
    DEAF,
    LOCAL,
    Envelope,
    Peer,
    Principal,
    Priority,
    Raw,
    Reply,
    new_request_id,
)

__all__ = [
    "ANONYMOUS",
    "DEAF",
    "LOCAL",
    "Envelope",
    "Peer",
    "Principal",
    "Priority",
    "Raw",
    "Reply",
    "new_request_id",
]
