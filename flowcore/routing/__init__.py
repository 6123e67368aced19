"""The right agent: texts to vectors, vectors to what is near, a gate that weighs experts and learns."""

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
    "VectorIndex",
    "VectorIndexes",
]
