"""What answers of the `api` edge are made of: JSON, refusals, and bodies that are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from flowcore.errors import InvalidRequest, UnknownMethod
from flowcore.http import Request, Response, Stream

T = TypeVar("T")

JSON: Final = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
FILE: Final = [(b"content-type", b"application/octet-stream"), (b"cache-control", b"no-store")]

Answer = Callable[[Request, list[str]], Awaitable[Response | Stream]]
"""Answers one kind of request; its second argument are the words of the path. Raises CallError."""


class NotThere(UnknownMethod):
    """What the path speaks of does not exist."""


def as_json(value: Any, status: int = 200) -> Response:
    """A value that JSON can carry."""
    return Response(status, JSON, msgspec.json.encode(value))


def problem(status: int, text: str) -> Response:
    """A refusal, with why."""
    return as_json({"error": {"message": text}}, status)


def not_allowed(request: Request, method: str) -> Response:
    """A refusal: the path is for another method."""
    response = problem(405, f"{request.path[:200]} is for {method}")
    response.headers = [*response.headers, (b"allow", method.encode())]
    return response


def read_body(body: bytes, of: type[T], what: str = "a JSON object") -> T:
    """A request's body, none being an empty object; `what` was expected. Raises InvalidRequest."""
    try:
        return msgspec.json.decode(body or b"{}", type=of)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"expected {what}: {error}") from None
