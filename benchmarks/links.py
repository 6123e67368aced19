"""What a hop from node to node costs, and what a link carries; beside gRPC, HTTP and TLS alone.

All of them go over mutual TLS 1.3 between two processes on loopback. `FLOW_LINKS_CALLS` says how many calls
are measured in a round (3000), `FLOW_LINKS_ROUNDS` how many rounds (5).
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from typing import Any

import attrs

from benchmarks import broadcasts, gossip
from benchmarks.contenders import PEERS, PROGRAMS
from benchmarks.load import MODERN, closed_loop, wait_ready
from benchmarks.report import Figure, Peer, absent, beside
from benchmarks.servers import ON_CLIENTS_CPU, ON_SERVERS_CPU, ROOT, Server, free_port, running
from flowcore.certs import CertFolder, Kind, Wanted

GRPC, HTTP, TLS = "gRPC (grpcio)", "HTTP/1.1 (flowcore.http)", "TLS alone (trio)"
_PYTHON = PEERS / "links" / "bin" / "python"
_ABSENT = "is not installed: make peers"
_SMALL, _LARGE = 50, 1
"""Small messages, and chunks of 64 KiB, for each call that is measured."""


def _count(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


@attrs.frozen
class Far:
    """The far side of a hop, running, and how its near side is started."""

    server: Server
    near: Sequence[str]

    def measure(self, what: str, *words: str) -> Any:
        """What the near side says."""
        done = subprocess.run(
            [*ON_CLIENTS_CPU, *(one.replace("WHAT", what) for one in self.near), *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{what}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)


def run() -> list[Figure]:
    """The figures."""
    calls, rounds = _count("FLOW_LINKS_CALLS", 3000), _count("FLOW_LINKS_ROUNDS", 5)
    with tempfile.TemporaryDirectory(prefix="flow-links") as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        _certificates(folder / "ed25519", "ed25519")
        _certificates(folder / "p256", "p256")
        kinds = {
            kind: stack.enter_context(_ours(kind, folder / "ed25519"))
            for kind in ("link", "http", "tls")
        }
        if _PYTHON.exists():
            kinds["grpc"] = stack.enter_context(_grpc(folder / "p256"))
        found = _halves_and_tails(kinds, calls, rounds)
        return [
            *_forwarded(folder / "ed25519", calls, rounds, found),
            *_hops(found),
            *_loads(kinds, calls, rounds),
            *gossip.on_sockets(calls / 600, rounds),
            *broadcasts.measure(times=max(2, calls // 100)),
        ]


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "forwarded call": "tools/call by MCP (2026-07-28) at one of two flowserve, one at a time: to an agent"
        " of its own and to one of the other's, in turns; the difference of both. The other node has the"
        " CPU of the client",
        "hop": "a call of 256 bytes and its answer over a connection that stands, one at a time, between two"
        " processes on CPUs of their own; what the far side adds is that it sends the bytes back",
        "link": "a stream for each call, on the lane of requests",
        HTTP: "POST over a kept connection, with the same certificates",
        GRPC: "a unary call, generic handlers without protobuf, synchronous on both sides; certificates of"
        " P-256, since its TLS takes none of Ed25519",
        TLS: "the same chunks of 64 KiB by trio's SSLStream, which nothing stands on",
        "gossip and joins": "64 nodes in one process, UDP on loopback, profile `local`; as in `gossip`",
        "broadcast": "256 bytes over links with TLS on loopback; all 61 nodes in one process",
        "small messages": "64 bytes, one way; of one core: by the CPU time that both sides took together",
    }


Found = dict[str, dict[str, list[float]]]
"""p50 and p99 of each round in ms, by who was measured."""


def _halves_and_tails(kinds: dict[str, Far], calls: int, rounds: int) -> Found:
    found: Found = {"p50": {}, "p99": {}}
    for _ in range(rounds):
        for kind in sorted(kinds.keys() - {"tls"}):
            took = sorted(kinds[kind].measure("call", str(calls), *_size(kind)))
            found["p50"].setdefault(kind, []).append(1000 * took[len(took) // 2])
            found["p99"].setdefault(kind, []).append(1000 * took[len(took) * 99 // 100])
    return found


def _forwarded(folder: pathlib.Path, calls: int, rounds: int, hops: Found) -> list[Figure]:
    """What flowserve adds to a call that another node does."""
    added: dict[str, list[float]] = {"p50": [], "p99": []}
    alone: dict[str, list[float]] = {"p50": [], "p99": []}
    with cluster(folder) as (server, url):
        for _ in range(rounds):
            loads = [
                closed_loop(
                    server, url, MODERN, f"{agent}.echo", connections=1, seconds=calls / 1000
                )
                for agent in ("near", "far")
            ]
            for what in ("p50", "p99"):
                near, far = (float(getattr(one, what)) for one in loads)
                alone[what].append(near)
                added[what].append(far - near)
    return [
        *(
            Figure(
                name=f"forwarded call: added by one hop, {what}",
                value=statistics.median(added[what]),
                unit="ms",
                bar=1.5 if what == "p50" else None,
                peers={
                    f"{name}, a hop by itself": Peer(
                        round(statistics.median(hops[what][kind]), 6), None
                    )
                    if kind in hops[what]
                    else absent(_ABSENT)
                    for kind, name in (("grpc", GRPC), ("http", HTTP))
                },
            )
            for what in ("p50", "p99")
        ),
        Figure(
            name="call that is not forwarded, p50", value=statistics.median(alone["p50"]), unit="ms"
        ),
    ]


def _hops(hops: Found) -> list[Figure]:
    return [
        Figure(
            name=f"hop by a link, {what}",
            value=statistics.median(found["link"]),
            unit="ms",
            peers={GRPC: _peer(found, "grpc"), HTTP: beside(found["link"], found["http"])},
        )
        for what, found in hops.items()
    ]


def _peer(found: dict[str, list[float]], kind: str) -> Peer:
    return beside(found["link"], found[kind]) if kind in found else absent(_ABSENT)


def _size(kind: str) -> tuple[str, ...]:
    return ("256",) if kind == "grpc" else ()


def _loads(kinds: dict[str, Far], calls: int, rounds: int) -> list[Figure]:
    wall: list[float] = []
    core: list[float] = []
    large: list[float] = []
    alone: list[float] = []
    link = kinds["link"]
    for _ in range(rounds):
        before = link.server.cpu()
        small = link.measure("small", str(_SMALL * calls))
        wall.append(small["amount"] / small["seconds"])
        core.append(small["amount"] / (small["cpu"] + link.server.cpu() - before))
        for kind, rates in (("link", large), ("tls", alone)):
            found = kinds[kind].measure("large", str(_LARGE * calls))
            rates.append(found["amount"] / found["seconds"] / 1e6)
    return [
        Figure(
            name="messages of 64 bytes, one way, of one core",
            value=statistics.median(core),
            unit="/s",
            bar=30_000,
            least=True,
        ),
        Figure(name="messages of 64 bytes, one way", value=statistics.median(wall), unit="/s"),
        Figure(
            name="chunks of 64 KiB through a stream",
            value=statistics.median(large),
            unit="MB/s",
            peers={TLS: beside(large, alone)},
        ),
    ]


# ---- what is measured

NODE = """\
[node]
name = "{name}"
data_dir = "{name}"

