"""`otlp`: traces, metrics and logs for any collector or backend that speaks OTLP.

    [exporter.collector]
    type = "otlp"
    endpoint = "http://127.0.0.1:4318"

Nothing is asked of the collector at the start: it may come later, and may go.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from flow_exporters.otlp.settings import OtlpConfig
from flowcore.config import Secret
from flowcore.errors import PluginError
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.telemetry import Exporter

if TYPE_CHECKING:
    from flow_exporters.otlp.exporter import Way


@asynccontextmanager
async def open_otlp(config: OtlpConfig, context: Context) -> AsyncGenerator[Exporter]:
    """The exporter, with connections of its own."""
    from flow_exporters.otlp.exporter import Otlp

    headers = {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in config.headers.items()
    }
    resource = {**context.host.telemetry.resource, **config.attributes}
    async with AsyncExitStack() as stack:
        if "metrics" in config.signals:  # how late the loop is, is measured for who tells it
            await stack.enter_async_context(context.host.metrics.watching())
        way: Way
        compressed = config.compression == "gzip"
        if config.protocol == "grpc":
            way = await _grpc(stack, config, context, headers, compressed=compressed)
        else:
            from flow_exporters.otlp.over_http import OverHttp
            from flowcore.http import ClientCertificates, open_client

            tls = None if config.tls is None else ClientCertificates(config.tls, context.config_dir)
            client = await stack.enter_async_context(
                open_client(
                    most_connections=4,
                    body=64 << 10,
                    context=tls,
                    server_name=None if tls is None else tls.server_name,
                )
            )
            way = OverHttp(client, config.endpoint, headers, compressed=compressed)
        yield Otlp(config.signals, resource, way)


async def _grpc(
    stack: AsyncExitStack,
    config: OtlpConfig,
    context: Context,
    headers: dict[str, str],
    *,
    compressed: bool,
) -> Way:
    import trio

    from flow_exporters.otlp.over_grpc import open_grpc

    try:  # a fifth of a second, which the loop need not wait for
        await trio.to_thread.run_sync(__import__, "grpc")
    except ImportError as error:
        raise PluginError(
            'protocol "grpc" needs the package grpcio: pip install "flowcore[grpc]"'
        ) from error
    ca = None
    if config.tls is not None and config.tls.ca is not None:
        ca = await trio.to_thread.run_sync((context.config_dir / config.tls.ca).read_bytes)
    return stack.enter_context(open_grpc(config.endpoint, headers, compressed=compressed, ca=ca))


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("exporter", "otlp", OtlpConfig, open_otlp, stability="beta"))
