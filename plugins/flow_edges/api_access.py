"""What the `api` edge does with credentials that are good no more."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from flowcore.access import revocation_id
from flowcore.errors import InvalidRequest
from flowcore.interfaces import Host


class _Revoke(msgspec.Struct, forbid_unknown_fields=True):
    scheme: str
    what: Literal["jti", "key", "token", "certificate", "principal"]
    id: str
    seconds: float | None = None


async def revoke(host: Host, body: bytes) -> tuple[dict[str, Any], str]:
    """Revoke one thing, on all nodes: the answer, and what it was. Raises CallError."""
    try:
        asked = msgspec.json.decode(body or b"{}", type=_Revoke)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"expected what to revoke as a JSON object: {error}") from None
    if not asked.scheme or not asked.id:
        raise InvalidRequest("expected a scheme and an id, and one of them is empty")
    if asked.seconds is not None and not 0 < asked.seconds < math.inf:
        raise InvalidRequest(f"expected more than 0 seconds, not {asked.seconds!r}")
    id_ = revocation_id(asked.scheme, asked.what, asked.id)
    await host.revoke([id_], asked.seconds)
    return {"revoked": id_}, id_
