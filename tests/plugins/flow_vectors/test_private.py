"""From vectors one can tell what the texts were about: their files are their owner's alone."""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Generator

import numpy as np
import pytest

from flow_vectors.hnsw import graph as graphs
from flow_vectors.hnsw.graph import HnswMaker
from flow_vectors.hnsw.settings import HnswConfig
from flow_vectors.local.tending import GivenUp
from support.indexes import MAKERS, ids, local, space, vectors


@pytest.fixture(autouse=True)
def careless() -> Generator[None]:
    """Whoever started the process lets everybody read what it makes."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: pathlib.Path) -> dict[str, int]:
    return {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize("kind", MAKERS)
async def test_every_file_of_an_index_is_private(kind: str, tmp_path: pathlib.Path) -> None:
    async with local(kind, tmp_path).open_index("a", space()) as index:
        await index.add(np.arange(20), vectors(20, 1))
        await index.settle()
        await index.remove(ids(3))
        await index.save(1)
        found = modes(tmp_path / "a")
    assert set(found) == {"", ".rows"} | (set() if kind == "exact" else {".graph", ".seal"})
    assert set(found.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


async def test_a_folder_that_others_could_look_into_is_closed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    async with local("exact", tmp_path).open_index("a", space()):
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_an_unfinished_graph_is_private(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_CHECKPOINT", 256)

    def progress(done: int) -> None:
        if done > 600:
            raise GivenUp

    with pytest.raises(GivenUp):
        HnswMaker(HnswConfig()).build(vectors(1000, 1), tmp_path / "g", "cosine", progress)
    assert modes(tmp_path) == {".part": 0o600, ".partseal": 0o600}
