"""What may happen to an index, as data that Hypothesis makes up, and a dict that it must agree with."""

from __future__ import annotations

import attrs
import numpy as np
import trio
from hypothesis import strategies as st

from flow_vectors.checking import Ids
from flowcore.routing import Metric, VectorIndex, VectorIndexes
from support.indexes import scores, space, vectors

IDS = 24
_ids = st.lists(st.integers(0, IDS - 1), unique=True, max_size=10).map(tuple)


@attrs.frozen
class Add:
    ids: tuple[int, ...]
    seed: int


@attrs.frozen
class Remove:
    ids: tuple[int, ...]


@attrs.frozen
class Search:
    k: int
    seed: int
    modulus: int
    """Only ids that are divisible by it are wanted."""


@attrs.frozen
class Save:
    pass


@attrs.frozen
class Reopen:
    """Close without saving, and open again."""


@attrs.frozen
class Settle:
    pass


@attrs.frozen
class Clear:
    pass


Step = Add | Remove | Search | Save | Reopen | Settle | Clear
STEPS = st.lists(
    st.one_of(
        st.builds(Add, _ids, st.integers(0, 9)),
        st.builds(Add, _ids, st.integers(0, 9)),
        st.builds(Remove, _ids),
        st.builds(Search, st.integers(1, IDS), st.integers(0, 9), st.integers(1, 3)),
        st.builds(Save),
        st.builds(Reopen),
        st.builds(Settle),
        st.sampled_from([Clear(), Save(), Reopen()]),
    ),
    max_size=30,
)
METRICS = st.sampled_from(["cosine", "inner_product", "euclidean"])


@attrs.define
class Oracle:
    """What there must be."""

    metric: Metric
    now: dict[int, np.ndarray] = attrs.field(factory=dict)
    saved: dict[int, np.ndarray] = attrs.field(factory=dict)
    position: int = 0
    saves: int = 0

    async def compare(self, index: VectorIndex, step: Search, exact: bool) -> None:
        """Raise unless a search gives what it must."""
        query = vectors(1, 1000 + step.seed)[0]

        def wanted(ids: Ids) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
            return np.asarray(ids % step.modulus == 0)

        hits = await index.search(query, step.k, wanted if step.modulus > 1 else None)
        among = sorted(one for one in self.now if one % step.modulus == 0)
        found = hits.ids.tolist()
        assert len(found) == min(step.k, len(among)), (found, among)
        assert len(set(found)) == len(found)
        assert set(found) <= set(among)
        if not among:
            return
        rows = np.array([self.now[one] for one in found])
        assert np.allclose(hits.scores, scores(rows, query, self.metric), atol=1e-4)
        assert (np.diff(hits.scores) <= 0).all()
        right = np.sort(scores(np.array([self.now[one] for one in among]), query, self.metric))[
            ::-1
        ]
        if exact or step.k >= len(among):
            assert np.allclose(hits.scores, right[: step.k], atol=1e-4)


async def play(indexes: VectorIndexes, steps: list[Step], metric: Metric, exact: bool) -> None:
    """Do the steps, and compare after each."""
    oracle = Oracle(metric)
    left = list(steps)
    name = "played"
    await indexes.discard(name)
    with trio.fail_after(60):
        while True:
            async with indexes.open_index(name, space(metric)) as index:
                assert index.position == oracle.position
                assert index.count == len(oracle.now)
                await oracle.compare(index, Search(IDS, 0, 1), exact)
                while left and not isinstance(left[0], Reopen):
                    await _do(index, left.pop(0), oracle, exact)
                    assert index.count == len(oracle.now)
                await oracle.compare(index, Search(5, 1, 1), exact)
            oracle.now = dict(oracle.saved)
            if not left:
                return
            left.pop(0)


async def _do(index: VectorIndex, step: Step, oracle: Oracle, exact: bool) -> None:
    match step:
        case Add(ids, seed):
            rows = vectors(len(ids), seed)
            await index.add(np.array(ids, dtype=np.int64), rows)
            oracle.now.update(zip(ids, rows, strict=True))
        case Remove(ids):
            there = [one for one in ids if oracle.now.pop(one, None) is not None]
            assert await index.remove(np.array(ids, dtype=np.int64)) == len(there)
        case Search():
            await oracle.compare(index, step, exact)
        case Save():
            oracle.saves += 1
            await index.save(oracle.saves)
            oracle.saved, oracle.position = dict(oracle.now), oracle.saves
        case Settle():
            await index.settle()
        case Clear():
            await index.clear()
            oracle.now, oracle.saved, oracle.position = {}, {}, 0
