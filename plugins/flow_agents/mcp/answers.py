"""What an HTTP answer to a request says, where it is not simply the response."""

from __future__ import annotations

from flow_agents.mcp.calls import Call
from flowcore.errors import (
    CallError,
    InvalidArguments,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
    UpstreamFailure,
)
from flowcore.http import ClientStream
from flowcore.mcp import Response, decode


def content_type(answer: ClientStream) -> bytes:
    """The media type of a body, without parameters."""
    return answer.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def response_in(body: bytes, call: Call) -> Response | None:
    """The response to a call in a body of JSON; None if it holds none.

    Raises UpstreamFailure if it is the response to something else.
    """
    try:
        message = decode(body)
    except (InvalidRequest, InvalidArguments):
        return None
    if type(message) is not Response:
        return None
    if message.id == call.number or (message.id is None and message.error is not None):
        return message
    raise UpstreamFailure(f"the upstream answers what it was not asked ({str(message.id)[:40]!r})")


def session_is_unknown(response: Response) -> bool:
    """Whether an error of status 400 says that the session is not known; many servers say it that way."""
    error = response.error
    return error is not None and error.code == -32000 and "session" in error.message.lower()


def refusal(answer: ClientStream, kind: bytes, body: bytes) -> CallError:
    """What an answer without a JSON-RPC response says."""
    status = answer.status
    after = answer.headers.get(b"retry-after", b"")
    seconds = float(after) if after.isdigit() and len(after) < 7 else None
    if status == 429 or (status == 503 and seconds is not None):
        return Overloaded("the upstream takes no more for now", retry_after=seconds)
    if status >= 500:
        return OutcomeUnknown(f"the upstream failed: HTTP {status}")
    if status in (401, 403):
        return UpstreamFailure(
            f"the upstream refuses the request: HTTP {status}; see `headers`", began=False
        )
    if status >= 400:
        return UpstreamFailure(f"the upstream refuses the request: HTTP {status}", began=False)
    if status >= 300:
        to = answer.headers.get(b"location", b"")[:200].decode("ascii", "replace")
        return UpstreamFailure(
            f"the upstream redirects to {to!r}, which is not followed: set `url` to where it is",
            began=False,
        )
    if status != 200:
        return UpstreamFailure(f"the upstream took the request, but answers nothing: HTTP {status}")
    if kind != b"application/json":
        shown = kind[:60].decode("ascii", "replace") or "none"
        return UpstreamFailure(
            f"the upstream answers with neither JSON nor events (content type: {shown})"
        )
    return UpstreamFailure("the upstream's answer is not a JSON-RPC response")
