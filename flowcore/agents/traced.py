"""How the work of a worker is recorded: as what is done here, or as a request to somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from flowcore.telemetry import SpanKind, Value
from flowcore.telemetry.conventions import mcp_attributes, mcp_name

if TYPE_CHECKING:
    from flowcore.envelope import Envelope
    from flowcore.telemetry import Span


@attrs.frozen
class Traced:
    """What the spans of a worker's calls are: `CLIENT` where it asks somebody else; what they say."""

    kind: SpanKind = SpanKind.INTERNAL
    mcp: bool = attrs.field(default=False, kw_only=True)
    """Whether MCP is spoken with whoever does it."""
    attributes: Mapping[str, Value] = attrs.field(factory=dict, kw_only=True)

    @property
    def passes(self) -> bool:
        """Whether somebody else is asked, who is to be told of the trace."""
        return self.kind is SpanKind.CLIENT

    def name(self, envelope: Envelope) -> str:
        """`tools/call NAME` where that is what is asked of an MCP server, else `execute_tool NAME`."""
        if envelope.method == "tools/call" and not self.mcp:
            return f"execute_tool {envelope.name[:128]}"
        return mcp_name(envelope.method, envelope.name)


LOCAL_WORK = Traced()


def of_work(span: Span) -> dict[str, Value]:
    """What a worker's span says: what it was about, and who did it."""
    about: tuple[Envelope, Traced, str, float] = span.about  # type: ignore[assignment]
    envelope, traced, worker, waited = about
    said = mcp_attributes(envelope.method, envelope.name)
    said["gen_ai.agent.name"] = envelope.agent
    said["flowcore.worker"] = worker
    said["flowcore.queue.wait"] = round(waited, 6)
    said.update(traced.attributes)
    return said
