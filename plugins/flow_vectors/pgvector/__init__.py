"""`pgvector`: vectors in PostgreSQL with the extension pgvector, for those who outgrow one machine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flow_vectors.pgvector.settings import PgvectorConfig
from flowcore.errors import RoutingError
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_vectors.pgvector.index import PgvectorIndexes


@asynccontextmanager
async def open_pgvector(
    config: PgvectorConfig, context: Context
) -> AsyncGenerator[PgvectorIndexes]:
    """Indexes in the database. Raises RoutingError if it cannot be reached, or has no pgvector."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise RoutingError(
            f"psycopg is missing: pip install 'flowcore[pgvector]' ({error})"
        ) from error
    from flow_vectors.pgvector.index import PgvectorIndexes
    from flow_vectors.pgvector.pool import open_pool

    async with open_pool(config) as pool:
        yield PgvectorIndexes(pool, config, context.random)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("vectors", "pgvector", PgvectorConfig, open_pgvector, stability="beta"))
