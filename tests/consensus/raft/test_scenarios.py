"""Each scenario comes out as its file says. `FLOW_UPDATE_SCENARIOS=1` writes them anew, to be reviewed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.raft.transcript import run_file

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_it_comes_out_as_written(path: Path) -> None:
    written, now = run_file(path)
    if os.environ.get("FLOW_UPDATE_SCENARIOS"):
        path.write_text(now)
    else:
        assert written == now


def test_there_are_many() -> None:
    assert len(SCENARIOS) >= 60
