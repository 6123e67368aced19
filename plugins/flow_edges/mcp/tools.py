"""What a tool's definition says to an edge, read once for each definition."""

from __future__ import annotations

import attrs
import msgspec

from flowcore.agents import Tool
from flowcore.mcp import ParamHeader, param_headers

_REMEMBERED = 10_000


class _Execution(msgspec.Struct, gc=False):
    taskSupport: str | None = None  # noqa: N815 - the wire's name


class _Definition(msgspec.Struct, gc=False):
    execution: _Execution | None = None


_decode_definition = msgspec.json.Decoder(_Definition).decode


@attrs.frozen
class ToolFacts:
    """What was read of one definition."""

    tool: Tool
    headers: tuple[ParamHeader, ...]
    """The arguments that headers mirror (`x-mcp-header`); none if its annotations are invalid, since then
    no client sends any."""
    tasks: str | None
    """What it says of tasks: "required", "optional", "forbidden" or nothing."""


class KnownTools:
    """The facts of every tool that was called, kept by the definition's identity."""

    def __init__(self) -> None:
        self._facts: dict[int, ToolFacts] = {}

    def facts(self, tool: Tool) -> ToolFacts:
        """The facts of a tool."""
        facts = self._facts.get(id(tool))
        if facts is None or facts.tool is not tool:
            if len(self._facts) >= _REMEMBERED:
                self._facts.clear()
            facts = self._facts[id(tool)] = ToolFacts(tool, _headers_of(tool), _tasks_of(tool))
        return facts


def _headers_of(tool: Tool) -> tuple[ParamHeader, ...]:
    schema = tool.input_schema
    if schema is None or b"x-mcp-header" not in bytes(schema):
        return ()
    try:
        return param_headers(msgspec.json.decode(schema))
    except (ValueError, msgspec.MsgspecError):
        return ()


def _tasks_of(tool: Tool) -> str | None:
    definition = bytes(tool.definition)
    if b"taskSupport" not in definition:
        return None
    try:
        execution = _decode_definition(definition).execution
    except msgspec.MsgspecError:
        return None
    return execution.taskSupport if execution is not None else None
