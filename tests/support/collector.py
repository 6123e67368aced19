"""A collector for OTLP over HTTP: it reads with OpenTelemetry's own classes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trio
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """What came, and how it is answered."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.nodes: list[str] = []
        """Those that told the spans, in their order."""
        self.lines: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.heads: list[dict[str, str]] = []
        self.requests = 0
        self.status = 200
        self.statuses: list[int] = []
        """What the next requests are answered with, one after the other, before `status` is again."""
        self.answer: bytes | None = None
        """What is answered in place of an OTLP response."""
        self.reject = 0
        self.headers: dict[str, str] = {}
        self.hold: threading.Event | None = None
        """No request is answered before this is set."""
        self._lock = threading.Lock()

    def take(self, path: str, body: bytes, head: dict[str, str]) -> None:
        """One request that is good."""
        with self._lock:
            self.heads.append(head)
            if path == "/v1/traces":
                for one in ExportTraceServiceRequest.FromString(body).resource_spans:
                    resource = attributes(one.resource.attributes)
                    self.resources.append(resource)
                    found = [span for scope in one.scope_spans for span in scope.spans]
                    self.nodes += [resource["service.instance.id"]] * len(found)
                    self.spans += found
            elif path == "/v1/logs":
                for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                    self.lines += [line for scope in logs.scope_logs for line in scope.log_records]
            else:
                for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in measured.scope_metrics:
                        self.metrics.update({metric.name: metric for metric in scope.metrics})

    async def wait(self, count: int) -> list[Any]:
        """Until so many spans have come; all of them."""
        with trio.fail_after(20):
            while len(self.spans) < count:  # noqa: ASYNC110 - it lives in threads of its own
                await trio.sleep(0.005)
        return list(self.spans)

    def named(self, name: str) -> Any:
        """The one span of a name."""
        (span,) = [one for one in self.spans if one.name == name]
        return span


def attributes(fields: Any) -> dict[str, Any]:
    """KeyValues as a dict."""
    return {one.key: value_of(one.value) for one in fields}


def value_of(value: Any) -> Any:
    """An AnyValue."""
    which = value.WhichOneof("value")
    if which == "array_value":
        return tuple(value_of(one) for one in value.array_value.values)
    return getattr(value, which)


@contextmanager
def collecting() -> Generator[Collector]:
    """A collector on a port of its own."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            collector.requests += 1
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if collector.hold is not None:
                collector.hold.wait(30)
            status = collector.statuses.pop(0) if collector.statuses else collector.status
            if status == 200 and collector.answer is None:
                collector.take(self.path, body, dict(self.headers.items()))
            answer = collector.answer
            if answer is None:
                partial = ExportTracePartialSuccess(
                    rejected_spans=collector.reject, error_message="no room"
                )
                answer = (
                    ExportTraceServiceResponse(partial_success=partial).SerializeToString()
                    if collector.reject
                    else b""
                )
            self.send_response(status)
            for name, value in collector.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Clients that went away are what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield collector
    finally:
        if collector.hold is not None:
            collector.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
