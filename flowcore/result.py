"""What a call gives a Python program."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from flowcore.requests import Reply


@attrs.frozen
class Result:
    """The result of a tool call, a resource read or a prompt, decoded.

    `raw` is the whole result object as the agent made it.
    """

    raw: dict[str, Any]

    @classmethod
    def of(cls, reply: Reply) -> Result:
        """Decode a reply."""
        return cls(msgspec.json.decode(reply.result, type=dict[str, Any]))

    @property
    def is_error(self) -> bool:
        """Whether the tool ran and reports that it failed."""
        return bool(self.raw.get("isError", False))

    @property
    def content(self) -> list[dict[str, Any]]:
        """The content blocks, [] if there are none."""
        return list(self.raw.get("content", []))

    @property
    def structured(self) -> Any:
        """The structured content, None if there is none."""
        return self.raw.get("structuredContent")

    @property
    def text(self) -> str:
        """The text blocks, joined by newlines."""
        return "\n".join(block["text"] for block in self.content if block.get("type") == "text")
