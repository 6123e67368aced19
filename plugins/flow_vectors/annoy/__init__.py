"""`annoy`: forests of random projection trees by Spotify's Annoy, in mapped files.

A forest cannot be changed once it is built. So it stands over a segment of vectors that never changes; new
vectors are in front of it and searched exactly, what is removed is marked, and forests are built anew in the
background. The package has no wheels: installing it takes a C++ compiler.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flow_vectors.annoy.settings import AnnoyConfig
from flowcore.errors import RoutingError
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_vectors.local.opening import LocalIndexes


@asynccontextmanager
async def open_annoy(config: AnnoyConfig, context: Context) -> AsyncGenerator[LocalIndexes]:
    """Indexes in the component's folder. Raises RoutingError if Annoy is not installed."""
    try:
        import annoy  # noqa: F401
    except ImportError as error:
        raise RoutingError(
            f"annoy is missing: pip install 'flowcore[annoy]', which needs a C++ compiler ({error})"
        ) from error
    from flow_vectors.annoy.forest import ForestMaker
    from flow_vectors.local.opening import LocalIndexes
    from flow_vectors.local.options import Options

    options = Options(front=config.front, spill=max(config.front, 32_768), sample=config.sample)
    yield LocalIndexes(
        context.data_dir, ForestMaker(config), options, context.random, context.report
    )


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("vectors", "annoy", AnnoyConfig, open_annoy, stability="beta"))
