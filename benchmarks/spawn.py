"""How long until a new worker has answered: a supervised task, and a process in each way it can come to be.

A process is measured from the wish for a worker to the answer to its first call, through the worker of the
`process` agent: started, described, called. Beside it `subprocess.Popen` starts the same program and has the
same two answers from it, in turns.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import trio
from msgspec import Raw

from benchmarks.report import Figure, Peer
from flow_agents.process import ProcessConfig, ProcessSource
from flow_agents.process.spawning import Circumstances, Spawn, from_command, open_templates
from flowcore import Envelope, open_flow
from flowcore.agents import Catalog
from flowcore.envelope import Principal
from flowcore.processes import open_launcher
from flowcore.supervise import Child, open_supervisor

TASKS = 5000
ROUNDS = 300
SLOW_ROUNDS = 100
WARM = 40
"""Processes of a warm pool at a time."""
POOLS = 5
ROOT = pathlib.Path(__file__).parents[1]
BARE = [sys.executable, "-I", "-S", "examples/process_agent.py"]
IMPORTING = [sys.executable, "-m", "benchmarks.importing_agent"]
GIVEN = Circumstances(env={}, cwd=ROOT, close_grace=1.0, term_grace=1.0)
ARGUMENTS = {"a": 1, "b": 2}
ASKED = (("describe", {"protocol": 1}), ("call", {"tool": "add", "arguments": ARGUMENTS}))


def run() -> list[Figure]:
    """Percentiles of each way; the bars are NFR5's, of agents that are to be there fast."""
    tasks = trio.run(_tasks)
    figures = _figures("task child", tasks, bar=1.0)
    bare, bare_peer = trio.run(_commands, BARE, ROUNDS)
    figures += _figures("bare Python program, from its command", bare, bare_peer, bar=50.0)
    slow, slow_peer = trio.run(_commands, IMPORTING, SLOW_ROUNDS)
    figures += _figures("Python program with imports, from its command", slow, slow_peer)
    forked = trio.run(_forks, "examples/process_agent.py:main", BARE[:3])
    figures += _figures("bare Python program, from a template", forked, bare_peer, bar=50.0)
    forked = trio.run(_forks, "benchmarks.importing_agent:main", IMPORTING[:1])
    figures += _figures("Python program with imports, from a template", forked, slow_peer, bar=50.0)
    pooled = [one for _ in range(POOLS) for one in trio.run(_pooled)]
    figures += _figures("bare Python program, from a warm pool", pooled, bare_peer, bar=50.0)
    return figures


def setup() -> dict[str, str]:
    """How it is measured."""
    return {
        "task": f"{TASKS} children of one supervisor, each from the wish to `started`",
        "command": f"{ROUNDS} times in turn with subprocess.Popen of the same program"
        f" ({SLOW_ROUNDS} with imports), from the wish to the answer to its first call",
        "template": f"{ROUNDS} forks of one template, likewise",
        "warm pool": f"{POOLS} times pool.min = {WARM}, each process's first call, through the whole flow",
        "imports": "asyncio, email, sqlite3, msgspec, trio",
    }


def _figures(
    name: str, ours: list[float], theirs: list[float] | None = None, bar: float | None = None
) -> list[Figure]:
    return [
        Figure(
            name=f"{name}, {label}",
            value=_at(ours, share) * 1e3,
            unit="ms",
            bar=bar if share == 0.99 else None,
            peers={} if theirs is None else {"subprocess.Popen": _peer(ours, theirs, share)},
        )
        for label, share in (("p50", 0.5), ("p99", 0.99))
    ]


def _peer(ours: list[float], theirs: list[float], share: float) -> Peer:
    value = _at(theirs, share)
    return Peer(round(value * 1e3, 6), round(value / _at(ours, share), 3))


def _at(values: list[float], share: float) -> float:
    return median(values) if share == 0.5 else sorted(values)[int(share * (len(values) - 1))]


# ---- ours


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


class _Port:
    """What the core gives a worker; nobody listens here."""

    agent = "sums"
    worker = "sums/1"

    def announce(self, catalog: Catalog) -> None:
        del catalog

    def notify(self, method: str, params: Raw, *, audience: Principal | None = None) -> None:
        del method, params, audience

    def stderr(self, line: str) -> None:
        print(line, file=sys.stderr)

    def left_behind(self, what: str, *, retire: bool) -> Callable[[], None]:
        raise NotImplementedError  # a process leaves nothing behind

    def late(self) -> None:
        raise NotImplementedError  # nor is a call given up


async def _once(spawn: Spawn) -> float:
    source = ProcessSource(ProcessConfig(command=("unused",)), spawn)
    began = time.perf_counter()
    async with source.open_worker(_Port()) as worker:
        params = {"arguments": Raw(json.dumps(ARGUMENTS).encode())}
        deadline = trio.current_time() + 60
        reply = await worker.call(
            Envelope(agent="sums", name="add", params=params, deadline=deadline)
        )
        took = time.perf_counter() - began
    assert b'"sum": 3' in bytes(reply.result)
    return took


async def _commands(command: list[str], rounds: int) -> tuple[list[float], list[float]]:
    ours, theirs = [], []
    async with open_launcher() as launcher:
        spawn = from_command(launcher, command, GIVEN)
        for _ in range(rounds):
            ours.append(await _once(spawn))
            theirs.append(_popen(command))
    return ours, theirs


async def _forks(target: str, python: list[str]) -> list[float]:
    async with open_launcher() as launcher:
        async with open_templates(launcher, target, python, GIVEN) as spawn:
            await _once(spawn)  # which opens the template
            return [await _once(spawn) for _ in range(ROUNDS)]


async def _pooled() -> list[float]:
    """The first call of each process of a pool that was warm when it came."""
    agent = {
        "type": "process",
        "command": BARE,
        "cwd": str(ROOT),
        "balancer": "round_robin",
        "pool": {"min": WARM, "max": WARM},
    }
    times = []
    async with open_flow({"agent": {"sums": agent}}) as flow:
        await flow.wait_settled()
        while flow.agent("sums").status()["pool"]["free"] < WARM:
            await trio.lowlevel.checkpoint()
        for _ in range(WARM):
            began = time.perf_counter()
            await flow.call("sums.add", ARGUMENTS)
            times.append(time.perf_counter() - began)
    return times


# ---- the peer


def _popen(command: list[str]) -> float:
    """The same program, started by the standard library, up to the same answer."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        for method, params in ASKED:
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
            answer = stdout.readline()
        assert b'"sum": 3' in answer
        took = time.perf_counter() - began
        process.kill()
    return took
