"""`pgvector`: the same as the others, in a real PostgreSQL that crashes, and is not there."""

from __future__ import annotations

import pathlib
import random
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import HealthCheck, given, settings

from flow_vectors.pgvector.connection import DatabaseFailed, Fenced
from flow_vectors.pgvector.index import FEW, NARROW, TOO_WIDE, PgvectorIndexes
from flow_vectors.pgvector.pool import open_pool
from flow_vectors.pgvector.settings import PgvectorConfig
from flowcore.config import Secret
from flowcore.routing import Metric
from flowcore.testing import Trial, check_plugin
from support.index_plays import METRICS, STEPS, Step, play
from support.indexes import ids, scores, space, vectors
from support.postgres import Cluster, open_cluster


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with open_cluster() as one:
        yield one


@asynccontextmanager
async def opened(cluster: Cluster, **more: Any) -> AsyncGenerator[PgvectorIndexes]:
    config = PgvectorConfig(dsn=Secret(cluster.dsn), **more)
    async with open_pool(config) as pool:
        yield PgvectorIndexes(pool, config, random.Random(1))


async def test_holds_to_its_interface(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_DSN", cluster.dsn)
    trial = Trial(settings={"dsn": {"env": "FLOW_DSN"}, "ef_construction": 32}, within=120)
    await check_plugin("flow_vectors.pgvector", {"pgvector": trial})


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, metric=METRICS)
def test_agrees_with_a_dict(cluster: Cluster, steps: list[Step], metric: Metric) -> None:
    async def main() -> None:
        async with opened(cluster, schema="plays") as indexes:
            await play(indexes, steps, metric, exact=False)

    trio.run(main)


async def test_a_crash_of_the_database_leaves_the_last_save(cluster: Cluster) -> None:
    async with opened(cluster, schema="crashes") as indexes:
        async with indexes.open_index("a", space()) as index:
            await index.add(np.arange(50), vectors(50, 1))
            await index.save(3)
            await index.add(np.arange(40, 90), vectors(50, 2))
            await index.remove(ids(0, 1, 2))
            cluster.crash()
            with pytest.raises(DatabaseFailed):
                await index.save(4)
            assert index.position == 3
            with pytest.raises(DatabaseFailed):
                await index.search(vectors(1, 1)[0], 3)
            cluster.start()
            assert (await index.search(vectors(50, 2)[45], 1)).ids.tolist() == [85]
            await index.add(ids(1000), vectors(1, 3))
            assert index.count == 88
        async with indexes.open_index("a", space()) as index:
            assert (index.count, index.position) == (50, 3)
            for number in (0, 45):
                hits = await index.search(vectors(50, 1)[number], 1)
                assert hits.ids.tolist() == [number]


async def test_a_schema_is_one_nodes_until_it_lets_go(cluster: Cluster) -> None:
    async with opened(cluster, schema="held"):
        with pytest.raises(Fenced, match="'held' is in use by another node .process [0-9]+ of the"):
            async with opened(cluster, schema="held", connect_timeout=3.0):
                pass
        async with opened(cluster, schema="another"):
            pass
    async with (
        opened(cluster, schema="held", connect_timeout=60.0) as indexes,
        indexes.open_index("a", space()) as index,
    ):
        await index.add(ids(1), vectors(1, 1))
        assert index.count == 1


async def test_of_two_that_open_a_schema_at_once_one_has_it(cluster: Cluster) -> None:
    refused = 0
    through = trio.Event()

    async def one() -> None:
        nonlocal refused
        try:
            async with (
                opened(cluster, schema="raced", connect_timeout=3.0) as indexes,
                indexes.open_index("a", space()) as index,
            ):
                await index.add(ids(7), vectors(1, 7))
                await index.save(1)
                await through.wait()
        except* Fenced:
            refused += 1
            if refused == 3:
                through.set()

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one)
    assert refused == 3


