"""From the start of the process to ready, the size of a node with many agents, and a long tool list."""

from __future__ import annotations

import contextlib
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator

from benchmarks.load import ERAS, closed_loop, wait_ready
from benchmarks.report import Figure
from benchmarks.servers import ROOT, Server, free_port

AGENTS = 1000
STARTS = 5
ROUNDS = 3

AGENT = """
[agent.{name}]
type = "python"
target = "benchmarks.agents:echo"
"""
MANY_TOOLS = """
[agent.many]
type = "python"
target = "benchmarks.many"

[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{port}"
"""


def run() -> list[Figure]:
    """Seconds to ready as seen from outside, memory of a node with 1,000 task agents, CPU of a long list."""
    starts = [_seconds_to_ready(quick_start_alone()) for _ in range(STARTS)]
    one, _ = _node_of(1)
    many, seconds = _node_of(AGENTS)
    return [
        Figure(
            name="quick start without upstream servers: process start to ready",
            value=statistics.median(starts),
            unit="s",
            bar=2.0,
        ),
        Figure(name=f"node with {AGENTS} task agents: memory", value=many, unit="MiB", bar=512),
        Figure(name="node with 1 task agent: memory", value=one, unit="MiB"),
        Figure(name="one task agent: memory", value=(many - one) / (AGENTS - 1) * 1024, unit="KiB"),
        Figure(name=f"node with {AGENTS} task agents: start to ready", value=seconds, unit="s"),
        *_long_lists(),
    ]


def setup() -> dict[str, str]:
    """How it is measured."""
    return {
        "quick start": "configs/quickstart.toml without its MCP agents, on free ports",
        "memory": "resident set of the flowserve process, once all agents are idle",
        "tools/list": "CPU of the server process per list, 4 connections, the list of a python agent",
    }


def quick_start_alone() -> str:
    """The quick start's configuration without upstream servers, on free ports."""
    text = (ROOT / "configs" / "quickstart.toml").read_text()
    sections = re.split(r"(?m)^(?=\[)", text)
    kept = [one for one in sections if not (one.startswith("[agent.") and 'type = "mcp"' in one)]
    text = "".join(kept).replace("../examples/", f"{ROOT}/examples/")
    return re.sub(r'bind = "127\.0\.0\.1:\d+"', 'bind = "127.0.0.1:0"', text)


def _seconds_to_ready(config: str) -> float:
    with node(config) as (_, seconds):
        return seconds


def _node_of(agents: int) -> tuple[float, float]:
    """(MiB, seconds from start to ready) of a node with so many task agents."""
    sections = [AGENT.format(name=f"echo{number}") for number in range(agents)]
    with node("".join(sections)) as (server, seconds):
        server.wait_idle()
        status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert resident is not None
        return int(resident[1]) / 1024, seconds


def _long_lists() -> list[Figure]:
    """CPU of one `tools/list` of a thousand tools."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    figures = []
    with node(MANY_TOOLS.format(port=port)) as (server, _):
        for era in ERAS:
            wait_ready(url, era, "many.tool_0000")
            loads = [closed_loop(server, url, era, "", connections=4) for _ in range(ROUNDS + 1)]
            cpu = statistics.median(load.cpu for load in loads[1:])  # the first warms
            name = f"tools/list of 1,000 tools, {era}: CPU"
            figures.append(Figure(name=name, value=cpu / 1000, unit="ms", bar=2.0))
    return figures


@contextlib.contextmanager
def node(config: str) -> Generator[tuple[Server, float]]:
    """A flowserve that is ready, and the seconds that took from the start of its process."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config)
        file.flush()
        command = [sys.executable, "-m", "flowcore.cli.flowserve", "--config", file.name]
        began = time.perf_counter()
        with subprocess.Popen(
            [*command, "--log-level", "error"], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            try:
                assert process.stdout is not None
                if not any("ready in" in line for line in process.stdout):
                    raise RuntimeError("flowserve ended before it was ready")
                yield Server(process.pid), time.perf_counter() - began
            finally:
                process.terminate()
                process.communicate()
