"""What spans are called and what they say, by OpenTelemetry's conventions for MCP, RPC and GenAI agents.

The conventions for MCP and GenAI are those of `open-telemetry/semantic-conventions-genai` (development),
those for RPC of `opentelemetry-semantic-conventions` 0.66. What they have no word for is under `flowcore.`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from flowcore.telemetry.records import Value

if TYPE_CHECKING:
    from msgspec import Raw


REQUEST_ID: Final = "flowcore.request.id"
"""What the span of a request says of itself alone."""
QUEUE_WAIT: Final = "flowcore.queue.wait"
"""What the span of the work on a request says of itself alone: seconds in the queue, to the microsecond."""
MOST_CONTENT: Final = 16_384
"""Bytes of a call's arguments, and of its result, that a span carries where it is asked to."""
_MOST_TEXT = 1024
_LOOKED_AT = 32_768
_says_failed = re.compile(rb'"isError"\s*:\s*true').search
_SUBJECTS: Final = {
    "tools/call": "gen_ai.tool.name",
    "prompts/get": "gen_ai.prompt.name",
    "resources/read": "mcp.resource.uri",
    "resources/subscribe": "mcp.resource.uri",
    "resources/unsubscribe": "mcp.resource.uri",
}
_NAMED: Final = frozenset({"tools/call", "prompts/get"})
"""Methods whose spans are named after what they are about: URIs are too many."""


def mcp_name(method: str, name: str) -> str:
    """The name of a span of an MCP request: `tools/call add`, `resources/read`."""
    return f"{method} {name[:128]}" if method in _NAMED else method


def mcp_attributes(method: str, name: str) -> dict[str, Value]:
    """What any span of an MCP request says."""
    said: dict[str, Value] = {"mcp.method.name": method}
    subject = _SUBJECTS.get(method)
    if subject is not None:
        said[subject] = name[:_MOST_TEXT]
    if method == "tools/call":
        said["gen_ai.operation.name"] = "execute_tool"
    return said


def content(raw: Raw) -> str:
    """Arguments or a result, as far as a span carries them."""
    data = bytes(memoryview(raw)[:MOST_CONTENT])
    return data.decode("utf-8", "replace")


def tool_failed(result: Raw) -> bool:
    """Whether a tool's result says that it failed.

    Quotes within texts of JSON are escaped, so that only a member of this name is found; of a long result
    only its beginning and its end are looked at.
    """
    data = memoryview(result)
    size = len(data)
    if size <= 2 * _LOOKED_AT:
        return _says_failed(data) is not None
    return (
        _says_failed(data, 0, _LOOKED_AT) is not None
        or _says_failed(data, size - _LOOKED_AT) is not None
    )
