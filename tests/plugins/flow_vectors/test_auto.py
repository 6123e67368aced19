"""`auto`, the default: few vectors are looked at one by one, of more there are graphs; nothing is set."""

from __future__ import annotations

import pathlib
import random
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np

from flow_vectors.auto import AutoConfig, open_auto
from flow_vectors.exact import ExactConfig, open_exact
from flowcore.routing import VectorIndex
from flowcore.routing.settings import RouterSettings
from support.indexes import scores, space, vectors


def context(folder: pathlib.Path) -> Any:
    return SimpleNamespace(
        data_dir=folder, random=random.Random(1), report=lambda status, reason: None
    )


def graphs(index: VectorIndex) -> list[bool]:
    return [one["graph"] for one in index.status()["segments"]]


def test_it_is_what_a_router_has_by_default() -> None:
    assert attrs.fields_dict(RouterSettings)["index"].default == "auto"


async def test_more_than_a_few_get_a_graph(tmp_path: pathlib.Path) -> None:
    rows = vectors(300, 1)
    config = AutoConfig(exact=100)
    async with (
        open_auto(config, context(tmp_path)) as indexes,
        indexes.open_index("a", space()) as index,
    ):
        for start in range(0, 100, 50):
            await index.add(np.arange(start, start + 50), rows[start : start + 50])
        await index.settle()
        assert not any(graphs(index))
        for start in range(100, 300, 50):
            await index.add(np.arange(start, start + 50), rows[start : start + 50])
        await index.settle()
        assert any(graphs(index))
        found = 0
        for query in vectors(20, 2):
            hits = await index.search(query, 10)
            least = np.sort(scores(rows, query, "cosine"))[-10]
            found += int((hits.scores >= least - 1e-5).sum())
        assert found > 190
        assert index.status()["fallbacks"] == {}


async def test_what_exact_has_made_is_gone_on_with(tmp_path: pathlib.Path) -> None:
    rows = vectors(200, 1)
    async with (
        open_exact(ExactConfig(front=50), context(tmp_path)) as indexes,
        indexes.open_index("a", space()) as index,
    ):
        await index.add(np.arange(200), rows)
        await index.settle()
        await index.save(7)
    async with (
        open_auto(AutoConfig(exact=100), context(tmp_path)) as indexes,
        indexes.open_index("a", space()) as index,
    ):
        assert (index.count, index.position) == (200, 7)
        await index.settle()
        assert any(graphs(index))
        assert (await index.search(rows[3], 1)).ids.tolist() == [3]
