"""OTLP over gRPC: a call for each batch, in a thread (OTLP specification, OTLP/gRPC)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import trio

from flow_exporters.otlp.wire import rejected
from flowcore.telemetry import ExportFailed, Signal

_SERVICES: Final[Mapping[Signal, str]] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_AGAIN: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"})
_LONGEST: Final = 10.0
"""Seconds after which a call ends by itself: whoever waited for it has left it long before."""


class OverGrpc:
    """Brings requests to one collector."""

    def __init__(
        self, channel: Any, metadata: tuple[tuple[str, str], ...], failure: type[Exception]
    ) -> None:
        """`channel` is a grpc.Channel, `failure` what its calls raise."""
        self._calls = {
            signal: channel.unary_unary(
                service, request_serializer=_as_it_is, response_deserializer=_as_it_is
            )
            for signal, service in _SERVICES.items()
        }
        self._metadata = metadata
        self._failure = failure
        self._limiter = trio.CapacityLimiter(3)

    async def bring(self, signal: Signal, body: bytes | memoryview) -> None:
        """Send one request. Raises ExportFailed."""
        call = self._calls[signal].future(bytes(body), timeout=_LONGEST, metadata=self._metadata)
        try:
            # cancelled, the call is, too: so its thread ends soon
            answer = await trio.to_thread.run_sync(
                call.result, abandon_on_cancel=True, limiter=self._limiter
            )
        except self._failure as error:
            code = call.code().name
            said = f"the collector answered {code}: {str(call.details())[:200]}"
            raise ExportFailed(said, again=code in _AGAIN) from error
        finally:
            call.cancel()
        try:
            lost, why = rejected(answer)
        except ValueError as error:
            raise ExportFailed(f"the collector answered with no OTLP: {error}") from None
        if lost:
            raise ExportFailed(f"the collector did not take {lost}: {why[:200]}", lost=lost)


def _as_it_is(data: bytes) -> bytes:
    return data


@contextmanager
def open_grpc(
    endpoint: str, headers: Mapping[str, str], *, compressed: bool, ca: bytes | None
) -> Generator[OverGrpc]:
    """A channel to a collector. `ca` is what its certificate must be issued by; None for one in clear."""
    import grpc

    secure = endpoint.lower().startswith("https:")
    target = endpoint.split("://", 1)[-1].rstrip("/")
    compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
    if secure:
        credentials = grpc.ssl_channel_credentials(root_certificates=ca)
        channel = grpc.secure_channel(target, credentials, compression=compression)
    else:
        channel = grpc.insecure_channel(target, compression=compression)
    metadata = tuple((name.lower(), value) for name, value in headers.items())
    try:
        yield OverGrpc(channel, metadata, grpc.RpcError)
    finally:
        channel.close()
