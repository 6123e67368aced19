"""Half an hour of a bad network: nobody is called dead who is not. FLOW_SOAK says how many seconds."""

from __future__ import annotations

import contextlib
import os
import pathlib
import time

import pytest

from support.cluster import cluster
from support.namespaces import hindrance, namespaces
from support.wire import Delay

NAMES = ("alpha", "beta", "delta", "epsilon", "gamma")
DELAY, LOSS = Delay(0.05, 0.02), 0.05
REHEARSED = """
[requests]
guards = ["weather"]
[guard.weather]
type = "faults"
start = ["slow", "lossy"]
[guard.weather.experiments.slow]
fault = "link_latency"
way = "out"
delay = "50ms"
jitter = "20ms"
duration = "1d"
[guard.weather.experiments.lossy]
fault = "link_loss"
way = "out"
rate = 0.05
duration = "1d"
"""


@pytest.mark.long
@pytest.mark.parametrize("where", ["hosts", "loopback"])
def test_nobody_is_called_dead_who_is_not(tmp_path: pathlib.Path, where: str) -> None:
    """5 nodes, each packet 50±20 ms late, 5 % of them lost; calls go on all the time.

    On hosts of their own the wire is like that, on loopback the nodes rehearse it.
    """
    seconds = float(os.environ.get("FLOW_SOAK", "1800"))
    with contextlib.ExitStack() as stack:
        hosts = None
        if where == "hosts":
            if why := hindrance():
                pytest.skip(f"no network namespaces: {why}")
            hosts = stack.enter_context(namespaces(*NAMES, delay=DELAY))
        more = "" if hosts else REHEARSED
        nodes = stack.enter_context(cluster(tmp_path, *NAMES, more=more, hosts=hosts))
        if hosts is not None:
            hosts.lose(LOSS)
        began, calls = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            for name in NAMES:
                for other in NAMES:
                    result = nodes.call(name, f"of-{other}.echo", text=str(calls))
                    assert result["content"][0]["text"] == str(calls)
                    calls += 1
        told = {}
        for name in NAMES:
            _, status = nodes.ask(name, "/status")
            told[name] = status["swarm"]["membership"]
            assert {one["state"] for one in status["swarm"]["members"]} == {"alive"}
        print(f"\n{calls} calls in {time.monotonic() - began:.0f} s")
        for name, one in told.items():
            print(name, one)
        log = "\n".join(line for node in nodes.nodes.values() for line in node.said)
        assert "is dead" not in log
