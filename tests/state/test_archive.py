"""A snapshot as a file: read whole, or refused with a reason."""

from __future__ import annotations

import pathlib
import random

import pytest

import flowcore
from flowcore.assembly import read
from flowcore.errors import StateUnavailable, UntrustedFile
from flowcore.flow import restore
from flowcore.state import About, PutPattern, PutPatterns, check_archive, packed, unpacked


def config(folder: pathlib.Path, **more: object) -> dict[str, object]:
    return {"node": {"data_dir": str(folder)}, "consensus": {"type": "single"}, **more}


async def saved(folder: pathlib.Path, cluster: str = "") -> pathlib.Path:
    """The file of a state with one pattern."""
    path = folder / "saved"
    async with flowcore.open_flow(config(folder / "first")) as flow:
        pattern = PutPattern(namespace="notes", key="a", text="kept")
        await flow.state.do(PutPatterns((pattern,)))
        async with flow.state.open_snapshot() as (position, pieces):
            about = About(
                cluster=cluster, node="one", position=position, term=1, time=1.0, flowcore="0.1.0"
            )
            path.write_bytes(b"".join([piece async for piece in packed(about, pieces)]))
    return path


async def test_what_was_packed_comes_out_again(tmp_path: pathlib.Path) -> None:
    path = await saved(tmp_path)
    about = check_archive(path)
    assert (about.node, about.position) == ("one", 1)
    assert b"".join(unpacked(path)).startswith(b"FLOWSTATE")


async def test_a_byte_that_differs_or_an_end_that_is_missing_is_found(
    tmp_path: pathlib.Path,
) -> None:
    path = await saved(tmp_path)
    whole = path.read_bytes()
    chance = random.Random(7)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(UntrustedFile, match="damaged|no snapshot|newer"):
            check_archive(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UntrustedFile, match="damaged|no snapshot|newer"):
            check_archive(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(UntrustedFile, match="checksum"):
        check_archive(path)
    path.write_bytes(whole)
    check_archive(path)


async def test_a_state_moves_between_engines_and_nothing_is_taken_over_unasked(
    tmp_path: pathlib.Path,
) -> None:
    path = await saved(tmp_path, cluster="other")
    for engine in ("raft", "single"):
        given = config(tmp_path / engine, consensus={"type": engine})
        with pytest.raises(UntrustedFile, match="of cluster 'other'.*--from-cluster other"):
            await restore(read(given), path)
        await restore(read(given), path, from_cluster="other")
        with pytest.raises(StateUnavailable, match="has a log already"):
            await restore(read(given), path, from_cluster="other")
        for turn in range(2):
            async with flowcore.open_flow(given) as flow:
                kept = await flow.state.pattern("notes", "a")
                assert kept is not None
                assert kept.text == "kept"
                await flow.state.do(PutPatterns((PutPattern(namespace="notes", key=str(turn)),)))
        with pytest.raises(StateUnavailable, match="has a state already"):
            await restore(read(given), path, from_cluster="other")
