"""`exact`: looks at every vector, in blocks; right for some ten thousand, and needs only numpy."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_vectors.local.opening import LocalIndexes


@attrs.frozen(kw_only=True)
class ExactConfig:
    """Finds the nearest of all vectors, by looking at each."""

    front: int = setting(
        16_384,
        validator=v.in_range(1, 1_000_000),
        help="vectors kept in memory before they go to a mapped file",
    )


@asynccontextmanager
async def open_exact(config: ExactConfig, context: Context) -> AsyncGenerator[LocalIndexes]:
    """Indexes in the component's folder."""
    from flow_vectors.local.opening import LocalIndexes
    from flow_vectors.local.options import Options

    options = Options(front=config.front, spill=max(config.front, 32_768))
    yield LocalIndexes(context.data_dir, None, options, context.random, context.report)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("vectors", "exact", ExactConfig, open_exact, stability="beta"))
