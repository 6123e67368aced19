"""`hnsw`: graphs by usearch (HNSW, Malkov and Yashunin 2016); for ten thousand to some million vectors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flow_vectors.hnsw.settings import HnswConfig
from flowcore.errors import RoutingError
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_vectors.local.opening import LocalIndexes


def opened(config: HnswConfig, context: Context, least: int | None = None) -> LocalIndexes:
    """Indexes in the component's folder; segments of `least` rows and more get graphs, if it is given.

    Raises RoutingError if usearch is not installed.
    """
    try:
        # now, though it may be long until a graph is needed: an import holds up everybody
        import usearch.compiled  # noqa: F401
    except ImportError as error:
        raise RoutingError(
            f"usearch is missing ({error}): pip install usearch, or take the index `exact`, which needs none"
        ) from error
    from flow_vectors.hnsw.graph import HnswMaker
    from flow_vectors.local.opening import LocalIndexes
    from flow_vectors.local.options import Options

    options = Options(
        front=config.front,
        spill=max(config.front, 32_768),
        sample=config.sample,
        recall=config.recall,
    )
    return LocalIndexes(
        context.data_dir, HnswMaker(config, least), options, context.random, context.report
    )


@asynccontextmanager
async def open_hnsw(config: HnswConfig, context: Context) -> AsyncGenerator[LocalIndexes]:
    """Indexes in the component's folder. Raises RoutingError if usearch is not installed."""
    yield opened(config, context)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("vectors", "hnsw", HnswConfig, open_hnsw, stability="beta"))
