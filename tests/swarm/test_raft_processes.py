"""Real flowserve processes that keep one state, killed, stopped and cut under load: nothing is lost."""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import ExitStack, suppress

import pytest

from flowcore.testing import History, check_linearizable, read_history
from support.cluster import Cluster
from support.raft_processes import NAMES, Clients, kept, under_load

KILLS = int(os.environ.get("FLOW_KILLS", "100"))
FULL = int(os.environ.get("FLOW_FULL_DISKS", "12"))


def kill(cluster: Cluster, calling: Clients, name: str) -> None:
    """kill -9, and a start some time after."""
    cluster.end(name, signal.SIGKILL)
    calling.more(10)  # the two that are left go on
    cluster.start(name)


def freeze(cluster: Cluster, calling: Clients, name: str) -> None:
    """It hangs for five seconds, and goes on as if nothing had been."""
    cluster.send(name, signal.SIGSTOP)
    ends = time.monotonic() + 5
    cluster.until(lambda: time.monotonic() > ends)
    cluster.send(name, signal.SIGCONT)
    calling.more(10)


def cut(cluster: Cluster, calling: Clients, name: str, kind: int) -> None:
    """Cables of a node are cut: all of it, what comes in, what goes out, or that to one other."""
    others = [one for one in NAMES if one != name][: 1 if kind == 3 else None]
    for other in others:
        if kind != 2:
            cluster.cut(name, other)
        if kind != 1:
            cluster.cut(other, name)
    calling.more(20)
    cluster.heal()
    calling.more(10)


def shift_clock(cluster: Cluster, calling: Clients, name: str, *, behind: bool) -> None:
    """The wall clock of a node is an hour wrong for a while."""
    body = {"name": "clock", "fault": "clock", "offset": "1h", "behind": behind, "duration": "1h"}
    status, answer = cluster.ask(name, "/guards/rehearsal/start", body)
    assert status == 200, answer
    calling.more(20)
    cluster.ask(name, "/guards/rehearsal/stop", {})


def judge(cluster: Cluster, calling: Clients, path: pathlib.Path) -> None:
    """At the end, with all nodes there: nothing acknowledged is lost, nothing is there that nobody wrote."""
    for key in sorted(calling.registers):
        cluster.until(lambda key=key: calling.read("alpha", "judge", key) == "ok")  # type: ignore[misc]
    found = {name: kept(cluster, name, "once") for name in NAMES}
    for name in NAMES:
        assert calling.acknowledged <= found[name], f"{name} has lost what was acknowledged"
        assert found[name] <= calling.acknowledged | calling.unsure
    verdict = check_linearizable(read_history(path))
    assert verdict, str(verdict)


def test_three_kills_under_load_lose_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "history.jsonl"
    with path.open("wb") as file:
        with under_load(tmp_path, History(file), clients=4, pause=0.03) as (cluster, calling):
            for name in NAMES:
                kill(cluster, calling, name)
            calling.more(10)
            calling.stop()
            file.flush()
            judge(cluster, calling, path)
        assert len(calling.acknowledged) > 3


