"""What holds for every vector index: it finds what is near, keeps what was saved, says what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from flowcore.errors import FlowError, OtherSpace, WrongVector
from flowcore.routing import Identity, Metric, Space, VectorIndex
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]
    Ids = npt.NDArray[np.int64]

_METRICS: tuple[Metric, ...] = ("cosine", "inner_product", "euclidean")
_DIMENSIONS = 16
_RECALL = 0.9
_SLACK = 2e-3
"""By how much a score may differ from the right one, where vectors are about of length one."""


def _space(metric: Metric = "cosine", version: str = "1", dimensions: int = _DIMENSIONS) -> Space:
    identity = Identity(name="trial", version=version, dimensions=dimensions)
    return Space(identity=identity, metric=metric)


def _vectors(count: int, seed: int) -> Vectors:
    import numpy as np

    made = np.random.default_rng(seed).normal(size=(count, _DIMENSIONS)) / _DIMENSIONS**0.5
    vectors: Vectors = made.astype(np.float32)
    return vectors


class _Plain:
    """The same vectors in a dict, and the plainest search there is."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.vectors: dict[int, Vectors] = {}

    def add(self, ids: Ids, vectors: Vectors) -> None:
        self.vectors.update(zip(ids.tolist(), vectors, strict=True))

    def score(self, id_: int, query: Vectors) -> float:
        import numpy as np

        one, other = self.vectors[id_].astype(np.float64), query.astype(np.float64)
        if self.metric == "euclidean":
            return -float(((one - other) ** 2).sum())
        product: float = float(one @ other)
        if self.metric == "cosine":
            return product / float(np.linalg.norm(one) * np.linalg.norm(other))
        return product

    def best(self, query: Vectors, k: int, among: set[int] | None = None) -> list[float]:
        """The k best scores."""
        ids = self.vectors.keys() if among is None else self.vectors.keys() & among
        return sorted((self.score(one, query) for one in ids), reverse=True)[:k]


async def _compared(
    index: VectorIndex, plain: _Plain, query: Vectors, k: int, among: set[int] | None = None
) -> float:
    """The share of the right scores that a search reached, after everything else about it was checked."""
    import numpy as np

    where = None if among is None else (lambda ids: np.isin(ids, sorted(among)))
    hits = await index.search(query, k, where)
    ids, scores = hits.ids.tolist(), hits.scores.tolist()
    right = plain.best(query, k, among)
    if len(ids) != len(right) or len(set(ids)) != len(ids) or len(scores) != len(ids):
        raise Wrong(
            f"a search for {k} gave {len(ids)} ids ({len(set(ids))} different ones),"
            f" {len(right)} expected"
        )
    for id_, score in zip(ids, scores, strict=True):
        if id_ not in plain.vectors or (among is not None and id_ not in among):
            raise Wrong(f"a search gave id {id_}, which is not there, or not wanted")
        if abs(score - plain.score(id_, query)) > _SLACK:
            raise Wrong(
                f"id {id_} has score {score}, {plain.score(id_, query):.6f} expected ({plain.metric})"
            )
    if scores != sorted(scores, reverse=True):
        raise Wrong("the hits of a search are not in the order of their scores")
    if not right:
        return 1.0
    reached = [one for one in scores if one >= right[-1] - _SLACK]
    return len(reached) / len(right)


async def _agrees(index: VectorIndex, plain: _Plain, seed: int) -> None:
    """Raise unless the index and the dict hold the same."""
    if index.count != len(plain.vectors):
        raise Wrong(f"its count is {index.count}, {len(plain.vectors)} expected")
    everything = await _compared(index, plain, _vectors(1, seed)[0], len(plain.vectors) + 5)
    if everything < 1.0:
        raise Wrong("a search for as many as there are did not give them all")
    shares = [await _compared(index, plain, query, 10) for query in _vectors(20, seed + 1)]
    if sum(shares) / len(shares) < _RECALL:
        raise Wrong(f"recall@10 is {sum(shares) / len(shares):.2f}, {_RECALL} expected")


async def finds_what_is_near(bench: Bench) -> None:
    """by each metric it finds what is nearest, with the right scores, after adding, replacing and removing"""
    import numpy as np

    async with bench.opened() as indexes:
        for metric in _METRICS:
            plain = _Plain(metric)
            async with indexes.open_index(f"near-{metric}", _space(metric)) as index:
                await _agrees(index, plain, 0)
                for turn in range(4):
                    ids = np.arange(150, dtype=np.int64) * 7 + turn * 500
                    vectors = _vectors(150, turn)
                    await index.add(ids, vectors)
                    plain.add(ids, vectors)
                await _agrees(index, plain, 1)
                gone = np.array([*range(0, 700, 7), 5], dtype=np.int64)
                there = [one for one in gone.tolist() if plain.vectors.pop(one, None) is not None]
                removed = await index.remove(gone)
                if removed != len(there):
                    raise Wrong(f"remove gave {removed}, {len(there)} were there")
                await _agrees(index, plain, 2)
                await index.settle()
                await _agrees(index, plain, 3)


