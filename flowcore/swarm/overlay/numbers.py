"""Numbers for what is sent to each of many: they grow, and none comes twice, also to who was forgotten."""

from __future__ import annotations

from collections.abc import Container, Hashable
from typing import Generic, TypeVar

MOST = 4096
"""Receivers whose numbers are kept while they are not there."""
To = TypeVar("To", bound=Hashable)


class Numbers(Generic[To]):
    """The last number for each receiver."""

    def __init__(self) -> None:
        self._last: dict[To, int] = {}
        self._base = 0
        """At least as high as any that was forgotten."""

    def __len__(self) -> int:
        return len(self._last)

    def next(self, to: To) -> int:
        """One more, from 1 on."""
        number = self._last[to] = self._last.get(to, self._base) + 1
        return number

    def forget(self, there: Container[To]) -> None:
        """Keep no more than a bounded number of those who are not there."""
        if len(self._last) > MOST:
            for one in [one for one in self._last if one not in there]:
                self._base = max(self._base, self._last.pop(one))
