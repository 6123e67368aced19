"""What each topology is good for: five real nodes on loopback, idle, asked, and with the first one killed.

The first by name is the hub of the star and the root of the tree. Rings have one successor and trees two
branches here, so that five nodes are no mesh. `FLOW_TOPOLOGIES_ROUNDS` says how often the first node is
killed (5), `FLOW_TOPOLOGIES_CALLS` how many calls are measured of each distance (1000), and
`FLOW_TOPOLOGIES_SECONDS` how long nodes are watched while they are idle (10).
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import pathlib
import signal
import statistics
import tempfile
import time
from typing import Any

import trio

from benchmarks.gossip import cost, settle, swarm_of
from benchmarks.report import Figure
from benchmarks.servers import cpu_seconds
from support import ledger
from support.callers import calling
from support.cluster import Cluster, cluster

FIVE = ("alpha", "beta", "delta", "epsilon", "gamma")
TOPOLOGIES = {
    "mesh": "mesh",
    "star": "star",
    "ring": '{ type = "ring", successors = 1 }',
    "hierarchical": '{ type = "hierarchical", branching = 2 }',
}
SIZES = (5, 16, 64)


def _count(name: str, default: int) -> int:
    return int(os.environ.get(f"FLOW_TOPOLOGIES_{name}", default))


def run() -> list[Figure]:
    """The figures."""
    return [
        *(one for name in TOPOLOGIES for one in _topology(name)),
        *trio.run(_sizes, float(_count("SECONDS", 10))),
    ]


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "nodes": f"{len(FIVE)} processes on loopback, profile local, an agent each: {', '.join(FIVE)}",
        "topologies": "; ".join(f"{name}: {text}" for name, text in TOPOLOGIES.items()),
        "call": "POST /call at a node over a kept connection, of agents so many hops away, in turns",
        "killed": "kill -9 of alpha; each node is asked for the agent of each every 0.15 s. Service: from the"
        " kill until all have been asked anew and answered, and no call has failed since",
        "gossip by size": "so many nodes in one process, UDP on loopback, without agents",
    }


def _topology(name: str) -> list[Figure]:
    """What is measured of one."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        book = pathlib.Path(folder, "ledger")
        nodes = stack.enter_context(
            cluster(
                pathlib.Path(folder),
                *FIVE,
                topology=TOPOLOGIES[name],
                agents=ledger.agent("of-@name@", book, "@name@"),
            )
        )
        _settle(nodes)
        idle = _idle(nodes, float(_count("SECONDS", 10)))
        called = _called(nodes, _count("CALLS", 1000))
        dead, back = zip(*(_killed(nodes) for _ in range(_count("ROUNDS", 5))), strict=True)
    figures = [
        *((f"links of a node, {what}", value, "") for what, value in idle["links"].items()),
        ("gossip of an idle node", idle["gossip"], "B/s"),
        ("links of an idle node, gossip apart", idle["links' bytes"], "B/s"),
        ("CPU of an idle node, of one core", idle["cpu"], "%"),
        ("memory of a node", idle["memory"], "MB"),
        *(
            (
                f"call over {hops} hop{'s' * (hops > 1)}, p50" if hops else "call at the node, p50",
                p50,
                "ms",
            )
            for hops, p50 in called.items()
        ),
    ]
    killed = f"{name}: first node killed"
    return [
        *(Figure(name=f"{name}: {what}", value=value, unit=unit) for what, value, unit in figures),
        Figure(
            name=f"{killed}: dead for all, p50",
            value=statistics.median(dead),
            unit="s",
        ),
        Figure(name=f"{killed}: dead for all, most", value=max(dead), unit="s", bar=5),
        Figure(
            name=f"{killed}: service again, p50",
            value=statistics.median(back),
            unit="s",
        ),
        Figure(name=f"{killed}: service again, most", value=max(back), unit="s", bar=2),
    ]


# ---- idle


def _settle(nodes: Cluster) -> None:
    """Wait until links that the topology has no use for are gone."""

    def settled() -> bool:
        return all(not _status(nodes, name)["overlay"]["links"]["spare"] for name in FIVE)

    nodes.until(settled)


