"""Requests that take several rounds: what an agent of 2026-07-28 asks back by ending its call.

Source: docs/specification/2026-07-28/basic/patterns/mrtr.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import msgspec
import trio
from msgspec import Raw

from flowcore.envelope import Envelope, Peer, Reply, new_request_id
from flowcore.errors import CallError, UpstreamFailure
from flowcore.mcp import MissingCapability, input_required, lacking, result_type

_MOST_ROUNDS = 32
_encode = msgspec.json.encode

Submit = Callable[[Envelope], Awaitable[Reply]]


def asks_back(reply: Reply) -> bool:
    """Whether a reply is no result yet, but asks the client. Raises UpstreamFailure if it is neither."""
    if not reply.modern:
        return False
    kind = result_type(reply.result)
    if kind not in ("complete", "input_required"):
        raise UpstreamFailure(f"a result of type {kind[:100]!r} that nobody asked for")
    return kind == "input_required"


async def complete(submit: Submit, envelope: Envelope, reply: Reply, *, deadline: float) -> Reply:
    """The complete reply to an envelope that has got this one: what an agent of 2026-07-28 asks back is
    asked of the peer at once, and the request repeated with the answers, each time with `deadline` seconds.

    Raises CallError; MissingCapability, before anything is asked, if the peer cannot be asked all of it.
    """
    given, key = envelope.params, envelope.idempotency_key
    for _ in range(_MOST_ROUNDS):
        if not asks_back(reply):
            return reply
        asked = input_required(reply.result)
        answers = await _ask_all(
            envelope.peer, {k: (q.method, q.params) for k, q in asked.inputRequests.items()}
        )
        params = dict(given)
        if answers:
            params["inputResponses"] = Raw(_encode(answers))
        if asked.requestState is not None:
            params["requestState"] = Raw(_encode(asked.requestState))
        again = envelope.again(
            id=new_request_id(),
            params=params,
            idempotency_key=None if key is None else key_of_round(key, params),
            deadline=trio.current_time() + deadline,
        )
        reply = await submit(again)
    raise UpstreamFailure(f"agent {envelope.agent!r} asked back more than {_MOST_ROUNDS} times")


def key_of_round(key: str, params: dict[str, Raw]) -> str:
    """The idempotency key of a call; one that brings input for an earlier round has a key of its own."""
    if "requestState" not in params and "inputResponses" not in params:
        return key
    digest = hashlib.blake2b(digest_size=12)
    for member in ("requestState", "inputResponses"):
        digest.update(bytes(params.get(member, b"")) + b"\0")
    return f"{key}#{digest.hexdigest()}"


async def _ask_all(peer: Peer, questions: dict[str, tuple[str, Raw]]) -> dict[str, Raw]:
    """Ask everything at once. Raises CallError, the first one's where several fail."""
    answers: dict[str, Raw] = {}
    failures: list[CallError] = []
    for method, params in questions.values():
        missing = lacking(peer.capabilities, method, params)
        if missing:
            raise MissingCapability(missing)

    async def ask(key: str, method: str, params: Raw) -> None:
        try:
            answers[key] = await peer.request(method, params)
        except CallError as error:
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for key, (method, params) in questions.items():
            nursery.start_soon(ask, key, method, params)
    if failures:
        raise failures[0]
    return answers
