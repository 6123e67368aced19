"""`otlp` over gRPC, to a server of the official implementation."""

from __future__ import annotations

from collections.abc import Generator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from flow_exporters.otlp.over_grpc import open_grpc
from flowcore import open_flow
from flowcore.telemetry import ExportFailed

grpc = pytest.importorskip("grpc")
SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Collector:
    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.refuse: Any = None
        self.reject = 0

    def export(self, request: Any, context: Any) -> Any:
        if self.refuse is not None:
            context.abort(self.refuse, "not now")
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if not self.reject:
            return ExportTraceServiceResponse()
        partial = ExportTracePartialSuccess(rejected_spans=self.reject, error_message="no room")
        return ExportTraceServiceResponse(partial_success=partial)


@contextmanager
def collecting() -> Generator[tuple[Collector, str]]:
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(
        collector.export,
        request_deserializer=ExportTraceServiceRequest.FromString,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler(SERVICE, {"Export": handler})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


async def test_spans_arrive() -> None:
    with collecting() as (collector, url):
        config = {
            "telemetry": {"sampling": 1.0},
            "exporter": {
                "to": {
                    "type": "otlp",
                    "protocol": "grpc",
                    "endpoint": url,
                    "signals": ["traces"],
                    "headers": {"X-Tenant": "a"},
                    "compression": "gzip",
                    "delay": "1h",
                    "timeout": "10s",
                }
            },
        }
        async with open_flow(config) as flow:
            await flow.call("flow.agents", {})
        assert flow.telemetry.counts("to")["traces"].sent == 2
        spans = collector.requests[0].resource_spans[0].scope_spans[0].spans
        assert [one.name for one in spans] == ["invoke_agent flow", "execute_tool agents"]
        assert collector.metadata[0]["x-tenant"] == "a"


async def test_what_is_refused_is_told_apart() -> None:
    with collecting() as (collector, url), open_grpc(url, {}, compressed=False, ca=None) as way:
        collector.reject = 2
        with pytest.raises(ExportFailed, match="did not take 2: no room") as caught:
            await way.bring("traces", b"")
        assert (caught.value.lost, caught.value.again) == (2, False)
        for status, again in (
            (grpc.StatusCode.UNAVAILABLE, True),
            (grpc.StatusCode.PERMISSION_DENIED, False),
        ):
            collector.refuse = status
            with pytest.raises(ExportFailed, match=f"{status.name}: not now") as caught:
                await way.bring("traces", b"")
            assert caught.value.again is again
