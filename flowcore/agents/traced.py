"""How the work of a worker is recorded: as what is done here, or as a request to somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import msgspec

from flowcore.telemetry import Span, SpanKind, Trace, Value
from flowcore.telemetry.conventions import mcp_attributes, mcp_name

if TYPE_CHECKING:
    pass


@attrs.frozen
class Traced:
    """What the spans of a worker's calls are: `CLIENT` where it asks somebody else; what they say."""

    kind: SpanKind = SpanKind.INTERNAL
    mcp: bool = attrs.field(default=False, kw_only=True)
    """Whether MCP is spoken with whoever does it."""
    attributes: Mapping[str, Value] = attrs.field(factory=dict, kw_only=True)

    passes: bool = attrs.field(init=False)
    """Whether somebody else is asked, who is to be told of the trace."""

    @passes.default
    def _passes(self) -> bool:
        return self.kind is SpanKind.CLIENT

    def name(self, method: str, name: str) -> str:
        """`tools/call NAME` where that is what is asked of an MCP server, else `execute_tool NAME`."""
        if method == "tools/call" and not self.mcp:
            return f"execute_tool {name[:128]}"
        return mcp_name(method, name)


LOCAL_WORK = Traced()


class Work(msgspec.Struct, eq=False, gc=False):
    """The work on a request, as far as its span tells of it; of an ordinary one's nothing else is kept."""

    traced: Traced
    worker: str
    agent: str
    method: str
    name: str
    waited: float
    """Seconds in the queue."""
    start: float
    end: float = -1.0

    def span(self, top: Trace, above: Span) -> Span:
        """The span of what was ordinary."""
        name = self.traced.name(self.method, self.name)
        return Span(
            top, above, name, self.traced.kind, self.start, _said, self, self.end, _id=top.sent
        )


def begin(above: Span, work: Work) -> Span:
    """The span of work that begins, where it is not just an ordinary request's."""
    traced = work.traced
    return above.child(traced.name(work.method, work.name), traced.kind, work.start, _said, work)


def apart(above: Span, work: Work) -> Span:
    """The span of work that is not just an ordinary request's any more."""
    trace, traced = above.trace, work.traced
    sent, trace.sent = trace.sent, ""
    name = traced.name(work.method, work.name)
    return trace.apart(name, traced.kind, work.start, _said, work, sent)


def _said(span: Span) -> dict[str, Value]:
    """What a worker's span says: what it was about, and who did it."""
    work: Work = span.about  # type: ignore[assignment]
    said = mcp_attributes(work.method, work.name)
    said["gen_ai.agent.name"] = work.agent
    said["flowcore.worker"] = work.worker
    said["flowcore.queue.wait"] = round(work.waited, 6)
    said.update(work.traced.attributes)
    return said
