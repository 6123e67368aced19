"""How long a node takes to be back over a large log, and whether memory and disk stay as they are.

`FLOW_RECOVERY_MB` says how large the log is (1000), `FLOW_RECOVERY_COMMANDS` how many commands are given
while memory and disk are looked at (1,000,000, which take five minutes or so).

    python -m benchmarks.recovery fill FOLDER MB         commands of 64 KiB until the log is so large; kill -9
    python -m benchmarks.recovery open FOLDER            start over it; seconds
    python -m benchmarks.recovery many FOLDER COMMANDS   memory and disk after a tenth of them, and after all
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import trio

from benchmarks.report import Figure
from benchmarks.servers import ROOT
from flowcore.state import STATE_FILE

_LARGE, _SMALL = 64 * 1024, 256
_CLIENTS = 64


def run() -> list[Figure]:
    """The figures."""
    size = int(os.environ.get("FLOW_RECOVERY_MB", "1000"))
    count = int(os.environ.get("FLOW_RECOVERY_COMMANDS", "1000000"))
    with tempfile.TemporaryDirectory(prefix="flow-recovery") as folder:
        _program("fill", folder, str(size), ends=-signal.SIGKILL)
        emptied = _empty_cache(pathlib.Path(folder))
        cold = _program("open", folder)
        for path in pathlib.Path(folder).glob(f"{STATE_FILE}*"):
            path.unlink()
        _empty_cache(pathlib.Path(folder))
        anew = _program("open", folder)
    with tempfile.TemporaryDirectory(prefix="flow-recovery") as folder:
        grown = _program("many", folder, str(count))
    first, last = grown["first"], grown["last"]
    return [
        Figure(
            name=f"a log of {size} MB, none of it in memory ({emptied}): back after",
            value=cold["seconds"],
            unit="s",
            bar=10.0,
        ),
        Figure(
            name=f"the same with no {STATE_FILE}, which is made anew: back after",
            value=anew["seconds"],
            unit="s",
            bar=10.0,
        ),
        Figure(
            name=f"memory after {count:,} commands over after a tenth",
            value=last["memory"] / first["memory"],
            unit="x",
            bar=1.25,
        ),
        Figure(
            name=f"disk after {count:,} commands over after a tenth",
            value=last["disk"] / first["disk"],
            unit="x",
            bar=1.25,
        ),
        Figure(name=f"memory after {count:,} commands", value=last["memory"], unit="MB"),
        Figure(name=f"disk after {count:,} commands", value=last["disk"], unit="MB"),
    ]


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "node": "type = 'raft' with one voter, over sqlite; 64 clients in its process",
        "a log": "of commands of 64 KiB, none of it let go of; the process is killed with kill -9, then the"
        " system is made to forget its files; from the start of the process until it takes commands,"
        " imports included",
        "memory": "resident, of commands of 256 bytes under 6,400 keys",
        "disk": "log and state, write-ahead logs included",
    }


def _program(*words: str, ends: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.recovery", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != ends:
        raise RuntimeError(f"{' '.join(words)}: {done.returncode}, {done.stderr[-2000:]}")
    return json.loads(done.stdout) if done.stdout else {}


def _empty_cache(folder: pathlib.Path) -> str:
    """Have nothing of what stands in a folder in memory; how that was done."""
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:  # that takes root: so of these files alone
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return "posix_fadvise"
    return "drop_caches"


def _config(folder: str, *, whole: bool = False) -> dict[str, Any]:
    """A node; with `whole`, one that lets go of nothing of its log."""
    state = {"compact_after": 10**9} if whole else {}
    return {"node": {"data_dir": folder}, "consensus": {"type": "raft"}, "state": state}


async def _fill(folder: str, size: int) -> None:
    import flowcore

    async with flowcore.open_flow(_config(folder, whole=True)) as flow:
        while _storage(flow)["bytes"] < size * 1_000_000:
            await _put(flow, 512, _LARGE)
    os.kill(os.getpid(), signal.SIGKILL)


async def _open(folder: str, began: float) -> None:
    import flowcore
    from flowcore.state import Tidy

    async with flowcore.open_flow(_config(folder, whole=True)) as flow:
        await flow.state.do(Tidy())
        print(json.dumps({"seconds": time.time() - began}))


async def _many(folder: str, count: int) -> None:
    import flowcore

    async with flowcore.open_flow(_config(folder)) as flow:
        await _put(flow, count // 10, _SMALL)
        first = _held(flow)
        await _put(flow, count - count // 10, _SMALL)
        print(json.dumps({"first": first, "last": _held(flow)}))


async def _put(flow: Any, count: int, size: int) -> None:
    """So many commands, by clients that give one after the other."""
    from flowcore.state import PutPattern, PutPatterns

    left = count

    async def client(number: int) -> None:
        nonlocal left
        key = 0
        while left > 0:
            left -= 1
            key += 1
            text = f"{key} ".ljust(size, "x")
            pattern = PutPattern(namespace="b", key=f"{number}/{key % 100}", text=text)
            await flow.state.do(PutPatterns((pattern,)))

    async with trio.open_nursery() as nursery:
        for number in range(_CLIENTS):
            nursery.start_soon(client, number)


def _storage(flow: Any) -> dict[str, Any]:
    found: dict[str, Any] = flow.state.consensus.status()["storage"]
    return found


def _held(flow: Any) -> dict[str, float]:
    """MB that it has in memory and on disk."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    disk = _storage(flow)["bytes"] + flow.state.status()["disk"]
    return {"memory": pages * os.sysconf("SC_PAGE_SIZE") / 1e6, "disk": disk / 1e6}


def _started() -> float:
    """When this process was, seconds since 1970."""
    words = pathlib.Path("/proc/self/stat").read_text().rpartition(") ")[2].split()
    uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + int(words[19]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    what, where = sys.argv[1:3]
    if what == "fill":
        trio.run(_fill, where, int(sys.argv[3]))
    elif what == "open":
        trio.run(_open, where, _started())
    else:
        trio.run(_many, where, int(sys.argv[3]))
