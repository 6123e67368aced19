"""Agents written in Python: mark functions, and they are tools, resources and prompts."""

from flowcore.native.content import (
    Audio,
    Block,
    Contents,
    Image,
    Link,
    Message,
    Text,
    ToolError,
    ToolResult,
)
from flowcore.native.context import CallContext, Elicited, InputRequired
from flowcore.native.members import completion, prompt, resource, template, tool
from flowcore.native.offering import Offering, offering_of
from flowcore.native.worker import NativeWorker, Seal

__all__ = [
    "Audio",
    "Block",
    "CallContext",
    "Contents",
    "Elicited",
    "Image",
    "InputRequired",
    "Link",
    "Message",
    "NativeWorker",
    "Offering",
    "Seal",
    "Text",
    "ToolError",
    "ToolResult",
    "completion",
    "offering_of",
    "prompt",
    "resource",
    "template",
    "tool",
]
