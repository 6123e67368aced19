"""`similarity`: experts by what they say of themselves and by patterns that are near. It learns nothing.

For a start without history: names, descriptions, words of schemas and examples are all it needs. Outcomes
count through the patterns that the router keeps of them. `moe` starts from the same, and learns.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flow_gates.settings import SimilarityConfig
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_gates.cold import SimilarityGates


@asynccontextmanager
async def open_similarity(
    config: SimilarityConfig, context: Context
) -> AsyncGenerator[SimilarityGates]:
    """The maker of gates; it holds nothing open."""
    from flow_gates.cold import SimilarityGates

    del context
    yield SimilarityGates(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("gate", "similarity", SimilarityConfig, open_similarity, stability="beta"))