[swarm]
bind = "127.0.0.1:{port}"
seeds = ["127.0.0.1:{other}"]
tls = {{ cert = "{name}.pem", key = "{name}.key", ca = "ca.pem" }}
membership = {{ type = "swim", profile = "local" }}

[agent.{agent}]
type = "python"
target = "benchmarks.agents:echo"

[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{edge}"
"""
"""A node's configuration; what is not in it is as it is by default."""


@contextlib.contextmanager
def cluster(folder: pathlib.Path) -> Generator[tuple[Server, str]]:
    """Two nodes: `here`, with the agent `near`, and `there`, with `far`; the first, and its edge's URL."""
    ports = {"here": free_port(), "there": free_port()}
    edges = {"here": free_port(), "there": free_port()}
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, other, agent in (("here", "there", "near"), ("there", "here", "far")):
            path = folder / f"{name}.toml"
            path.write_text(
                NODE.format(
                    name=name, port=ports[name], other=ports[other], agent=agent, edge=edges[name]
                )
            )
            command = [
                str(pathlib.Path(sys.executable).parent / "flowserve"),
                "--config",
                str(path),
            ]
            pin = ON_SERVERS_CPU if name == "here" else ON_CLIENTS_CPU
            servers[name] = stack.enter_context(running(command, pin=pin))
        url = f"http://127.0.0.1:{edges['here']}/mcp"
        for agent in ("near", "far"):
            wait_ready(url, MODERN, f"{agent}.echo")
        yield servers["here"], url


def _certificates(folder: pathlib.Path, algorithm: Any) -> None:
    """For both sides, and for HTTP, which asks for the host's address."""
    leaves = [
        Wanted(kind=Kind.NODE, name=name, hosts=("127.0.0.1",), algorithm=algorithm)
        for name in ("here", "there")
    ]
    CertFolder(folder).init(leaves, datetime.datetime.now(datetime.UTC))


@contextlib.contextmanager
def _ours(kind: str, folder: pathlib.Path) -> Generator[Far]:
    port = str(free_port())
    program = [sys.executable, "-m", "benchmarks.hop"]
    with running([*program, "serve", kind, str(folder), port]) as server:
        _wait(port)
        yield Far(server, [*program, "WHAT", kind, str(folder), port])


@contextlib.contextmanager
def _grpc(folder: pathlib.Path) -> Generator[Far]:
    port = str(free_port())
    program = [str(_PYTHON), str(PROGRAMS / "grpc_hop.py")]
    with running([*program, "serve", str(folder), port]) as server:
        _wait(port)
        yield Far(server, [*program, "WHAT", str(folder), port])


def _wait(port: str) -> None:
    """Until somebody listens there. Raises RuntimeError."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", int(port)), 1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}")
