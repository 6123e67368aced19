"""Texts of several callers, gathered into batches. Sans-IO.

Nobody waits for a batch to fill: while one is worked on, texts gather for the next. Callers take turns, so
that one with ten thousand texts does not hold up one with a single text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from flowcore.routing import Vectors

T = TypeVar("T")


@attrs.define(eq=False)
class Order(Generic[T]):
    """What one caller asked for."""

    texts: Sequence[str]
    made: Vectors
    """Shape (n, dimensions): where its vectors go."""
    done: T
    """Whatever tells its caller that it is over."""
    waiting: deque[int] = attrs.field(init=False)
    """Rows that are in no batch yet, short texts first: those of about one length go well together."""
    missing: int = attrs.field(init=False)
    """How many rows are not made yet."""
    error: Exception | None = None

    def __attrs_post_init__(self) -> None:
        rows = sorted(range(len(self.texts)), key=lambda row: len(self.texts[row]))
        self.waiting = deque(rows)
        self.missing = len(rows)


Place = tuple[Order[T], int]
"""A text within a batch: whose, and its row there."""


class Gathering(Generic[T]):
    """Orders that are not done yet."""

    def __init__(self) -> None:
        self._orders: deque[Order[T]] = deque()

    def __len__(self) -> int:
        return len(self._orders)

    def add(self, order: Order[T]) -> None:
        """Take an order in."""
        self._orders.append(order)

    def discard(self, order: Order[T]) -> None:
        """Forget an order: its caller is gone, or it failed."""
        if order in self._orders:
            self._orders.remove(order)

    def take(self, most: int) -> list[Place[T]]:
        """The next batch: a text of each order in turn; empty if there is none."""
        batch: list[Place[T]] = []
        while self._orders and len(batch) < most:
            order = self._orders[0]
            batch.append((order, order.waiting.popleft()))
            if order.waiting:
                self._orders.rotate(-1)
            else:
                self._orders.popleft()
        return batch

    def finished(self, batch: Sequence[Place[T]], vectors: Vectors) -> list[Order[T]]:
        """Give the vectors of a batch to their orders; those that are done now."""
        over = []
        for (order, row), vector in zip(batch, vectors, strict=True):
            order.made[row] = vector
            order.missing -= 1
            if not order.missing:
                over.append(order)
        return over

    def failed(self, batch: Sequence[Place[T]], error: Exception) -> list[Order[T]]:
        """A batch failed: whose texts were in it. If they are one caller's, that order has failed."""
        concerned = list(dict.fromkeys(order for order, _ in batch))
        if len(concerned) == 1:
            (order,) = concerned
            order.error = error
            self.discard(order)
        return concerned