def _status(nodes: Cluster, name: str) -> Any:
    return nodes.ask(name, "/status")[1]["swarm"]


def _bytes(status: Any) -> tuple[int, int]:
    """What a node has sent: by gossip, over its links."""
    gossip: int = status["membership"]["bytes"]["sent"]
    return gossip, sum(one["bytes"]["out"] for one in status["links"].values())


def _idle(nodes: Cluster, seconds: float) -> dict[str, Any]:
    pids = [nodes.nodes[name].process.pid for name in FIVE]
    first, cpu = [_bytes(_status(nodes, name)) for name in FIVE], sum(map(cpu_seconds, pids))
    began = time.monotonic()
    time.sleep(seconds)
    lasted = (time.monotonic() - began) * len(FIVE)
    spent = sum(map(cpu_seconds, pids)) - cpu
    last = [_status(nodes, name) for name in FIVE]
    sent = [_bytes(one) for one in last]
    links = [len(one["links"]) for one in last]
    return {
        "links": {"least": min(links), "most": max(links)},
        "gossip": sum(one[0] for one in sent) / lasted - sum(one[0] for one in first) / lasted,
        "links' bytes": (sum(one[1] for one in sent) - sum(one[1] for one in first)) / lasted,
        "cpu": 100 * spent / lasted,
        "memory": statistics.median(_resident(pid) for pid in pids),
    }


def _resident(pid: int) -> float:
    """MB of memory that a process has to itself or shares."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory")


# ---- asked


def _called(nodes: Cluster, calls: int) -> dict[int, float]:
    """The p50 of a call in ms, by how many hops its agent is away."""
    asked = FIVE[-1]
    hops = {one["name"]: one["hops"] for one in _status(nodes, asked)["members"]}
    targets = {distance: name for name, distance in hops.items()}
    took: dict[int, list[float]] = {distance: [] for distance in sorted(targets)}
    connection = http.client.HTTPConnection("127.0.0.1", nodes.ports[asked][0], timeout=30)
    with contextlib.closing(connection):
        for number in range(calls + 20):
            for distance, times in took.items():
                began = time.perf_counter()
                _call(connection, f"of-{targets[distance]}.write", f"{distance}-{number}")
                times.append(1000 * (time.perf_counter() - began))
    return {distance: statistics.median(times[20:]) for distance, times in took.items()}


def _call(connection: http.client.HTTPConnection, tool: str, request: str) -> None:
    body = json.dumps({"tool": tool, "arguments": {"request": request}})
    connection.request("POST", "/call", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{tool}: {said!r}")


# ---- killed


def _killed(nodes: Cluster) -> tuple[float, float]:
    """Seconds until all know that the first node is dead, and until those left serve all that is left."""
    first, *left = FIVE
    with calling(nodes, left, [f"of-{name}" for name in left], "write") as callers:
        agents = [f"of-{name}" for name in left]
        start = time.monotonic()
        nodes.until(functools.partial(_serving, callers.recovered, start, left, agents))
        began = time.monotonic()
        nodes.end(first, signal.SIGKILL)
        for name in left:
            nodes.until(lambda name=name: nodes.members(name)[first] == "dead")  # type: ignore[misc]
        dead = time.monotonic() - began
        nodes.until(functools.partial(_serving, callers.recovered, began, left, agents))
        back = callers.recovered(began, left, agents)
    nodes.start(first)
    nodes.complete(*FIVE)
    _settle(nodes)
    return dead, back or 0.0


def _serving(recovered: Any, *arguments: Any) -> bool:
    return recovered(*arguments) is not None


# ---- sizes


async def _sizes(seconds: float) -> list[Figure]:
    figures = []
    for size in SIZES:
        async with swarm_of(size) as swarm:
            await settle(swarm)
            sent, cpu = await cost(swarm, seconds)
        figures += [
            Figure(name=f"gossip of an idle node among {size}", value=sent, unit="B/s"),
            Figure(name=f"CPU of gossip among {size}, of one core", value=100 * cpu, unit="%"),
        ]
    return figures
