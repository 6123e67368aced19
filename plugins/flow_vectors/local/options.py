"""How an index in files is kept."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Options:
    """How an index is kept."""

    front: int
    """Rows in the front beyond which it becomes a segment."""
    spill: int = 32_768
    """Rows in the front beyond which it becomes a segment even while vectors come in bulk."""
    sample: float = 0.0
    """The share of searches that are done again exactly."""
    recall: float = 0.0
    """What these should find of the nearest: where they find less, graphs look further."""
