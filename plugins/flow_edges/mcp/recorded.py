"""A client's request as the edge records it: the span that everything done for it is part of.

The parent is what `params._meta` says; what the HTTP headers say beside it is a link (OpenTelemetry's
conventions for MCP, context propagation). Headers alone are the parent.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from flowcore.errors import CallError
from flowcore.mcp import text_member
from flowcore.telemetry import (
    TRACEPARENT,
    Alike,
    Likeness,
    Noted,
    Said,
    Span,
    SpanKind,
    Trace,
    Tracer,
    Value,
    enter_span,
    mcp_attributes,
    mcp_name,
)

if TYPE_CHECKING:
    from flow_edges.mcp.client import Client
    from flowcore.requests import Envelope

Headers = tuple[str, str]
"""`traceparent` and `tracestate` as they came; "" for one that did not."""


_MOST_TEXT = 1024
_REMEMBERED = 1024
"""Sorts of requests, and of what their spans say, that are made once."""
# looking a member of an enumeration up costs on every call
_SERVER = SpanKind.SERVER


class Sort(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Requests that are alike: of one method, for one thing."""

    method: str
    name: str
    called: str
    """What their spans are called."""


About = tuple[Sort, str, str, str]
"""What a span of this edge is about: which request, and its client's principal, version and address."""


class Telling:
    """What the spans of one edge's requests tell.

    What is noted of a request refers to it, of which the garbage collector knows nothing: so this must not
    lead back to whoever keeps requests, and refers to the tracer weakly.
    """

    def __init__(self, tracer: Tracer, edge: str, transport: str) -> None:
        self._tracer = weakref.ref(tracer)
        self._edge = edge
        self._transport = transport
        self._sorts: dict[tuple[str, str], Sort] = {}
        self._said: dict[About, Said] = {}
        self.alike: dict[Likeness, Alike] = {}
        """What ordinary traces of this edge tell alike."""

    @property
    def tracer(self) -> Tracer:
        """Who begins the traces: there as long as there are requests."""
        tracer = self._tracer()
        assert tracer is not None
        return tracer

    def open(self, noted: Noted) -> Trace:
        """The first span of what was noted."""
        sort, about = self._about(noted)
        return self.tracer.trace_of(noted, sort.called, _SERVER, self.describe, about)

    def told(self, noted: Noted) -> tuple[str, SpanKind, Said]:
        """What the first span is called, its kind, and what it says."""
        sort, about = self._about(noted)
        return sort.called, _SERVER, self._said_of(about)

    def _about(self, noted: Noted) -> tuple[Sort, About]:
        sort = self.sort(noted.method, noted.name)
        return sort, (sort, noted.principal, noted.version, noted.address)

    def sort(self, method: str, name: str) -> Sort:
        """Which sort of request it is."""
        known = self._sorts.get((method, name))
        if known is not None:
            return known
        sort = Sort(method, name[:_MOST_TEXT], mcp_name(method, name))
        if len(name) <= _MOST_TEXT:
            if len(self._sorts) >= _REMEMBERED:
                self._sorts.clear()
            self._sorts[method, name] = sort
        return sort

    def describe(self, span: Span) -> Said:
        """What the span says once it is kept."""
        about: About = span.about  # type: ignore[assignment]
        return self._said_of(about)

    def _said_of(self, about: About) -> Said:
        said = self._said.get(about)
        if said is None:
            if len(self._said) >= _REMEMBERED:
                self._said.clear()
            said = self._said[about] = Said(self._told(*about), {})
        return said

    def _told(self, sort: Sort, principal: str, version: str, address: str) -> dict[str, Value]:
        said = mcp_attributes(sort.method, sort.name)
        said["network.transport"] = self._transport
        said["flowcore.edge"] = self._edge
        said["flowcore.principal"] = principal[:_MOST_TEXT]
        if version:
            said["mcp.protocol.version"] = version
        if self._transport == "tcp":
            said["network.protocol.name"] = "http"
        if address:
            said["client.address"] = address
        return said


class Recorder:
    """Begins and ends the spans of one edge."""

    def __init__(self, tracer: Tracer, edge: str, transport: str, now: Callable[[], float]) -> None:
        self.tracer = tracer
        self.telling = Telling(tracer, edge, transport)
        self._now = now

    def begin(
        self,
        method: str,
        name: str,
        meta: Mapping[str, Raw],
        client: Client,
        headers: Headers | None,
    ) -> Span:
        """The span of a request; `name` is as the client called what it wants."""
        sort = self.telling.sort(method, name)
        about = (sort, client.principal.name, client.version, client.address)
        tracer = self.tracer
        parent = tracer.parent_in(meta) if TRACEPARENT in meta else None
        beside = None if headers is None else tracer.parent_of(*headers)
        span = tracer.begin(
            sort.called, _SERVER, self._now(), self.telling.describe, about, parent=parent or beside
        )
        if parent is not None and beside is not None:
            span.links = ((beside.trace_id, beside.span_id),)
        return span

    def done(self, envelope: Envelope, error: BaseException | None = None) -> None:
        """A request for an agent has been answered, or ended without an answer."""
        noted = envelope.noted
        if noted is not None and noted.answered and error is None:
            self.tracer.noted(noted, self._now())
        elif (span := envelope.recorded()) is not None:
            self.ended(span, error)

    @contextmanager
    def recording(
        self,
        method: str,
        params: Mapping[str, Raw],
        meta: Mapping[str, Raw],
        client: Client,
        headers: Headers | None,
    ) -> Generator[Span]:
        """The span of a request that the edge answers itself, such as `tools/list`: this block answers it."""
        uri = subject_of(method, params)
        span = self.begin(method, uri, meta, client, headers)
        before = enter_span(span)
        try:
            yield span
        except BaseException as error:
            self.ended(span, error)
            raise
        else:
            self.ended(span)
        finally:
            enter_span(before)

    def ended(self, span: Span, error: BaseException | None = None) -> None:
        """A request has been answered, or ended without an answer."""
        if error is not None:
            _note(span, error)
        span.finish(self._now())


def _note(span: Span, error: BaseException) -> None:
    if isinstance(error, CallError):
        span.failed_by(error)
        span.note(**{"rpc.response.status_code": str(error.wire_code)})
    elif isinstance(error, Exception):
        span.failed_by(error)
    else:
        span.note(**{"flowcore.cancelled": True})


def subject_of(method: str, params: Mapping[str, Raw]) -> str:
    """The URI that a request of the edge's own is about; "" if it is about none, or that is no text."""
    if method not in ("resources/subscribe", "resources/unsubscribe"):
        return ""
    try:
        return text_member(params, "uri") or ""
    except CallError:
        return ""
