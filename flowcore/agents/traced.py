"""How the work of a worker is recorded: as what is done here, or as a request to somebody else."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import msgspec

from flowcore.telemetry import Piece, Said, Span, SpanKind, Value
from flowcore.telemetry.conventions import QUEUE_WAIT, mcp_attributes, mcp_name


@attrs.frozen(eq=False)
class Traced:
    """What the spans of a worker's calls are: `CLIENT` where it asks somebody else; what they say."""

    kind: SpanKind = SpanKind.INTERNAL
    mcp: bool = attrs.field(default=False, kw_only=True)
    """Whether MCP is spoken with whoever does it."""
    attributes: Mapping[str, Value] = attrs.field(factory=dict, kw_only=True)

    beside: bool = attrs.field(default=False, kw_only=True)
    """Whether whoever does it passes `Envelope.context` on beside the members of `Envelope.meta`: then it
    need not be put among these."""
    passes: bool = attrs.field(init=False)
    """Whether somebody else is asked, who is to be told of the trace."""

    @passes.default
    def _passes(self) -> bool:
        return self.kind is SpanKind.CLIENT


LOCAL_WORK = Traced()
_REMEMBERED = 1024
_alike: dict[tuple[Traced, str, str, str, str], dict[str, Value]] = {}
"""What spans of work that is alike say, made once."""


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

    @property
    def called(self) -> str:
        """What its span is called: `tools/call NAME` where that is what is asked of an MCP server, else
        `execute_tool NAME`."""
        if self.method == "tools/call" and not self.traced.mcp:
            return f"execute_tool {self.name[:128]}"
        return mcp_name(self.method, self.name)

    def piece(self) -> Piece:
        """What the span of what was ordinary tells."""
        return Piece(self.called, self.traced.kind, self.start, self.end, self.said)

    @property
    def said(self) -> Said:
        """What its span says."""
        sort = (self.traced, self.worker, self.agent, self.method, self.name)
        alike = _alike.get(sort)
        if alike is None:
            if len(_alike) >= _REMEMBERED:
                _alike.clear()
            said = mcp_attributes(self.method, self.name)
            said["gen_ai.agent.name"] = self.agent
            said["flowcore.worker"] = self.worker
            said.update(self.traced.attributes)
            alike = _alike[sort] = said
        return Said(alike, {QUEUE_WAIT: round(self.waited, 6)})


class Doer(msgspec.Struct, frozen=True, eq=False):
    """A worker, as spans of its work tell of it."""

    traced: Traced
    worker: str
    passes: bool
    """Whether it asks somebody else, who is to be told of the trace."""
    beside: bool
    """Whether that is done by `Envelope.context`, and not in `Envelope.meta`."""

    def work(
        self, agent: str, method: str, name: str, waited: float, start: float, end: float
    ) -> Work:
        """What is noted of its work: `waited` seconds in the queue; `end` is -1.0 while it goes on."""
        return Work(self.traced, self.worker, agent, method, name, waited, start, end)


def begin(above: Span, work: Work) -> Span:
    """The span of work that begins, where it is not just an ordinary request's."""
    return above.child(work.called, work.traced.kind, work.start, _said, work)


def apart(above: Span, work: Work) -> Span:
    """The span of work that is not just an ordinary request's any more."""
    trace = above.trace
    if trace.done is work:
        trace.done = None
    sent, trace.sent = trace.sent, ""
    return trace.apart(work.called, work.traced.kind, work.start, _said, work, sent)


def _said(span: Span) -> Said:
    """What a worker's span says: what it was about, and who did it."""
    work: Work = span.about  # type: ignore[assignment]
    return work.said