async def test_who_has_lost_its_lock_unawares_changes_nothing(cluster: Cluster) -> None:
    async with opened(cluster, schema="lost") as indexes:
        async with indexes.open_index("a", space()) as index:
            await index.add(ids(1, 2), vectors(2, 1))
            await index.save(1)
            await index._pool.run(
                lambda connection: connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                    " AND classid = 1718382455"
                )
            )
            async with (
                opened(cluster, schema="lost") as others,
                others.open_index("a", space()) as other,
            ):
                for change in (
                    lambda: index.add(ids(3), vectors(1, 2)),
                    lambda: index.remove(ids(1)),
                    lambda: index.save(2),
                    index.clear,
                ):
                    with pytest.raises(Fenced, match="'lost' was taken by another node"):
                        await change()
                await other.add(ids(4), vectors(1, 3))
                await other.save(5)
        async with opened(cluster, schema="lost") as again, again.open_index("a", space()) as index:
            assert (index.count, index.position) == (3, 5)


async def test_a_restart_of_the_database_leaves_the_schema_whose_it_was(cluster: Cluster) -> None:
    async with opened(cluster, schema="kept") as indexes, indexes.open_index("a", space()) as index:
        await index.add(ids(1), vectors(1, 1))
        cluster.crash()
        cluster.start()
        with pytest.raises(DatabaseFailed):
            await index.add(ids(2), vectors(1, 2))
        await index.add(ids(2), vectors(1, 2))
        assert index.count == 2
        with pytest.raises(Fenced, match="is in use by another node"):
            async with opened(cluster, schema="kept", connect_timeout=3.0):
                pass


async def test_the_index_of_the_database_is_used_and_measured(cluster: Cluster) -> None:
    rows = vectors(3000, 1, 32)
    async with (
        opened(cluster, schema="used", sample=1.0) as indexes,
        indexes.open_index("a", space(dimensions=32)) as index,
    ):
        await index.add(np.arange(3000), rows)
        await index.save(1)
        found = 0
        for query in vectors(20, 2, 32):
            right = np.sort(scores(rows, query, "cosine"))[-10:]
            found += int(((await index.search(query, 10)).scores >= right[0] - 1e-5).sum())
        assert found > 0.9 * 200
        assert index.status()["fallbacks"] == {}
        while not index.status()["recall"]["samples"]:
            await trio.lowlevel.checkpoint()
        assert index.status()["recall"]["mean"] > 0.8
        assert index.status()["disk"] > rows.nbytes

        plan: list[Any] = await index._pool.run(
            lambda connection: connection.execute(
                "EXPLAIN SELECT id FROM used.vectors_1 WHERE died IS NULL"
                " ORDER BY vector <=> %s::vector LIMIT 10",
                (str(rows[0].tolist()),),
            ).fetchall()
        )
        assert "vectors_1_hnsw" in plan[1][0]

        hits = await index.search(rows[5], 4, lambda ids: ids % 1000 == 7)
        assert sorted(hits.ids.tolist()) == [7, 1007, 2007]
        await index.search(rows[5], 2000)
        assert index.status()["fallbacks"] == {NARROW: 1, FEW: 1}


async def test_vectors_too_wide_for_an_index_are_searched_exactly(cluster: Cluster) -> None:
    async with (
        opened(cluster, schema="wide") as indexes,
        indexes.open_index("a", space(dimensions=2001)) as index,
    ):
        await index.add(np.arange(3), vectors(3, 1, 2001))
        assert (await index.search(vectors(3, 1, 2001)[2], 1)).ids.tolist() == [2]
        assert index.status()["fallbacks"] == {TOO_WIDE: 1}


async def test_no_database_is_an_error_that_shows_no_password(tmp_path: pathlib.Path) -> None:
    dsn = Secret(f"host={tmp_path} user=flow password=canary-secret")
    with pytest.raises(DatabaseFailed, match="no connection to the database") as caught:
        async with open_pool(PgvectorConfig(dsn=dsn)):
            pass
    assert "canary" not in str(caught.value)
