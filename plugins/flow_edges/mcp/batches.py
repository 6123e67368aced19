"""JSON-RPC batches, which version 2025-03-26 alone knows (JSON-RPC 2.0, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from flow_edges.mcp.client import Caller
from flow_edges.mcp.conversation import Conversation
from flow_edges.mcp.handshake import answer, stateless_client
from flow_edges.mcp.service import Service, supported
from flowcore.errors import CallError, InvalidArguments, InvalidRequest
from flowcore.mcp import (
    UNDECLARED,
    Message,
    Request,
    array,
    encode_error,
    encode_result,
    error_for,
    split_meta,
)

Item = Message | InvalidRequest | InvalidArguments


async def answer_batch(
    service: Service,
    conversation: Conversation | None,
    items: Sequence[Item],
    caller: Caller,
    other: Callable[[Message], None],
) -> bytes | None:
    """The answers to a batch as one JSON array; None if nothing in it wants one.

    Its requests are worked on at the same time. They can be told nothing, and asked nothing, before their
    answer. `other` is given what is no request.
    """
    answers: list[bytes] = []

    async def one(item: Request) -> None:
        answers.append(await _answer(service, conversation, item, caller))

    async with trio.open_nursery() as nursery:
        for item in items:
            if isinstance(item, CallError):
                answers.append(encode_error(None, error_for(item, modern=False)))
            elif isinstance(item, Request):
                nursery.start_soon(one, item)
            else:
                other(item)
    return array(answers) if answers else None


async def _answer(
    service: Service, conversation: Conversation | None, message: Request, caller: Caller
) -> bytes:
    client = stateless_client(UNDECLARED, caller)
    name, params = message.method, message.params
    try:
        if name == "initialize":
            raise InvalidRequest("initialize must not be part of a batch")
        meta = split_meta(params)
        method = supported(name, modern=False)
        if method.asks:
            target = service.target(method, params, client, meta)
            envelope = service.envelope(method, target, params, meta, client)
            result = await service.submit(envelope, method, client)
        else:
            result = await answer(service, conversation, name, params, meta, client)
    except CallError as error:
        return encode_error(message.id, error_for(error, modern=False))
    return encode_result(message.id, result)
