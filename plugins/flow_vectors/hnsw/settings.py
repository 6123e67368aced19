"""The settings of `hnsw`."""

from __future__ import annotations

from typing import Literal

import attrs

from flowcore.config import Size, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class HnswConfig:
    """Finds near vectors by a graph; names are those of the paper."""

    connectivity: int = setting(
        16, validator=v.in_range(2, 256), help="M: links of a vector on a layer of the graph"
    )
    ef_construction: int = setting(
        200, validator=v.in_range(1, 10_000), help="candidates looked at to link a new vector"
    )
    ef_search: int = setting(
        64,
        validator=v.in_range(1, 10_000),
        help="candidates looked at by a search, at least: more find more, and take longer",
    )
    recall: float = setting(
        0.97,
        validator=v.in_range(0, 1),
        help="share of the nearest that a search should find: where `ef_search` finds less, as measured on"
        " each graph when it is built, more candidates are looked at, up to 512; 0 leaves it at `ef_search`",
    )
    storage: Literal["f32", "f16", "i8"] = setting(
        "f16",
        help="numbers in the graph: `i8`, scaled to the range of the data, takes a quarter of `f32`;"
        " what is found is ranked by whole vectors, which are kept in a mapped file",
    )
    rerank: int = setting(
        50,
        validator=v.in_range(1, 10_000),
        help="candidates of an `i8` graph that are ranked by their whole vectors",
    )
    mapped: Size = setting(
        256 << 20, validator=v.ge(0), help="graphs of more bytes are not loaded, but mapped"
    )
    front: int = setting(
        1024,
        validator=v.in_range(1, 1_000_000),
        help="new vectors that are searched exactly before they go into a graph, in the background",
    )
    sample: float = setting(
        0.01,
        validator=v.in_range(0, 1),
        help="share of searches repeated exactly to measure recall",
    )
