"""`tools/call` over the MCP edge: in the process, by a stdio and an HTTP upstream; and by peers.

The first figure is CPU time of the server process per call, since machines are noisy; every peer runs in the
same run, against the same upstream.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.load import ERAS, free_port, have_wrk, measure, running, wait_ready
from benchmarks.report import Figure

ROOT = pathlib.Path(__file__).parents[1]
BIN = pathlib.Path(sys.executable).parent
NODE = ROOT / ".node" / "node_modules"
STDIO = [sys.executable, "-m", "benchmarks.upstream", "stdio"]
ROUNDS = 3

CONFIG = """
[agent.echo]
type = "python"
target = "benchmarks.agents:echo"
[agent.stdio]
type = "mcp"
command = ["python", "-m", "benchmarks.upstream", "stdio"]
cwd = {root!r}
[agent.http]
type = "mcp"
url = "http://127.0.0.1:{upstream}/mcp"
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{port}"
[log]
level = "error"
"""

BARS = {"echo": 100.0, "stdio": 160.0, "http": 220.0}


def run() -> list[Figure]:
    """Every figure; raises RuntimeError without wrk."""
    if not have_wrk():
        raise RuntimeError("wrk is needed to make load (Debian's package wrk)")
    figures: list[Figure] = []
    upstream = free_port()
    with running([sys.executable, "-m", "benchmarks.upstream", "http", str(upstream)]):
        ours = _ours(upstream, figures)
    figures.append(_long_list())
    peers = _peers()
    for name, bar in BARS.items():
        for era in ERAS:
            value = ours[name, era]
            beside = {
                peer: {"value": round(cpu, 1), "ratio": round(cpu / value, 2)}
                for (peer, of, peer_era), cpu in peers.items()
                if of == name and peer_era == era
            }
            figures.append(
                Figure(
                    name=f"{name}, {era}: CPU per call, 16 connections",
                    value=value,
                    unit="µs",
                    bar=bar,
                    peers=beside,
                )
            )
    return figures


def _ours(upstream: int, figures: list[Figure]) -> dict[tuple[str, str], float]:
    """CPU per call at 16 connections, the least of some rounds; other figures are added on the way."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    best: dict[tuple[str, str], float] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(CONFIG.format(root=str(ROOT), upstream=upstream, port=port))
        file.flush()
        with running([str(BIN / "flowserve"), "--config", file.name]) as pid:
            for name in BARS:
                for era in ERAS:
                    wait_ready(url, era, f"{name}.echo")
                    loads = [
                        measure(url, era, f"{name}.echo", pid, connections=16)
                        for _ in range(ROUNDS)
                    ]
                    best[name, era] = min(one.cpu for one in loads)
                    top = max(loads, key=lambda one: one.rate)
                    figures.append(
                        Figure(
                            name=f"{name}, {era}: rate, 16 connections", value=top.rate, unit="/s"
                        )
                    )
                    figures.append(
                        Figure(name=f"{name}, {era}: p50, 16 connections", value=top.p50, unit="ms")
                    )
                    figures.append(
                        Figure(name=f"{name}, {era}: p99, 16 connections", value=top.p99, unit="ms")
                    )
            for connections in (1, 64):
                load = measure(url, ERAS[1], "echo.echo", pid, connections=connections)
                what = f"echo, {ERAS[1]}: {{}}, {connections} connections"
                figures.append(Figure(name=what.format("rate"), value=load.rate, unit="/s"))
                figures.append(Figure(name=what.format("p50"), value=load.p50, unit="ms"))
                figures.append(Figure(name=what.format("p99"), value=load.p99, unit="ms"))
    return best


LONG = """
[agent.many]
type = "python"
target = "benchmarks.many"
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{port}"
[log]
level = "error"
"""


def _long_list() -> Figure:
    """CPU of one `tools/list` of a thousand tools."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(LONG.format(port=port))
        file.flush()
        with running([str(BIN / "flowserve"), "--config", file.name]) as pid:
            wait_ready(url, ERAS[0], "many.tool_0000")
            cpu = min(measure(url, ERAS[0], "", pid, connections=4).cpu for _ in range(ROUNDS))
    return Figure(name="tools/list of 1,000 tools: CPU", value=cpu / 1000, unit="ms", bar=2.0)


def _peers() -> dict[tuple[str, str, str], float]:
    """(peer, what it does, era) → CPU per call; a peer that is not here is left out."""
    port = free_port()
    found: dict[tuple[str, str, str], float] = {}
    sdk = [sys.executable, "-m", "benchmarks.upstream", "sdk", str(port)]
    for era in ERAS:
        found["official SDK's server", "echo", era] = _peer(
            sdk, f"http://127.0.0.1:{port}/mcp", era
        )
    node, proxy = (
        NODE / "node" / "bin" / "node",
        NODE / "mcp-proxy" / "dist" / "bin" / "mcp-proxy.mjs",
    )
    if node.exists() and proxy.exists():
        port = free_port()
        command = [
            str(node),
            str(proxy),
            "--port",
            str(port),
            "--server",
            "stream",
            "--stateless",
            "--",
            *STDIO,
        ]
        found["npm mcp-proxy", "stdio", ERAS[0]] = _peer(
            command, f"http://127.0.0.1:{port}/mcp", ERAS[0]
        )
    python_proxy = ROOT / ".peers" / "bin" / "mcp-proxy"
    if python_proxy.exists():
        port = free_port()
        command = [
            str(python_proxy),
            "--port",
            str(port),
            "--stateless",
            "--pass-environment",
            "--",
            *STDIO,
        ]
        found["PyPI mcp-proxy", "stdio", ERAS[0]] = _peer(
            command, f"http://127.0.0.1:{port}/mcp", ERAS[0]
        )
    return found


def _peer(command: Sequence[str], url: str, era: str) -> float:
    with running(command) as pid:
        wait_ready(url, era, "echo")
        return min(measure(url, era, "echo", pid, connections=16).cpu for _ in range(ROUNDS))
