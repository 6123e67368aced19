"""What an edge answers, as a table: the edge dispatches by it, and tests read it."""

from __future__ import annotations

import attrs


@attrs.frozen
class Route:
    """One kind of request. Words in capitals in its path stand for any one word."""

    method: str
    path: str
    open: bool = attrs.field(default=False, kw_only=True)
    """Whether it is answered for whoever asks, credentials or not."""

    @property
    def key(self) -> tuple[int, str]:
        """What a path of this kind is recognized by: how many words it has, and the first of them."""
        words = self.path.strip("/").split("/")
        return len(words), words[0]
