"""What spans tell of a request: `invoke_agent NAME`, from its acceptance to its outcome."""

from __future__ import annotations

from typing import Final, Protocol

from flowcore.entry import Entry
from flowcore.telemetry.conventions import REQUEST_ID, mcp_attributes
from flowcore.telemetry.records import Piece, Said, SpanKind, Value

_MOST_TEXT: Final = 1024
_REMEMBERED: Final = 1024
_alike: dict[tuple[str, ...], dict[str, Value]] = {}
"""What spans of requests that are alike say, made once."""
# looking a member of an enumeration up costs on every call
_INTERNAL = SpanKind.INTERNAL


class Request(Protocol):
    """A request, under way or not."""

    agent: str
    method: str
    name: str
    edge: str


def called(request: Request) -> str:
    """What its span is called."""
    return f"invoke_agent {request.agent}"


def attributes(request: Request, principal: str, priority: str) -> dict[str, Value]:
    """What its span says but for what is its own."""
    said = mcp_attributes(request.method, request.name)
    said["gen_ai.operation.name"] = "invoke_agent"
    said["gen_ai.agent.name"] = request.agent
    said["flowcore.principal"] = principal[:_MOST_TEXT]
    said["flowcore.priority"] = priority
    if request.edge:
        said["flowcore.edge"] = request.edge
    return said


def said_of(entry: Entry) -> Said:
    """What the span of an ordinary one says."""
    asked = (entry.agent, entry.method, entry.name, entry.principal, entry.edge)
    alike = _alike.get(asked)
    if alike is None:
        if len(_alike) >= _REMEMBERED:
            _alike.clear()
        alike = _alike[asked] = attributes(entry, entry.principal, "normal")
    return Said(alike, {REQUEST_ID: entry.id})


def piece_of(entry: Entry) -> Piece:
    """An ordinary one that has ended, as its span tells of it."""
    return Piece(called(entry), _INTERNAL, entry.accepted, entry.ended, said_of(entry))