@pytest.mark.long
def test_a_hundred_kills_pauses_and_cuts_under_load_lose_nothing(tmp_path: pathlib.Path) -> None:
    """At up to 200 writes a second, as a quiet machine takes; the history, and what came of it, stay in the
    folder of the test."""
    chance = random.Random(7)
    path = tmp_path / "history.jsonl"
    done = {"kills": 0, "stops": 0, "clocks": 0, "cuts": 0}
    with path.open("wb") as file:
        with under_load(tmp_path, History(file), clients=44, pause=0.04) as (cluster, calling):
            began = time.monotonic()
            for number in range(KILLS):
                kill(cluster, calling, chance.choice(NAMES))
                done["kills"] += 1
                if number % 10 == 5:
                    freeze(cluster, calling, chance.choice(NAMES))
                    done["stops"] += 1
                if number % 10 == 8:
                    done["clocks"] += 1
                    shift_clock(
                        cluster, calling, chance.choice(NAMES), behind=chance.random() < 0.5
                    )
                if number % 10 == 0:
                    cut(cluster, calling, chance.choice(NAMES), number // 10 % 4)
                    done["cuts"] += 1
            calling.more(50)
            took = time.monotonic() - began
            calling.stop()
            file.flush()
            judge(cluster, calling, path)
        told = {
            **done,
            **calling.counts,
            "seconds": round(took),
            "writes": calling.written,
            "writes a second": round(calling.written / took),
            "calls in the history": len(read_history(path)),
        }
        (tmp_path / "campaign.json").write_text(json.dumps(told, indent=2) + "\n")
        assert calling.counts["ok"] > 50 * KILLS


@pytest.mark.long
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_node_whose_disk_fails_to_sync_promises_nothing_more(tmp_path: pathlib.Path) -> None:
    """The others go on; started again over a disk that works, it is one of them."""
    failing = (
        *("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"),
        *("-e", "inject=fsync,fdatasync:error=EIO:when=40+"),
    )
    path = tmp_path / "history.jsonl"
    with (
        path.open("wb") as file,
        under_load(tmp_path, History(file), clients=4, pause=0.02) as (cluster, calling),
    ):
        cluster.end("beta", signal.SIGKILL)
        cluster.start("beta", by=failing)
        cluster.until(lambda: stopped(cluster, "beta") != "", 120.0)
        assert "cannot be written" in stopped(cluster, "beta")
        calling.more(50)
        assert cluster.ask("alpha", "/state")[1]["consensus"]["leader"] != "beta"
        cluster.end("beta", signal.SIGKILL)
        cluster.start("beta")
        calling.more(20)
        calling.stop()
        file.flush()
        judge(cluster, calling, path)


@pytest.fixture
def small_disks(tmp_path: pathlib.Path) -> Generator[dict[str, pathlib.Path]]:
    """A file system of 64 MiB for what each node keeps."""
    with ExitStack() as stack:
        disks = {}
        for name in NAMES:
            disk = disks[name] = tmp_path / f"data-{name}"
            disk.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "none", str(disk)]
            if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
                pytest.skip("needs to mount a tmpfs")
            stack.callback(subprocess.run, ["umount", "-l", str(disk)], check=True)
        yield disks


def fill(disk: pathlib.Path) -> None:
    """Leave no room on it."""
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.long
def test_disks_that_are_full_for_a_while_lose_nothing(
    tmp_path: pathlib.Path, small_disks: dict[str, pathlib.Path]
) -> None:
    """Of one node, which is killed then every other time; of two: nothing is taken until there is room."""
    chance = random.Random(11)
    path = tmp_path / "history.jsonl"
    with (
        path.open("wb") as file,
        under_load(tmp_path, History(file), clients=6, pause=0.03) as (cluster, calling),
    ):
        for number in range(FULL):
            full = set(chance.sample(NAMES, 2 if number % 4 == 3 else 1))
            for name in full:
                fill(small_disks[name])
            killed = full if number % 2 and len(full) == 1 else set()
            if len(full) == 1:
                calling.more(20)
            else:
                cluster.until(lambda: bool(troubles(cluster)))
            for name in killed:
                cluster.end(name, signal.SIGKILL)
            for name in full:
                (small_disks[name] / "ballast").unlink()
            for name in killed:
                cluster.start(name)
            calling.more(20)
        cluster.until(lambda: not troubles(cluster))
        calling.stop()
        file.flush()
        judge(cluster, calling, path)


def troubles(cluster: Cluster) -> list[str]:
    """Why nodes can write nothing just now, as they say."""
    said = [cluster.ask(name, "/state")[1]["consensus"]["trouble"] for name in NAMES]
    return [one for one in said if one]


def stopped(cluster: Cluster, name: str) -> str:
    """Why a node takes nothing any more, as it says."""
    _, answer = cluster.ask(name, "/state")
    said: str = answer["consensus"]["stopped"]
    return said
