"""What a process agent says, read strictly. Sans-IO."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from flowcore.agents import Catalog, Tool
from flowcore.errors import FlowError

PROTOCOL = 1


class ProtocolViolation(FlowError):
    """The process said something that the protocol does not allow."""


class _Hints(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    read_only_hint: bool = False
    idempotent_hint: bool = False


class _ToolHead(msgspec.Struct, gc=False, rename="camel"):
    name: str
    input_schema: Raw | UnsetType = UNSET
    annotations: _Hints = _Hints()


class Description(msgspec.Struct, gc=False):
    """What `describe` is answered with."""

    tools: list[Raw]
    concurrent: bool = False
    instructions: str | None = None


class Progress(msgspec.Struct, gc=False):
    """The params of `progress`."""

    id: int
    progress: float
    total: float | None = None
    message: str | None = None


class Log(msgspec.Struct, gc=False):
    """The params of `log`."""

    data: Raw
    level: Literal[
        "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"
    ] = "info"
    logger: str | None = None
    id: int | None = None


def parse(params: dict[str, Raw], as_: type[Any], method: str) -> Any:
    """The params of a notification. Raises ProtocolViolation naming what is wrong with them."""
    try:
        return msgspec.json.decode(msgspec.json.encode(params), type=as_)
    except msgspec.MsgspecError as problem:
        raise ProtocolViolation(f"the params of {method!r} are wrong: {problem}") from None


def parse_description(result: Raw) -> tuple[Description, Catalog]:
    """What a process offers. Raises ProtocolViolation naming what is wrong with its answer."""
    try:
        description = msgspec.json.decode(result, type=Description)
    except msgspec.MsgspecError as problem:
        raise ProtocolViolation(f"the answer to 'describe' is wrong: {problem}") from None
    tools: dict[str, Tool] = {}
    for number, definition in enumerate(description.tools):
        tool = _tool(definition, number)
        if tool.name in tools:
            raise ProtocolViolation(f"'describe' lists the tool {tool.name!r} twice")
        tools[tool.name] = tool
    catalog = Catalog(tools=tuple(tools.values()), instructions=description.instructions)
    return description, catalog


def _tool(definition: Raw, number: int) -> Tool:
    try:
        head = msgspec.json.decode(definition, type=_ToolHead)
        schema = head.input_schema
        if schema is UNSET:
            schema = Raw(b'{"type":"object"}')
            members = msgspec.json.decode(definition, type=dict[str, Raw])
            definition = Raw(msgspec.json.encode({**members, "inputSchema": schema}))
        else:
            msgspec.json.decode(schema, type=dict[str, Raw])
    except msgspec.MsgspecError as problem:
        raise ProtocolViolation(f"tool {number} of 'describe' is wrong: {problem}") from None
    if not head.name:
        raise ProtocolViolation(f"tool {number} of 'describe' has an empty name")
    return Tool(
        name=head.name,
        definition=definition.copy(),
        input_schema=schema.copy(),
        read_only=head.annotations.read_only_hint,
        idempotent=head.annotations.idempotent_hint,
    )


class _WithContent(msgspec.Struct, gc=False):
    content: list[Raw]


def tool_result(result: Raw) -> Raw:
    """An MCP tool result from whatever `call` was answered with."""
    data = bytes(result).strip()
    if data.startswith(b"{"):
        try:
            msgspec.json.decode(data, type=_WithContent)
        except msgspec.ValidationError:
            return _structured(data, data)  # an object of the tool's own
        return Raw(data)
    if data == b"null":
        return Raw(b'{"content":[]}')
    if data.startswith(b'"'):
        return Raw(b'{"content":[{"type":"text","text":%b}]}' % data)
    return _structured(data, b'{"result":%b}' % data)


def _structured(data: bytes, structured: bytes) -> Raw:
    text = msgspec.json.encode(data.decode())
    return Raw(
        b'{"content":[{"type":"text","text":%b}],"structuredContent":%b}' % (text, structured)
    )


class Allowance:
    """How many notifications a process may still send: a token bucket of ten seconds."""

    SECONDS = 10.0

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._left = rate * self.SECONDS
        self._then = now

    def spend(self, now: float) -> None:
        """One more. Raises ProtocolViolation if it is one too many."""
        self._left = min(self._rate * self.SECONDS, self._left + (now - self._then) * self._rate)
        self._then = now
        if self._left < 1:
            raise ProtocolViolation(f"it sends more than {self._rate} notifications a second")
        self._left -= 1
