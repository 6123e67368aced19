"""Real flowserve processes that keep one state, killed, stopped and cut under load: nothing is lost."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import time

import pytest

from flowcore.testing import History, check_linearizable, read_history
from support.cluster import Cluster
from support.raft_processes import NAMES, Clients, kept, under_load

KILLS = int(os.environ.get("FLOW_KILLS", "100"))


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
    """At 100 to 200 calls a second; the history is left in the folder of the test."""
    chance = random.Random(7)
    path = tmp_path / "history.jsonl"
    with path.open("wb") as file:
        with under_load(tmp_path, History(file), clients=8, pause=0.04) as (cluster, calling):
            for number in range(KILLS):
                kill(cluster, calling, chance.choice(NAMES))
                if number % 10 == 5:
                    freeze(cluster, calling, chance.choice(NAMES))
                if number % 10 == 0:
                    cut(cluster, calling, chance.choice(NAMES), number // 10 % 4)
            calling.more(50)
            calling.stop()
            file.flush()
            judge(cluster, calling, path)
        assert calling.counts["ok"] > 50 * KILLS
