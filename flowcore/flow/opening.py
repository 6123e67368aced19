"""Opening a flow: from a configuration to a node that serves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from flowcore.assembly import Reading, Source, read
from flowcore.flow.build import open_components
from flowcore.flow.node import Flow


@asynccontextmanager
async def open_flow(
    config: Source, *, plugins: Sequence[object] = (), overrides: Sequence[str] = ()
) -> AsyncGenerator[Flow]:
    """Open a flow from a TOML file (a path, or its name), TOML text, a mapping or a FlowConfig.

    `plugins` are further plugin objects or modules, besides those that are installed or named in the
    configuration. Enters when every edge is serving; agents may still be starting (`wait_settled`). Raises
    ConfigError for a configuration that cannot be used, AssemblyError if a component cannot open.
    """
    async with open_reading(read(config, overrides, plugins), given=plugins) as flow:
        yield flow


@asynccontextmanager
async def open_reading(made: Reading, *, given: Sequence[object] = ()) -> AsyncGenerator[Flow]:
    """Open a flow from a configuration that was read, with the plugin objects that it was given."""
    flow = Flow(made.config, made.plan, made.plugins, given=given)
    async with open_components(flow, made.folder):
        try:
            yield flow
        finally:
            flow.draining.set()
