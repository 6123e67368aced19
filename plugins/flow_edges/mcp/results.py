"""What an agent's reply is to the asking side: a result of its era, or a question to it."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from flow_edges.mcp.urls import as_questions
from flowcore.errors import InvalidArguments, UpstreamError
from flowcore.mcp import (
    Method,
    MissingCapability,
    Stamp,
    encode_input_required,
    input_required,
    lacking,
)
from flowcore.requests import Reply, asks_back


def explained(problem: InvalidArguments) -> Reply:
    """The reply that tells a model what is wrong with its arguments."""
    content = [{"type": "text", "text": problem.message}]
    return Reply(Raw(msgspec.json.encode({"content": content, "isError": True})))


class Results:
    """Makes 2026-07-28 results of replies. `server` is this server's `Implementation` object as JSON."""

    def __init__(self, server: bytes) -> None:
        self._server = server
        self.stamp = Stamp(server)

    def modern(
        self, reply: Reply, method: Method, capabilities: dict[str, Raw] | None = None
    ) -> bytes:
        """A reply as a 2026-07-28 result.

        Raises MissingCapability if it asks the client what it did not declare it can be asked.
        """
        if not reply.modern:
            return self.stamp.modern(reply.result, ttl_ms=0 if method.cacheable else None)
        result = bytes(reply.result)
        if capabilities is not None and asks_back(reply):
            for question in input_required(result).inputRequests.values():
                missing = lacking(capabilities, question.method, question.params)
                if missing:
                    raise MissingCapability(missing)
        return result

    def asked_by(self, error: UpstreamError, capabilities: dict[str, Raw]) -> bytes:
        """The result that asks what an upstream's error asks. Raises the error if it asks nothing."""
        questions = as_questions(error)
        for method, params in questions.values():
            missing = lacking(capabilities, method, params)
            if missing:
                raise MissingCapability(missing) from error
        if not questions:
            raise error
        return encode_input_required(questions, None, self._server)
