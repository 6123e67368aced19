"""`auto`: looks at every vector while there are few, and has graphs (`hnsw`) of more; nothing to configure.

The files are those of `exact` and `hnsw`: an index that was made by one of them is gone on with; a graph that
was made with another `storage` is built anew.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from flow_vectors.hnsw import opened
from flow_vectors.hnsw.settings import HnswConfig
from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_vectors.local.opening import LocalIndexes


@attrs.frozen(kw_only=True)
class AutoConfig:
    """Finds the nearest by looking at all vectors while they are few, and by graphs when they are more."""

    exact: int = setting(
        2048,
        validator=v.in_range(16, 1_000_000),
        help="vectors up to which each is looked at; more get a graph, in the background",
    )


@asynccontextmanager
async def open_auto(config: AutoConfig, context: Context) -> AsyncGenerator[LocalIndexes]:
    """Indexes in the component's folder. Raises RoutingError if usearch is not installed."""
    # of bytes: found by them and ranked by whole vectors is as right as f16, in less time and memory; with
    # more links as much is found by fewer candidates, how many, each graph's own measure tells
    graphs = HnswConfig(
        storage="i8", connectivity=32, ef_search=32, rerank=32, front=min(config.exact, 1024)
    )
    yield opened(graphs, context, least=config.exact + 1)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("vectors", "auto", AutoConfig, open_auto, stability="beta"))