async def obeys_a_filter(bench: Bench) -> None:
    """with a filter it finds the nearest of those that pass, also if one in a thousand does, or none"""
    import numpy as np

    async with bench.opened() as indexes, indexes.open_index("filtered", _space()) as index:
        plain = _Plain("cosine")
        ids, vectors = np.arange(2000, dtype=np.int64), _vectors(2000, 3)
        await index.add(ids, vectors)
        plain.add(ids, vectors)
        await index.settle()
        for among in (set(range(0, 2000, 3)), {11, 1201}, {77}, set()):
            for query in _vectors(5, 4):
                if await _compared(index, plain, query, 10, among) < _RECALL:
                    raise Wrong(f"it found too few of {len(among)} that pass the filter")


async def refuses_wrong_vectors(bench: Bench) -> None:
    """what is no vector of its space is refused by WrongVector, and nothing of the batch is added"""
    import numpy as np

    good = _vectors(3, 5)
    broken = [good.copy() for _ in range(4)]
    broken[0][1, 2], broken[1][2, 0], broken[2][0, 0] = np.nan, np.inf, -np.inf
    broken[3][1] = 0.0
    ids = np.array([1, 2, 3], dtype=np.int64)
    cases: list[tuple[Any, Any]] = [
        *((ids, one) for one in broken),
        (ids, good[:, :-1]),
        (ids, good[:2]),
        (ids, good[0]),
        (np.array([1, 2, 1]), good),
        (np.array([1, -2, 3]), good),
        (np.array([1.5, 2, 3]), good),
        (ids.reshape(3, 1), good),
    ]
    async with bench.opened() as indexes, indexes.open_index("wrong", _space()) as index:
        plain = _Plain("cosine")
        plain.add(ids, good)
        await index.add(ids, good)
        for given, vectors in cases:
            try:
                await index.add(given, -vectors)
            except WrongVector as error:
                if not str(error):
                    raise Wrong("its WrongVector says nothing") from None
            else:
                raise Wrong(f"it took {vectors!r:.200} for ids {given!r}")
        for query in (broken[0][1], broken[1][2], broken[3][1], good[0][:-1], good):
            try:
                await index.search(query, 1)
            except WrongVector:
                continue
            raise Wrong(f"it searched for {query!r:.200}")
        await _agrees(index, plain, 6)
        for metric in ("inner_product", "euclidean"):
            async with indexes.open_index(f"wrong-{metric}", _space(metric)) as other:
                await other.add(ids, np.zeros((3, _DIMENSIONS), dtype=np.float32))
                if other.count != 3:
                    raise Wrong(f"{metric}: zeros are vectors, too")


async def keeps_what_was_saved(bench: Bench) -> None:
    """opened again it is as when it was last saved, and knows the position; what came later is gone"""
    import numpy as np

    async with bench.opened() as indexes:
        plain = _Plain("euclidean")
        for turn in range(4):
            async with indexes.open_index("kept", _space("euclidean")) as index:
                if index.position != turn * 10:
                    raise Wrong(f"its position is {index.position}, {turn * 10} was saved")
                await _agrees(index, plain, turn)
                ids = np.arange(60, dtype=np.int64) + turn * 40  # some of them replace others
                vectors = _vectors(60, 10 + turn)
                await index.add(ids, vectors)
                plain.add(ids, vectors)
                await index.remove(ids[:5])
                for one in ids[:5].tolist():
                    del plain.vectors[one]
                await index.save(turn * 10 + 10)
                if index.position != turn * 10 + 10:
                    raise Wrong(f"its position is {index.position} after save({turn * 10 + 10})")
                await index.add(ids[:9], -vectors[:9])
                await index.add(ids + 1000, vectors)
                await index.remove(ids[20:30])


async def knows_its_space(bench: Bench) -> None:
    """what is of another embedder or metric is refused by OtherSpace, which says what to do"""
    import numpy as np

    others = (_space("euclidean"), _space(version="2"), _space(dimensions=_DIMENSIONS + 1))
    async with bench.opened() as indexes:
        async with indexes.open_index("spaced", _space()) as index:
            await index.add(np.array([4], dtype=np.int64), _vectors(1, 0))
            await index.save(1)
        for other in others:
            try:
                async with indexes.open_index("spaced", other):
                    pass
            except OtherSpace as error:
                if "reembed" not in str(error):
                    raise Wrong(
                        f"its OtherSpace does not name `flowctl memory reembed`: {error}"
                    ) from None
            else:
                raise Wrong(f"an index of {_space()} opens for {other}")
        async with indexes.open_index("spaced", _space()) as index:
            if (index.count, index.position) != (1, 1):
                raise Wrong("what was refused to others is not there any more")
        await indexes.discard("spaced")
        await indexes.discard("spaced")
        async with indexes.open_index("spaced", others[0]) as index:
            if index.count or index.position:
                raise Wrong("what was discarded is still there")


