"""What is cleared does not come back by what was being made of it."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import trio
import trio.testing

from support.indexes import local, space, vectors


@pytest.mark.parametrize("kind", ["exact", "hnsw f16"])
@pytest.mark.parametrize("steps", range(8))
async def test_cleared_while_the_front_is_written_away(
    kind: str, steps: int, tmp_path: pathlib.Path
) -> None:
    async with local(kind, tmp_path).open_index("a", space()) as index:
        for _ in range(5):
            await index.add(np.arange(9), vectors(9, 1))
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            await index.clear()
            assert index.count == 0
            await index.settle()
            assert index.count == 0
            assert index.status()["segments"] == []
            assert len((await index.search(vectors(1, 1)[0], 9)).ids) == 0
