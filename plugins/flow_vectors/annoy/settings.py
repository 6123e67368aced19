"""The settings of `annoy`."""

from __future__ import annotations

import attrs

from flowcore.config import setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class AnnoyConfig:
    """Finds near vectors by a forest of random projection trees."""

    trees: int = setting(
        50,
        validator=v.in_range(1, 1000),
        help="trees of a forest: more find more, and take more disk",
    )
    search_k: int = setting(
        20_000,
        validator=v.in_range(1, 10_000_000),
        help="vectors looked at by a search: more find more, and take longer",
    )
    rerank: int = setting(
        50,
        validator=v.in_range(1, 10_000),
        help="candidates of the forest that are ranked by their whole vectors",
    )
    front: int = setting(
        4096,
        validator=v.in_range(1, 1_000_000),
        help="new vectors that are searched exactly before a forest is built of them, in the background",
    )
    sample: float = setting(
        0.01,
        validator=v.in_range(0, 1),
        help="share of searches repeated exactly to measure recall",
    )