async def forgets_when_cleared(bench: Bench) -> None:
    """after clear it is empty and at position 0, also when it is opened again, and can be filled anew"""
    import numpy as np

    ids, vectors = np.arange(50, dtype=np.int64), _vectors(50, 7)
    async with bench.opened() as indexes:
        async with indexes.open_index("cleared", _space()) as index:
            await index.add(ids, vectors)
            await index.save(5)
            await index.clear()
            if index.count or index.position or len((await index.search(vectors[0], 3)).ids):
                raise Wrong("after clear there is something left")
        plain = _Plain("cosine")
        for turn in range(2):
            async with indexes.open_index("cleared", _space()) as index:
                if index.position != turn:
                    raise Wrong(f"its position is {index.position}, {turn} expected")
                await _agrees(index, plain, turn)
                await index.add(ids, vectors)
                plain.add(ids, vectors)
                await index.save(turn + 1)


async def keeps_names_apart(bench: Bench) -> None:
    """indexes of two names share nothing, and what is no name is refused"""
    import numpy as np

    async with bench.opened() as indexes:
        async with (
            indexes.open_index("a" * 64, _space()) as one,
            indexes.open_index("A-1_b", _space("euclidean")) as other,
        ):
            await one.add(np.array([1], dtype=np.int64), _vectors(1, 0))
            await other.add(np.array([1, 2], dtype=np.int64), _vectors(2, 1))
            await one.save(1)
            if (one.count, other.count, other.position) != (1, 2, 0):
                raise Wrong("what was added to one is in the other")
        for name in ("", "a" * 65, "../up", "a/b", "a b", ".", "ä", "a\n", 'a";--'):
            try:
                async with indexes.open_index(name, _space()):
                    pass
            except FlowError:
                continue
            raise Wrong(f"it opens an index of the name {name!r}")


async def shows_changes_whole(bench: Bench) -> None:
    """a search beside changes sees all of a change or nothing of it"""
    import numpy as np

    ids = np.arange(100, dtype=np.int64)
    rows = np.zeros((100, _DIMENSIONS), dtype=np.float32)
    rows[:, 0] = 1.0
    done = False

    async def change(index: VectorIndex) -> None:
        nonlocal done
        for turn in range(12):
            await index.add(ids, rows if turn % 2 else -rows)
            if turn == 5:
                await index.save(turn)
        done = True

    async def look(index: VectorIndex) -> None:
        while not done:
            hits = await index.search(rows[0], 200)
            if len(hits.ids) != 100 or len(set(np.round(hits.scores, 3).tolist())) != 1:
                raise Wrong(
                    f"a search beside a change of 100 vectors saw {len(hits.ids)} of them, mixed"
                )

    async with bench.opened() as indexes, indexes.open_index("whole", _space()) as index:
        await index.add(ids, rows)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change, index)
            for _ in range(3):
                nursery.start_soon(look, index)


async def says_what_it_did(bench: Bench) -> None:
    """its status is plain data for JSON: what there is, what was searched, and how long that took"""
    import numpy as np

    async with bench.opened() as indexes, indexes.open_index("measured", _space()) as index:
        before = index.status()
        await index.add(np.arange(40, dtype=np.int64), _vectors(40, 1))
        for query in _vectors(7, 2):
            await index.search(query, 3)
        status = index.status()
        msgspec.json.encode((before, status))
        for key in (
            "count",
            "position",
            "memory",
            "disk",
            "searches",
            "seconds",
            "recall",
            "fallbacks",
        ):
            if key not in status:
                raise Wrong(f"its status does not say {key!r}")
        found = (status["count"], status["searches"], before["searches"])
        if found != (40, 7, 0):
            raise Wrong(
                f"its status says (count, searches, searches before) {found}, (40, 7, 0) expected"
            )
        if not status["seconds"]["p50"] or index.memory < 0:
            raise Wrong("its status does not say how long searches took")
        try:
            await index.search(_vectors(1, 0)[0], 0)
        except ValueError:
            return
        raise Wrong("a search for 0 vectors is taken for one")


async def closes_while_it_is_used(bench: Bench) -> None:
    """left by an exception, or cancelled in the middle of its work, it closes, and opens again"""
    import numpy as np

    async with bench.opened() as indexes:
        for turn in range(3):
            with trio.CancelScope() as scope:
                async with indexes.open_index("left", _space()) as index:
                    await index.add(np.arange(3000, dtype=np.int64), _vectors(3000, turn))
                    scope.cancel()
                    await index.save(1)
        async with indexes.open_index("left", _space()) as index:
            if index.count not in (0, 3000):
                raise Wrong(f"its count is {index.count}, 0 or 3000 expected")
