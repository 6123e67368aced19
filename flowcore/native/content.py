"""Content blocks that a native agent can give back, and how any value becomes a result."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import msgspec

from flowcore.errors import FlowError


class ToolError(FlowError):
    """The tool ran and failed, in a way its caller should read: the result says so with `isError`."""


@attrs.frozen
class Text:
    """A text block. `annotations` are MCP's: `audience`, `priority`, `lastModified`."""

    text: str
    annotations: Mapping[str, Any] | None = None

    def block(self) -> dict[str, Any]:
        """The block as MCP has it."""
        return _annotated({"type": "text", "text": self.text}, self.annotations)


@attrs.frozen
class Image:
    """An image block."""

    data: bytes
    mime_type: str = "image/png"
    annotations: Mapping[str, Any] | None = None

    def block(self) -> dict[str, Any]:
        """The block as MCP has it."""
        block = {"type": "image", "data": _base64(self.data), "mimeType": self.mime_type}
        return _annotated(block, self.annotations)


@attrs.frozen
class Audio:
    """An audio block."""

    data: bytes
    mime_type: str = "audio/wav"
    annotations: Mapping[str, Any] | None = None

    def block(self) -> dict[str, Any]:
        """The block as MCP has it."""
        block = {"type": "audio", "data": _base64(self.data), "mimeType": self.mime_type}
        return _annotated(block, self.annotations)


@attrs.frozen
class Contents:
    """What a resource holds, text or bytes: given by a resource, or embedded in a result or a prompt."""

    uri: str
    data: str | bytes
    mime_type: str | None = None
    annotations: Mapping[str, Any] | None = None

    def contents(self) -> dict[str, Any]:
        """The resource contents as MCP has them."""
        made: dict[str, Any] = {"uri": self.uri}
        if self.mime_type is not None:
            made["mimeType"] = self.mime_type
        if isinstance(self.data, bytes):
            made["blob"] = _base64(self.data)
        else:
            made["text"] = self.data
        return made

    def block(self) -> dict[str, Any]:
        """The contents embedded in a result or a prompt."""
        return _annotated({"type": "resource", "resource": self.contents()}, self.annotations)


@attrs.frozen
class Link:
    """A link to a resource; `size` is in bytes."""

    uri: str
    name: str
    mime_type: str | None = None
    title: str | None = None
    description: str | None = None
    size: int | None = None
    annotations: Mapping[str, Any] | None = None

    def block(self) -> dict[str, Any]:
        """The block as MCP has it."""
        made: dict[str, Any] = {"type": "resource_link", "uri": self.uri, "name": self.name}
        more = {
            "mimeType": self.mime_type,
            "title": self.title,
            "description": self.description,
            "size": self.size,
        }
        made |= {key: value for key, value in more.items() if value is not None}
        return _annotated(made, self.annotations)


Block = Text | Image | Audio | Contents | Link
_BLOCKS = (Text, Image, Audio, Contents, Link)


def _annotated(block: dict[str, Any], annotations: Mapping[str, Any] | None) -> dict[str, Any]:
    if annotations is not None:
        block["annotations"] = annotations
    return block


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@attrs.frozen(kw_only=True)
class ToolResult:
    """A whole tool result, for a tool that wants to say more than a value can."""

    content: Sequence[Block | str] = ()
    structured: Any = None
    is_error: bool = False
    meta: Mapping[str, Any] | None = None

    def result(self) -> dict[str, Any]:
        """The result as MCP has it."""
        result: dict[str, Any] = {"content": [_block(one) for one in self.content]}
        if self.structured is not None:
            result["structuredContent"] = plain(self.structured)
        if self.is_error:
            result["isError"] = True
        if self.meta is not None:
            result["_meta"] = self.meta
        return result


def plain(value: Any) -> Any:
    """A value in terms of JSON. Raises TypeError if it has no such form.

    Structs, dataclasses, attrs objects, enums, dates, UUIDs, sets and the like have one.
    """
    return msgspec.to_builtins(value, str_keys=True, builtin_types=(msgspec.Raw,))


def tool_result(value: Any) -> dict[str, Any] | msgspec.Raw:
    """A tool result from whatever a tool returned. Raises TypeError for what has no JSON form.

    Blocks stay blocks; a text is a text block; None is no content; a `msgspec.Raw` is a whole result object
    already; any other value is structured content (an object as it is, all else as `{"result": value}`) with
    its JSON as a text block.
    """
    if isinstance(value, str):
        return {"content": [{"type": "text", "text": value}]}
    if value is None:
        return {"content": []}
    if isinstance(value, msgspec.Raw):
        return value
    if isinstance(value, ToolResult):
        return value.result()
    if isinstance(value, _BLOCKS):
        return {"content": [value.block()]}
    if isinstance(value, (list, tuple)) and any(isinstance(one, _BLOCKS) for one in value):
        return {"content": [_block(one) for one in value]}
    made = plain(value)
    text = msgspec.json.encode(made).decode()
    structured = made if isinstance(made, dict) else {"result": made}
    return {"content": [{"type": "text", "text": text}], "structuredContent": structured}


def _block(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"type": "text", "text": value}
    if not isinstance(value, _BLOCKS):
        raise TypeError(f"{type(value).__name__} is no content block")
    return value.block()


def resource_result(uri: str, value: Any, mime_type: str | None) -> dict[str, Any]:
    """The result of `resources/read` from whatever a resource returned: text, bytes, Contents, a list of
    them, or any other value, which becomes JSON. Raises TypeError for what has no JSON form."""
    if isinstance(value, (list, tuple)) and any(isinstance(one, Contents) for one in value):
        values: Sequence[Any] = value
    else:
        values = (value,)
    return {"contents": [_contents(uri, one, mime_type) for one in values]}


def _contents(uri: str, value: Any, mime_type: str | None) -> dict[str, Any]:
    if isinstance(value, Contents):
        return value.contents()
    if isinstance(value, str):
        return Contents(uri, value, mime_type or "text/plain").contents()
    if isinstance(value, bytes):
        return Contents(uri, value, mime_type or "application/octet-stream").contents()
    text = msgspec.json.encode(plain(value)).decode()
    return Contents(uri, text, mime_type or "application/json").contents()


@attrs.frozen
class Message:
    """One message of a prompt."""

    content: Block | str
    role: Literal["user", "assistant"] = "user"


def prompt_result(value: Any, description: str) -> dict[str, Any]:
    """The result of `prompts/get` from whatever a prompt returned: a text, a message, a block, or a list of
    them. Raises TypeError for anything else."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    messages = []
    for one in values:
        message = one if isinstance(one, Message) else Message(one)
        messages.append({"role": message.role, "content": _block(message.content)})
    result: dict[str, Any] = {"messages": messages}
    if description:
        result["description"] = description
    return result
