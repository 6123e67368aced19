"""The right agent: texts to vectors, vectors to what is near, a gate that weighs experts and learns.

Read `router` first: the way of a text, and what came of it. `experts` are the tools as they describe
themselves, `memory` is what anybody put away. What is to last is in the state; `following` copies it onto the
`shelf` of a vector index, and `learning` teaches it to the gate. `interfaces` is what plugins yield.
"""

from typing import TYPE_CHECKING

from flowcore.routing.cache import VectorCache
from flowcore.routing.experts import Experts, Known
from flowcore.routing.following import ROUTES
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
from flowcore.routing.memory import Kept, Memory, Remembered
from flowcore.routing.opening import open_router
from flowcore.routing.porting import Porting
from flowcore.routing.reembedding import Reembedded
from flowcore.routing.router import Router
from flowcore.routing.routes import Neighbour, Ranked, Route
from flowcore.routing.settings import MemorySettings, RouterSettings
from flowcore.routing.troubles import Troubles
from flowcore.routing.turns import give_way

if TYPE_CHECKING:  # numpy is imported by those who use it
    from flowcore.routing.interfaces import Ids as Ids
    from flowcore.routing.interfaces import Mask as Mask
    from flowcore.routing.interfaces import Vectors as Vectors

__all__ = [
    "ROUTES",
    "Choice",
    "Embedder",
    "Expert",
    "Experts",
    "Gate",
    "Gates",
    "Hits",
    "Identity",
    "Kept",
    "Known",
    "Lesson",
    "Memory",
    "MemorySettings",
    "Metric",
    "Near",
    "Neighbour",
    "Porting",
    "Query",
    "Ranked",
    "Ranking",
    "Reembedded",
    "Remembered",
    "Route",
    "Router",
    "RouterSettings",
    "Space",
    "Troubles",
    "VectorCache",
    "VectorIndex",
    "VectorIndexes",
    "give_way",
    "open_router",
]
