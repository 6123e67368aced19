"""`hashed`: vectors from words and runs of characters alone, without a model; the same on every machine.

It knows words, not meanings: "plane" is near to "planes" and far from "flight". In return it needs no
file, no other package and less than a tenth of a millisecond a text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from flowcore.config import Size, setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_embedders.projection import Hashed


@attrs.frozen(kw_only=True)
class HashedConfig:
    """Words, pairs of words and runs of characters, projected to a few dimensions."""

    dimensions: int = setting(384, validator=v.in_range(16, 4096), help="dimensions of the vectors")
    max_characters: int = setting(
        20_000, validator=v.ge(1), help="of a longer text only so many characters count, its first"
    )
    cache: Size = setting(
        4 << 20, validator=v.ge(0), help="most bytes of vectors that are kept; 0 for none"
    )


@asynccontextmanager
async def open_hashed(config: HashedConfig, context: Context) -> AsyncGenerator[Hashed]:
    """The embedder: ready at once, and it holds nothing open."""
    from flow_embedders.projection import Hashed

    del context
    yield Hashed(config.dimensions, config.max_characters, config.cache)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("embedder", "hashed", HashedConfig, open_hashed, stability="beta"))
