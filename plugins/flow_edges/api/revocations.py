"""What the `api` edge does with credentials that are good no more."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import msgspec

from flow_edges.api.answers import read_body
from flowcore.access import revocation_id
from flowcore.errors import InvalidRequest, UnknownMethod
from flowcore.interfaces import Host


class _Credential(msgspec.Struct, forbid_unknown_fields=True):
    scheme: str
    what: Literal["jti", "key", "token", "certificate", "principal"]
    id: str


class _Revoke(_Credential, forbid_unknown_fields=True):
    seconds: float | None = None


Asked = TypeVar("Asked", bound=_Credential)


async def revoke(host: Host, body: bytes) -> tuple[dict[str, Any], str]:
    """Revoke one thing, on all nodes: the answer, and what it was. Raises CallError."""
    asked, id_ = _asked(body, _Revoke, "revoke")
    if asked.seconds is not None and not 0 < asked.seconds < math.inf:
        raise InvalidRequest(f"expected more than 0 seconds, not {asked.seconds!r}")
    await host.revoke([id_], asked.seconds)
    return {"revoked": id_}, id_


async def reinstate(host: Host, body: bytes) -> tuple[dict[str, Any], str]:
    """Take one revocation back, on all nodes: the answer, and of what. Raises CallError."""
    _, id_ = _asked(body, _Credential, "reinstate")
    if not await host.reinstate([id_]):
        raise UnknownMethod(f"{id_!r:.200} is not revoked")
    return {"reinstated": id_}, id_


def _asked(body: bytes, kind: type[Asked], what: str) -> tuple[Asked, str]:
    asked = read_body(body, kind, f"what to {what} as a JSON object")
    if not asked.scheme or not asked.id:
        raise InvalidRequest("expected a scheme and an id, and one of them is empty")
    return asked, revocation_id(asked.scheme, asked.what, asked.id)


REVOCATIONS: dict[str, Callable[[Host, bytes], Awaitable[tuple[dict[str, Any], str]]]] = {
    "add": revoke,
    "remove": reinstate,
}
"""What `POST /revocations/ACTION` does, by action."""
