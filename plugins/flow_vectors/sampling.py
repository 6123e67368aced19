"""Recall, sampled: some searches are done again exactly, in the background, and compared.

To look at every vector takes as long as dozens of searches, and all the memory that there is to read
meanwhile. So a share of searches is a share of the time, too: where more come, fewer of them are taken.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import trio

from flow_vectors.local.rows import Snapshot
from flow_vectors.local.searching import Found, Task, exact
from flow_vectors.measures import Measures, recall

_WAITING = 8
"""Samples that wait, at most; each keeps the segments alive that it was found in."""


class Sampling:
    """Takes a share of searches, and repeats them one after the other in a thread."""

    def __init__(
        self,
        measures: Measures,
        share: float,
        chance: random.Random,
        found: Callable[[float], None],
    ) -> None:
        """`found` is told of each what share of the nearest it had found."""
        self._measures = measures
        self._found = found
        self._share = share
        self._chance = chance
        self._give, self._take = trio.open_memory_channel[tuple[Snapshot, Task, Found]](_WAITING)
        self._limiter = trio.CapacityLimiter(1)
        self._spared_until = 0.0
        """When the next may be taken: all together they take that share of the time, too, and no more."""

    def perhaps(self, now: Snapshot, task: Task, found: Found) -> None:
        """Take this one, by chance."""
        if self._share and self._chance.random() < self._share:
            if trio.current_time() < self._spared_until:
                self._measures.lost += 1
                return
            try:
                kept = Task(task.query.copy(), task.k, task.metric, task.where)
                self._give.send_nowait((now, kept, found))
            except trio.WouldBlock:
                self._measures.lost += 1

    async def run(self) -> None:
        """Compare what was taken, for as long as the index is open."""
        async for now, task, found in self._take:
            began = trio.current_time()
            right = await trio.to_thread.run_sync(exact, now, task, limiter=self._limiter)
            ended = trio.current_time()
            self._spared_until = ended + (ended - began) * (1 / self._share - 1)
            worst = float(right.scores[-1]) if len(right.scores) else -math.inf
            share = recall(found.scores.tolist(), right.scores, worst)
            self._measures.compared(share)
            self._found(share)
