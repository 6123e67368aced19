"""What the kit says of vector indexes that do not hold to their interface: one fault each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import numpy as np
import pytest

from flow_vectors.exact import ExactConfig, open_exact
from flowcore import Context, Factory, Registry, hookimpl
from flowcore.routing import Hits, Space
from flowcore.testing import CheckFailed, check_plugin


class Index:
    """A right index; its faults are in what inherits from it."""

    def __init__(self, right: Any) -> None:
        self.right = right

    def __getattr__(self, name: str) -> Any:
        return getattr(self.right, name)


class ForgetsToReplace(Index):
    async def add(self, ids: Any, vectors: Any) -> None:
        hits = await self.right.search(np.ones(16), 10_000) if self.right.count else None
        new = np.ones(len(ids), bool) if hits is None else ~np.isin(ids, hits.ids)
        await self.right.add(np.asarray(ids)[new], np.asarray(vectors)[new])


class IgnoresTheFilter(Index):
    async def search(self, vector: Any, k: int, where: Any = None) -> Hits:
        hits: Hits = await self.right.search(vector, k)
        return hits


class WrongScores(Index):
    async def search(self, vector: Any, k: int, where: Any = None) -> Hits:
        hits = await self.right.search(vector, k, where)
        return Hits(hits.ids, hits.scores * 2)


class MissesMuch(Index):
    async def search(self, vector: Any, k: int, where: Any = None) -> Hits:
        if k > 10:
            return await self.right.search(vector, k, where)  # type: ignore[no-any-return]
        hits = await self.right.search(vector, 2 * k, where)
        return Hits(hits.ids[k:], hits.scores[k:])


class TakesWhatItCan(Index):
    async def add(self, ids: Any, vectors: Any) -> None:
        rows = np.asarray(vectors, dtype=np.float32)
        if rows.ndim == 2 and rows.shape[1] == 16 and len(rows) == len(ids):
            good = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
            if not good.all():
                rows, ids = rows[good], np.asarray(ids)[good]
        await self.right.add(ids, rows)


class SavesNothing(Index):
    async def save(self, position: int) -> None: ...


class SaysNothing(Index):
    def status(self) -> dict[str, Any]:
        return {"fine": True}


class CountsWrong(Index):
    async def remove(self, ids: Any) -> int:
        await self.right.remove(ids)
        return len(ids)


class ClearsHalf(Index):
    async def clear(self) -> None:
        hits = await self.right.search(np.ones(16), 10_000)
        await self.right.remove(hits.ids)


class ShowsHalves(Index):
    async def add(self, ids: Any, vectors: Any) -> None:
        half = len(ids) // 2
        await self.right.add(ids[:half], vectors[:half])
        await self.right.add(ids[half:], vectors[half:])


class Indexes:
    def __init__(self, right: Any, make: Callable[[Any], Any]) -> None:
        self.right = right
        self.make = make

    @asynccontextmanager
    async def open_index(self, name: str, space: Space) -> AsyncGenerator[Any]:
        async with self.right.open_index(name, space) as index:
            yield self.make(index)

    async def discard(self, name: str) -> None:
        await self.right.discard(name)


class AnySpace(Indexes):
    @asynccontextmanager
    async def open_index(self, name: str, space: Space) -> AsyncGenerator[Any]:
        async with self.right.open_index(f"{name}-{hash(space) % 1000}", space) as index:
            yield index


@attrs.frozen(kw_only=True)
class Plain:
    """Nothing to set."""


def plugin(make: Callable[[Any], Any]) -> object:
    class Plugin:
        @hookimpl
        def flow_register(self, registry: Registry) -> None:
            registry.add(Factory("vectors", "bad", Plain, open_))

    @asynccontextmanager
    async def open_(config: Any, context: Context) -> AsyncGenerator[Any]:
        async with open_exact(ExactConfig(), context) as right:
            yield make(right)

    return Plugin()


async def faults(make: Callable[[Any], Any]) -> str:
    with pytest.raises(CheckFailed) as caught:
        await check_plugin(plugin(make))
    return "\n".join(caught.value.problems)


async def test_a_right_one_holds() -> None:
    await check_plugin(plugin(lambda right: Indexes(right, Index)))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ForgetsToReplace, "opened again it is as when it was last saved"),
        (IgnoresTheFilter, "which is not there, or not wanted"),
        (WrongScores, "has score"),
        (MissesMuch, "recall@10"),
        (TakesWhatItCan, "it took"),
        (SavesNothing, "its position is 0 after save(10)"),
        (SaysNothing, "its status does not say 'count'"),
        (CountsWrong, "remove gave 101, 100 were there"),
        (ClearsHalf, "after clear there is something left"),
        (ShowsHalves, "mixed"),
    ],
)
async def test_a_fault_is_found(fault: Callable[[Any], Any], said: str) -> None:
    assert said in await faults(lambda right: Indexes(right, fault))


async def test_an_index_that_opens_for_any_space_is_found() -> None:
    assert "an index of" in await faults(lambda right: AnySpace(right, Index))
