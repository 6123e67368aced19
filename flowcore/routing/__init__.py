"""The right agent: texts to vectors, vectors to what is near, a gate that weighs experts and learns."""

from typing import TYPE_CHECKING

from flowcore.routing.cache import VectorCache
from flowcore.routing.interfaces import (
    Choice,
    Embedder,
    Expert,
    Gate,
    Gates,
    Hits,
    Identity,
    Lesson,
    Metric,
    Near,
    Query,
    Ranking,
    Space,
    VectorIndex,
    VectorIndexes,
)

if TYPE_CHECKING:  # numpy is imported by those who use it
    from flowcore.routing.interfaces import Ids as Ids
    from flowcore.routing.interfaces import Mask as Mask
    from flowcore.routing.interfaces import Vectors as Vectors

__all__ = [
    "Choice",
    "Embedder",
    "Expert",
    "Gate",
    "Gates",
    "Hits",
    "Identity",
    "Lesson",
    "Metric",
    "Near",
    "Query",
    "Ranking",
    "Space",
    "VectorCache",
    "VectorIndex",
    "VectorIndexes",
]
