"""Requests of clients that shook hands (up to 2025-11-25), whatever the transport."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from flow_edges.mcp.client import OFF, Caller, Client
from flow_edges.mcp.conversation import Conversation
from flow_edges.mcp.recorded import Headers
from flow_edges.mcp.service import Service
from flowcore.errors import InvalidRequest, UnknownMethod
from flowcore.mcp import LISTS, UNDECLARED

_EMPTY: Final = b"{}"
_NONE: dict[str, Raw] = {}


def stateless_client(version: str | None, caller: Caller) -> Client:
    """A client that uses no session: nothing is known of it, so it can be asked nothing."""
    return Client(
        modern=False,
        version=version or UNDECLARED,
        principal=caller.principal,
        address=caller.address,
        capabilities=_NONE,
        level=OFF,
    )


def stranger(caller: Caller) -> Client:
    """A client before it has shaken hands: which version it will speak is not known."""
    return msgspec.structs.replace(stateless_client(None, caller), version="")


async def answer(
    service: Service,
    conversation: Conversation | None,
    method: str,
    params: dict[str, Raw],
    meta: dict[str, Raw],
    client: Client,
    trace: Headers | None = None,
) -> bytes:
    """The result of a request that cannot ask back. Raises CallError.

    Without a conversation what would change one is refused, but for `logging/setLevel`, which then
    changes nothing that outlives the request. `trace` is the trace context from outside `_meta`.
    """
    if method == "completion/complete":
        return await service.complete(params, meta, client, trace)
    with service.recording(method, params, meta, client, trace):
        return await _answer(service, conversation, method, params, client)


async def _answer(
    service: Service,
    conversation: Conversation | None,
    method: str,
    params: dict[str, Raw],
    client: Client,
) -> bytes:
    service.attend(client)
    if method in LISTS:
        return service.listed(method, params, client)
    if method == "ping":
        return _EMPTY
    if conversation is None:
        if method == "logging/setLevel":
            return _EMPTY
        raise InvalidRequest(f"{method} needs a session: send initialize first")
    if method == "logging/setLevel":
        conversation.set_level(params)
    elif method == "resources/subscribe":
        await conversation.subscribe(params, client)
    elif method == "resources/unsubscribe":
        conversation.unsubscribe(params)
    elif method == "initialize":
        raise InvalidRequest("this session has been initialized")
    else:
        raise UnknownMethod(f"unknown method {method!r}", data={"method": method})
    return _EMPTY
