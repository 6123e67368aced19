"""Content blocks that a native agent can give back, and how any value becomes a result."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from flowcore.errors import FlowError


class ToolError(FlowError):
    """The tool ran and failed, in a way its caller should read: the result says so with `isError`."""


@attrs.frozen
class Text:
    """A text block."""

    text: str

    def block(self) -> dict[str, Any]:
        """The block as MCP has it."""
        return {"type": "text", "text": self.text}


@attrs.frozen
class Image:
    """An image block."""

    data: bytes
    mime_type: str = "image/png"

    def block(self) -> dict[str, Any]:
        """The block as MCP has it."""
        data = base64.b64encode(self.data).decode()
        return {"type": "image", "data": data, "mimeType": self.mime_type}


@attrs.frozen
class Audio:
    """An audio block."""

    data: bytes
    mime_type: str = "audio/wav"

    def block(self) -> dict[str, Any]:
        """The block as MCP has it."""
        data = base64.b64encode(self.data).decode()
        return {"type": "audio", "data": data, "mimeType": self.mime_type}


@attrs.frozen
class Contents:
    """What a resource holds: text, or bytes."""

    uri: str
    data: str | bytes
    mime_type: str | None = None

    def contents(self) -> dict[str, Any]:
        """The resource contents as MCP has them."""
        made: dict[str, Any] = {"uri": self.uri}
        if self.mime_type is not None:
            made["mimeType"] = self.mime_type
        if isinstance(self.data, bytes):
            made["blob"] = base64.b64encode(self.data).decode()
        else:
            made["text"] = self.data
        return made

    def block(self) -> dict[str, Any]:
        """The contents embedded in a result or a prompt."""
        return {"type": "resource", "resource": self.contents()}


@attrs.frozen
class Link:
    """A link to a resource."""

    uri: str
    name: str
    mime_type: str | None = None

    def block(self) -> dict[str, Any]:
        """The block as MCP has it."""
        made: dict[str, Any] = {"type": "resource_link", "uri": self.uri, "name": self.name}
        if self.mime_type is not None:
            made["mimeType"] = self.mime_type
        return made


Block = Text | Image | Audio | Contents | Link
_BLOCKS = (Text, Image, Audio, Contents, Link)


@attrs.frozen(kw_only=True)
class ToolResult:
    """A whole tool result, for a tool that wants to say more than a value can."""

    content: Sequence[Block] = ()
    structured: Mapping[str, Any] | None = None
    is_error: bool = False
    meta: Mapping[str, Any] | None = None


def tool_result(value: Any) -> dict[str, Any]:
    """A tool result from whatever a tool returned.

    Blocks stay blocks; a text is a text block; None is no content; any other value is structured content
    (an object as it is, all else as `{"result": value}`) with its JSON as a text block.
    """
    if isinstance(value, ToolResult):
        result: dict[str, Any] = {"content": [block.block() for block in value.content]}
        if value.structured is not None:
            result["structuredContent"] = value.structured
        if value.is_error:
            result["isError"] = True
        if value.meta is not None:
            result["_meta"] = value.meta
        return result
    if value is None:
        return {"content": []}
    if isinstance(value, str):
        return {"content": [Text(value).block()]}
    if isinstance(value, _BLOCKS):
        return {"content": [value.block()]}
    if (
        isinstance(value, (list, tuple))
        and value
        and all(isinstance(one, _BLOCKS) for one in value)
    ):
        return {"content": [one.block() for one in value]}
    plain = msgspec.to_builtins(value)
    structured = plain if isinstance(plain, dict) else {"result": plain}
    text = msgspec.json.encode(plain).decode()
    return {"content": [Text(text).block()], "structuredContent": structured}


def resource_result(uri: str, value: Any, mime_type: str | None) -> dict[str, Any]:
    """The result of `resources/read` from whatever a resource returned."""
    values = value if isinstance(value, (list, tuple)) else [value]
    contents = []
    for one in values:
        if isinstance(one, Contents):
            contents.append(one.contents())
        elif isinstance(one, (str, bytes)):
            contents.append(Contents(uri, one, mime_type).contents())
        else:
            text = msgspec.json.encode(one).decode()
            contents.append(Contents(uri, text, mime_type or "application/json").contents())
    return {"contents": contents}


@attrs.frozen
class Message:
    """One message of a prompt."""

    content: Block | str
    role: str = "user"


def prompt_result(value: Any, description: str) -> dict[str, Any]:
    """The result of `prompts/get` from whatever a prompt returned: a text, messages, or blocks."""
    values = value if isinstance(value, (list, tuple)) else [value]
    messages = []
    for one in values:
        message = one if isinstance(one, Message) else Message(one)
        block = Text(message.content) if isinstance(message.content, str) else message.content
        messages.append({"role": message.role, "content": block.block()})
    result: dict[str, Any] = {"messages": messages}
    if description:
        result["description"] = description
    return result
