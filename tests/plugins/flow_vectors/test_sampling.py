"""Searches that are done again exactly take their share of searches, and of the time."""

from __future__ import annotations

import pathlib
import random

import numpy as np
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flow_vectors.checking import Ids, Mask
from flow_vectors.local.searching import Task, search
from flow_vectors.measures import Measures
from flow_vectors.sampling import Sampling
from support.indexes import local, space, vectors


class Always(random.Random):
    """Every search is one that chance picks."""

    def random(self) -> float:
        return 0.0


async def test_samples_take_no_more_than_their_share_of_the_time(
    tmp_path: pathlib.Path, mock_clock: MockClock
) -> None:
    measures, rows = Measures(), vectors(50, 1)
    give, take = trio.open_memory_channel[float](1)
    sampling = Sampling(measures, 0.1, Always(), give.send_nowait)

    def slow(ids: Ids) -> Mask:
        trio.from_thread.run_sync(mock_clock.jump, 2.0)
        return np.ones(len(ids), np.bool_)

    indexes = local("exact", tmp_path, front=64)
    async with indexes.open_index("a", space()) as index, trio.open_nursery() as nursery:
        await index.add(np.arange(50), rows)
        found = search(index.now, Task(rows[0], 5, "cosine"), 1)
        nursery.start_soon(sampling.run)
        task = Task(rows[0], 5, "cosine", slow)
        sampling.perhaps(index.now, task, found)
        assert await take.receive() == 1.0  # it took two seconds: a tenth of twenty
        await wait_all_tasks_blocked()
        mock_clock.jump(17.9)
        sampling.perhaps(index.now, task, found)
        assert measures.lost == 1
        mock_clock.jump(0.2)
        sampling.perhaps(index.now, task, found)
        assert await take.receive() == 1.0
        assert (measures.sampled, measures.lost) == (2, 1)
        nursery.cancel_scope.cancel()
