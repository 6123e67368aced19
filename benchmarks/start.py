"""From the start of the process to ready, the size of a node with many agents, and a long tool list."""

from __future__ import annotations

import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

import trio

from benchmarks.report import Figure
from flowcore import open_flow

AGENTS = 1000
STARTS = 5

CONFIG = """
[agent.echo]
type = "python"
target = "benchmarks.agents:echo"
[edge.api]
type = "api"
bind = "127.0.0.1:0"
"""


def run() -> list[Figure]:
    """Seconds to ready by flowserve's own clock, and memory of a node with 1,000 task agents."""
    starts = sorted(_start() for _ in range(STARTS))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = trio.run(_many_agents)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [
        Figure(
            name="process start to ready, median", value=starts[len(starts) // 2], unit="s", bar=2.0
        ),
        Figure(
            name=f"node with {AGENTS} task agents, memory", value=after / 1024, unit="MiB", bar=512
        ),
        Figure(name="memory of one task agent", value=(after - before) / AGENTS, unit="KiB"),
        Figure(name=f"start of {AGENTS} task agents", value=seconds, unit="s"),
    ]


def _start() -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(CONFIG)
        file.flush()
        command = [sys.executable, "-m", "flowcore.cli.flowserve", "--config", file.name]
        root = pathlib.Path(__file__).parents[1]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            assert process.stdout is not None
            for line in process.stdout:
                ready = re.search(r"ready in ([\d.]+) s", line)
                if ready:
                    process.terminate()
                    process.communicate()
                    return float(ready[1])
    raise RuntimeError("flowserve ended before it was ready")


async def _many_agents() -> float:
    agents = {
        f"echo{number}": {
            "type": "python",
            "target": "benchmarks.agents:echo",
        }
        for number in range(AGENTS)
    }
    began = time.perf_counter()
    async with open_flow({"agent": agents}) as flow:
        await flow.wait_settled()
        return time.perf_counter() - began
