"""Vector indexes: what they find, how fast, with how much memory; beside usearch alone and faiss.

`FLOW_INDEX_SIZES` says how many vectors (10000,100000,1000000), `FLOW_INDEX_FOLDER` where what is built is
kept: a run that is killed goes on from there. A million takes a quarter of an hour to build.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks.contenders import PEERS, PROGRAMS
from benchmarks.peers_programs.index_data import truth
from benchmarks.report import Figure, Peer, absent

LARGE = 300_000
"""From here on an index is mapped, and of scaled bytes."""
_EXACT = 100_000
_ROOT = pathlib.Path(__file__).parents[1]
_MISSING = "is not installed: make peers"
_faiss_says: dict[int, str] = {}
_candidates: dict[str, list[int]] = {}


def sizes() -> list[int]:
    """How many vectors are measured."""
    return [
        int(one) for one in os.environ.get("FLOW_INDEX_SIZES", "10000,100000,1000000").split(",")
    ]


def run() -> list[Figure]:
    """The figures of each size."""
    kept = os.environ.get("FLOW_INDEX_FOLDER")
    with tempfile.TemporaryDirectory(prefix="flow-index") as folder:
        return [figure for count in sizes() for figure in _of(count, pathlib.Path(kept or folder))]


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "vectors": "384 dimensions, clustered, of length one, about 34 dimensions of which say something;"
        " 1,000 queries that are not among them; k = 10; one thread",
        "hnsw": "the defaults (M 16, ef_construction 200, f16; ef_search 64, or as many candidates as"
        f" a recall of 0.97 needs on the graph) below {LARGE:,}; above: storage i8, mapped",
        "usearch alone": "`Index.search` on the same graph in the same memory, with as many candidates, one"
        " thread, in turns with ours, each for another query than the one before; its scores are those of the"
        " numbers in the graph, and of bytes it finds less",
        "usearch by hand": "the same, and what gives our answer: the best candidates (10, of bytes 50) ranked"
        " by their whole vectors, from the same mapped file, in six lines of numpy; what our layer adds is"
        " over this",
        "candidates": str(_candidates),
        "own memory": "RssAnon after opening and searching, less that of the process before",
        **{f"faiss, {count:,}": said for count, said in _faiss_says.items()},
    }


def _of(count: int, folder: pathlib.Path) -> list[Figure]:
    kind = "hnsw" if count < LARGE else "hnsw large"
    here = folder / f"{kind} {count}"
    here.mkdir(parents=True, exist_ok=True)
    if not (here / "truth.npy").exists():
        np.save(here / "truth.npy", truth(count))
    built = _program("build", here, kind, count)
    ours = _program("measure", here, kind, count)
    theirs = _faiss(count, here)
    name = f"{count:,} vectors"
    large = count >= LARGE
    mega, milli = 1 << 20, 1e3
    turns, recalls = ours["turns"], ours["recalls"]
    alone, by_hand, layered = (turns[one]["p50"] for one in ("alone", "by hand", "ours"))
    _candidates[name] = ours["candidates"]

    def usearch(alone: float, by_hand: float, our: float) -> dict[str, Peer]:
        return {
            "usearch alone": Peer(round(alone, 6), round(alone / our, 3)),
            "usearch by hand": Peer(round(by_hand, 6), round(by_hand / our, 3)),
        }

    def faiss(field: str, scale: float, our: float) -> dict[str, Peer]:
        if isinstance(theirs, str):
            return {"faiss": absent(theirs)}
        value = theirs[field] * scale
        return {"faiss": Peer(round(value, 6), round(value / our, 3))}

    figures = [
        Figure(
            name=f"{name}: recall@10",
            value=ours["recall"],
            unit="",
            bar=0.95,
            least=True,
            peers={
                **usearch(recalls["alone"], recalls["by hand"], ours["recall"]),
                **faiss("recall", 1, ours["recall"]),
            },
        ),
        Figure(
            name=f"{name}: search, p50",
            value=layered * milli,
            unit="ms",
            peers={
                **usearch(alone * milli, by_hand * milli, layered * milli),
                **faiss("p50", milli, layered * milli),
            },
        ),
        Figure(
            name=f"{name}: search, p99",
            value=ours["p99"] * milli,
            unit="ms",
            bar=10.0 if large else None,
            peers=faiss("p99", milli, ours["p99"] * milli),
        ),
        Figure(
            name=f"{name}: what our layer adds to usearch at the p50",
            value=(layered / by_hand - 1) * 100,
            unit="%",
            bar=15.0,
        ),
        Figure(
            name=f"{name}: what our layer and whole vectors add to usearch at the p50",
            value=(layered / alone - 1) * 100,
            unit="%",
        ),
        Figure(
            name=f"{name}: own memory",
            value=ours["own"] / mega,
            unit="MB",
            bar=512.0 if large else None,
        ),
        Figure(
            name=f"{name}: opens in",
            value=ours["opened"],
            unit="s",
            bar=2.0 if large else None,
            peers=faiss("opened", 1, ours["opened"]),
        ),
        Figure(
            name=f"{name}: built in",
            value=built["seconds"],
            unit="s",
            peers=faiss("built", 1, built["seconds"]),
        ),
        Figure(name=f"{name}: files", value=built["disk"] / mega, unit="MB"),
        Figure(
            name=f"{name}: longest hold of the event loop, CPU",
            value=max(built["longest"], ours["longest"]) * milli,
            unit="ms",
            bar=5.0,
        ),
    ]
    return figures + (_exact(count, here) if count <= _EXACT else [])


def _exact(count: int, folder: pathlib.Path) -> list[Figure]:
    here = folder / "exact"
    here.mkdir(exist_ok=True)
    np.save(here / "truth.npy", np.load(folder / "truth.npy"))
    _program("build", here, "exact", count)
    ours = _program("measure", here, "exact", count)
    return [
        Figure(name=f"{count:,} vectors, exact: recall@10", value=ours["recall"], unit=""),
        Figure(name=f"{count:,} vectors, exact: search, p50", value=ours["p50"] * 1e3, unit="ms"),
        Figure(name=f"{count:,} vectors, exact: search, p99", value=ours["p99"] * 1e3, unit="ms"),
    ]


def _program(what: str, folder: pathlib.Path, kind: str, count: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.index_programs", what, str(folder), kind, str(count)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _faiss(count: int, folder: pathlib.Path) -> dict[str, Any] | str:
    """What faiss came to, or why not."""
    python = PEERS / "routing" / "bin" / "python"
    if not python.exists():
        return _MISSING
    kept = folder / "faiss.json"
    if not kept.exists():
        way = ["HNSW16,SQ8", "64"] if count < LARGE else ["IVF4096,SQ8", "128"]
        program = [str(python), str(PROGRAMS / "faiss_index.py"), str(count), *way]
        done = subprocess.run(
            [*program, str(folder / "truth.npy")],
            stdout=subprocess.PIPE,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if done.returncode:
            return f"failed with {done.returncode}"
        kept.write_bytes(done.stdout)
    answer: dict[str, Any] = json.loads(kept.read_bytes())
    _faiss_says[count] = answer["version"]
    return answer
