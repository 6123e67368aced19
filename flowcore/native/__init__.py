"""Agents written in Python: mark functions, and they are tools, resources and prompts."""

from flowcore.native.agent import LogLevel, NativeAgent
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
from flowcore.native.context import CallContext
from flowcore.native.members import completion, prompt, resource, template, tool
from flowcore.native.offering import Offering, offering_of
from flowcore.native.offers import Offers
from flowcore.native.questions import (
    Elicited,
    InputRequired,
    ask_form,
    ask_model,
    ask_page,
    ask_roots,
)
from flowcore.native.seal import Seal
from flowcore.native.threads import Threads
from flowcore.native.worker import NativeWorker

__all__ = [
    "Audio",
    "Block",
    "CallContext",
    "Contents",
    "Elicited",
    "Image",
    "InputRequired",
    "Link",
    "LogLevel",
    "Message",
    "NativeAgent",
    "NativeWorker",
    "Offering",
    "Offers",
    "Seal",
    "Text",
    "Threads",
    "ToolError",
    "ToolResult",
    "ask_form",
    "ask_model",
    "ask_page",
    "ask_roots",
    "completion",
    "offering_of",
    "prompt",
    "resource",
    "template",
    "tool",
]
