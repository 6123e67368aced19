"""How long until a new worker works: a supervised task, and a process up to its first answer."""

from __future__ import annotations

import pathlib
import sys
import time
from typing import Any

import trio

from benchmarks.report import Figure
from flowcore.processes import open_launcher
from flowcore.supervise import Child, open_supervisor

TASKS = 3000
PROCESSES = 200
AGENT = pathlib.Path(__file__).parents[1] / "examples" / "process_agent.py"


def run() -> list[Figure]:
    """Percentiles of both."""
    tasks = sorted(trio.run(_tasks))
    processes = sorted(trio.run(_processes))
    return [
        Figure(name="task child, p50", value=_at(tasks, 0.5) * 1e3, unit="ms"),
        Figure(name="task child, p99", value=_at(tasks, 0.99) * 1e3, unit="ms", bar=1.0),
        Figure(name="process to its first answer, p50", value=_at(processes, 0.5) * 1e3, unit="ms"),
        Figure(
            name="process to its first answer, p99",
            value=_at(processes, 0.99) * 1e3,
            unit="ms",
            bar=50.0,
        ),
    ]


def _at(values: list[float], share: float) -> float:
    return values[int(share * (len(values) - 1))]


async def _tasks() -> list[float]:
    async def child(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        await stop.wait()

    times = []
    async with open_supervisor("spawn", dynamic=True) as supervisor:
        for number in range(TASKS):
            began = time.perf_counter()
            await supervisor.start_child(Child(name=str(number), run=child))
            times.append(time.perf_counter() - began)
    return times


async def _processes() -> list[float]:
    """A Python program without site packages: start it, ask it, have its answer."""
    times = []
    async with open_launcher() as launcher:
        for _ in range(PROCESSES):
            began = time.perf_counter()
            command = [sys.executable, "-I", "-S", str(AGENT)]
            async with launcher.open_process(command, close_grace=1.0) as process:
                await process.send_line(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
                async for _line in process.lines():
                    break
                times.append(time.perf_counter() - began)
    return times
