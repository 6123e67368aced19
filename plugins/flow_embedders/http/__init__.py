"""`http`: vectors of a model that somebody else runs, over the OpenAI-compatible endpoint `/v1/embeddings`.

    [router.embedder]
    type = "http"
    url = "https://models.example/v1/embeddings"
    model = "text-embedding-3-small"
    key = { env = "MODELS_KEY" }
    dimensions = 1536

Nothing is asked at the start: the endpoint may come later. Who runs it reads the texts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flow_embedders.http.settings import HttpConfig
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_embedders.http.embedder import HttpEmbedder


@asynccontextmanager
async def open_http(config: HttpConfig, context: Context) -> AsyncGenerator[HttpEmbedder]:
    """The embedder, with connections of its own."""
    from flow_embedders.http.embedder import HttpEmbedder
    from flow_embedders.http.endpoint import Endpoint
    from flowcore.http import ClientCertificates, open_client

    tls = None if config.tls is None else ClientCertificates(config.tls, context.config_dir)
    async with open_client(
        most_connections=config.requests,
        connect_timeout=config.connect_timeout,
        body=config.max_response,
        context=tls,
        server_name=None if tls is None else tls.server_name,
    ) as client:
        yield HttpEmbedder(config, Endpoint(config, client, context.random), context.report)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("embedder", "http", HttpConfig, open_http, stability="beta"))
