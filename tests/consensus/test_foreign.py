"""A log is of the type of consensus that wrote it: another type refuses it, and leaves it as it was."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import trio

from flowcore import open_flow
from flowcore.errors import AssemblyError
from flowcore.state import PutPattern, PutPatterns


async def life(folder: pathlib.Path, kind: str, key: str) -> list[str]:
    """A node with this type of consensus puts something; the keys that it has then."""
    config: dict[str, Any] = {
        "node": {"name": "alpha", "data_dir": str(folder)},
        "state": {},
        "consensus": {"type": kind},
    }
    with trio.fail_after(30):
        async with open_flow(config) as flow:
            await flow.state.do(PutPatterns((PutPattern(namespace="n", key=key),)))
            return [one.key for one in (await flow.state.list_patterns("n")).patterns]


@pytest.mark.parametrize(("kind", "other"), [("raft", "single"), ("single", "raft")])
async def test_a_log_of_another_type_is_refused_and_left_as_it_was(
    tmp_path: pathlib.Path, kind: str, other: str
) -> None:
    assert await life(tmp_path, kind, "1") == ["1"]
    with pytest.raises(AssemblyError, match="written by another type of consensus: set the type"):
        await life(tmp_path, other, "2")
    assert await life(tmp_path, kind, "3") == ["1", "3"]
