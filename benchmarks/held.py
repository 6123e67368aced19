"""How long exporting holds the event loop: each step of the tasks of a node with 1,000 agents.

8,192 spans and all its metrics (tens of thousands of points) go to a collector that takes them, to a dead
one, and to one that answers after a second; besides, the same node with nothing to export. A step is what a
task does between two checkpoints: nobody else has a turn meanwhile. Its processor time is its own;
the wall's has in it what the machine, and threads that hold the interpreter, took from it.
"""

from __future__ import annotations

import gc
import pathlib
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from benchmarks.report import Figure
from benchmarks.servers import ON_CLIENTS_CPU, free_port, running
from flowcore import Flow, open_flow
from flowcore.telemetry import SpanKind, SpanRecord

AGENTS = 1000
SPANS = 8192
SECONDS = 4.0
"""How long it is looked at, for each collector."""
BAR = 20.0


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """The longest step, in seconds, by the wall and by the processor; and whose it was."""

    wall: float = 0.0
    processor: float = 0.0
    whose: str = ""
    _began: float = 0.0
    _spent: float = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task has its turn."""
        del task
        self._spent = time.thread_time()
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It has given it away."""
        if not self._began:
            return  # it was under way when this began to look
        took = time.perf_counter() - self._began
        spent = time.thread_time() - self._spent
        self.processor = max(self.processor, spent)
        if took > self.wall:
            self.wall, self.whose = took, task.name


def figures() -> list[Figure]:
    """The longest steps, for each collector."""
    found: list[Figure] = []
    for name, where in (
        ("nothing to export", None),
        ("a collector that takes all", _taking),
        ("a dead collector", _dead),
        ("a slow collector", _slow),
    ):
        if where is None:
            steps = trio.run(_held, "")
        else:
            with where() as url:
                steps = trio.run(_held, url)
        bar = None if where is None else BAR
        found += [
            Figure(
                name=f"held by one step, longest, {name}",
                value=1000 * steps.wall,
                unit="ms",
                bar=bar,
            ),
            Figure(
                name=f"processor time of one, {name}",
                value=1000 * steps.processor,
                unit="ms",
                bar=bar,
            ),
        ]
        print(f"{name}: the longest step was of {steps.whose}", file=sys.stderr)
    return found


async def _held(url: str) -> Steps:
    """The longest steps of a node that exports to this collector; "" is none."""
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name) / "agent.py"
        path.write_text(
            "from flowcore.native import tool\n\n@tool\ndef echo(text: str) -> str:\n    return text\n"
        )
        agent = {"type": "python", "target": str(path), "pool": {"min": 0}}
        config: dict[str, Any] = {
            "telemetry": {"sampling": 1.0},
            "agent": {f"a{number:04}": agent for number in range(AGENTS)},
        }
        if url:
            signals = ["traces", "metrics"]
            config["exporter"] = {
                "to": {"type": "otlp", "endpoint": url, "signals": signals, "interval": "1s"}
            }
        async with open_flow(config) as flow:
            await flow.wait_settled()
            gc.collect()
            return await _watched(flow)


async def _watched(flow: Flow) -> Steps:
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    ends = trio.current_time() + SECONDS
    number = 0
    while trio.current_time() < ends:
        for one in flow.telemetry.exporters.values():
            while len(one.spans) < SPANS and number < 10 * SPANS:
                one.spans.put([span(number + more) for more in range(64)])
                number += 64
                await trio.lowlevel.checkpoint()
        await trio.sleep(0.002)
    trio.lowlevel.remove_instrument(steps)
    return steps


def span(number: int) -> SpanRecord:
    """One of a call, another for each number."""
    return SpanRecord(
        name=f"tools/call tool{number % 50}",
        kind=SpanKind.SERVER,
        trace_id=f"{number + 1:032x}",
        span_id=f"{number + 1:016x}",
        start=time.time_ns(),
        end=time.time_ns(),
        attributes={
            "mcp.method.name": "tools/call",
            "gen_ai.tool.name": f"tool{number % 50}",
            "gen_ai.operation.name": "execute_tool",
            "flowcore.request.id": f"{number:036}",
            "flowcore.queue.wait": number / 7,
            "client.address": "127.0.0.1",
            "network.transport": "tcp",
        },
    )


@contextmanager
def _taking(*more: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.collector_program", str(port), *more]
    with running(command, pin=ON_CLIENTS_CPU):
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _slow() -> Iterator[str]:
    with _taking("1.0") as url:
        yield url


@contextmanager
def _dead() -> Iterator[str]:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening: refused
        yield f"http://127.0.0.1:{nobody.getsockname()[1]}"
