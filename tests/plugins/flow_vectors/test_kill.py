"""A process is killed while it saves, merges and builds: the last save is there, or the one it was at."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys

import pytest
import trio

from support.dying_index import STEP, content
from support.indexes import MAKERS, local, space, vectors
from support.needs import ROOT

KILLS = 4


@pytest.mark.parametrize("kind", MAKERS)
async def test_killed_at_any_moment(kind: str, tmp_path: pathlib.Path) -> None:
    indexes = local(kind, tmp_path)
    chance = random.Random(kind)
    told = 0
    for _ in range(KILLS):
        with subprocess.Popen(  # noqa: ASYNC220 - it is over in a moment
            [sys.executable, "-m", "support.dying_index", str(tmp_path), kind],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 12)):
                told = int(await trio.to_thread.run_sync(process.stdout.readline))
            process.send_signal(signal.SIGKILL)
            rest = await trio.to_thread.run_sync(process.stdout.read)
            told = int(rest.split()[-1]) if rest.split() else told
        async with indexes.open_index("a", space()) as index:
            assert index.position in (told, told + 1)
            expected = content(index.position)
            hits = await index.search(vectors(1, 0)[0], 10_000)
            assert set(hits.ids.tolist()) == expected
            for number in chance.sample(sorted(expected), min(5, len(expected))):
                vector = vectors(STEP, number // STEP)[number % STEP]
                assert (await index.search(vector, 1)).ids.tolist() == [number]
    assert told >= KILLS
