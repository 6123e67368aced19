"""What tracing costs: throughput with a live collector over none, CPU per call, and what an export holds up.

One node is reloaded from kind to kind, in turns: not traced; traced, with 10 % sampled for a collector that
is there; traced with all of it sampled. Another goes to and fro between not traced and 10 % for a collector
that is dead. Ratios are of one round of one process, so that a change of the machine meets all of it, and two
processes are never compared: such that do the same differ by up to 5 us a call, as what they use lies in
memory otherwise, which is as much as is measured here. A round is short, for the machine's speed changes from
one moment to the next by much more than that, and there are many; "give or take" is the standard error of
their median. What is exported a moment late is paid by whichever kind comes next, as often by the one as by
the other.

A collector runs beside all of them, on the CPU of the load. What it takes of that is not the node's, and is
told, so that nobody need wonder whether it is what is measured; what the node spends on putting spans into
bytes and on sending them is its own, and counts. Metrics are counted in all kinds alike: `enabled` is of
traces only.

The tool does nothing, so that what is left is flowcore's own work: in the node's own process that is the
dearest case there is. Beside it is what people run: a process agent, an MCP server over stdio and over HTTP,
and clients that come over TLS.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import json
import math
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import attrs

from benchmarks import held
from benchmarks.contenders import Task, flowserve_config
from benchmarks.load import MODERN, Load, steady_loop, wait_ready
from benchmarks.report import Figure
from benchmarks.servers import ON_CLIENTS_CPU, Server, free_port, running
from flow_exporters.otlp.messages import Messages
from flowcore.certs import CertFolder, Kind, Wanted

NODES = 2
"""With each of the collectors."""
ROUNDS = 60
SECONDS = 0.25
WARM = 2
"""Rounds that do not count, before."""
SELDOM = 4
"""All are sampled in one of so many rounds: there is no bar for that."""
CONNECTIONS = 16
CASES = ("in-process", "in-process, TLS", "process", "stdio", "http", "stdio, TLS")
PROCESS = """\
[agent.echo]
type = "process"
command = {command}
pool = {{ min = 1, max = 1, concurrency = 16 }}

[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{port}"
"""
TLS = """
[edge.mcp.tls]
cert = "certs/here.pem"
key = "certs/here.key"
"""
EXPORTER = """
[exporter.collector]
type = "otlp"
endpoint = "http://127.0.0.1:{port}"
signals = ["traces"]
"""
KINDS = {
    "none": "\n[telemetry]\nenabled = false\n",
    "10 %": "\n[telemetry]\nsampling = 0.1\n",
    "100 %": "\n[telemetry]\nsampling = 1.0\n",
}
DEAD = 9
"""The port of a collector that is dead: nobody listens there."""
COLLECTORS = ("", ", dead collector")
"""What is to be said of them."""


def run() -> list[Figure]:
    """Ratios with their bar, CPU per call, and what is held up."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.collector_program", str(port)]
    figures: list[Figure] = []
    with running(command, pin=ON_CLIENTS_CPU) as collector:
        for case in CASES:
            with _upstream(case) as upstream:
                rounds, taken = _measured(case, port, upstream, collector)
            figures += _figures(case, rounds)
            figures.append(
                Figure(
                    name=f"{case}: the collector's share of the load's CPU, 10 %",
                    value=taken,
                    unit="",
                )
            )
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            requests, size = map(int, answer.read().split())
        if not requests:
            raise RuntimeError("nothing came to the collector: what was measured is no export")
    return [
        *figures,
        Figure(name="requests that the collector took", value=requests, unit=""),
        Figure(name="bytes of a request to it", value=size / requests, unit="bytes"),
        _encoding(),
        *held.figures(),
    ]


def setup() -> dict[str, str]:
    """How it is measured."""
    return {
        "configurations": "; ".join(f"{kind}: {text.strip()!r}" for kind, text in KINDS.items())
        + f"; all with {EXPORTER.strip()!r}",
        "rounds": f"{ROUNDS} of {SECONDS:g} s of each kind, in an order drawn by chance, on {CONNECTIONS}"
        f" connections that stay; {NODES} nodes with a collector, and {NODES} with a dead one; the server on"
        " CPU 0, load, upstream and collector on CPU 1",
    }


@contextlib.contextmanager
def _upstream(case: str) -> Iterator[str]:
    """The URL of an upstream, where a case has one over HTTP."""
    if case != "http":
        yield ""
        return
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.upstream", "http", str(port)]
    with running(command, pin=ON_CLIENTS_CPU):
        url = f"http://127.0.0.1:{port}/mcp"
        wait_ready(url, MODERN, "echo")
        yield url


def _agent(case: str, port: int, upstream: str, folder: pathlib.Path) -> str:
    """The configuration of agent and edge."""
    if case == "process":
        command = [*ON_CLIENTS_CPU, sys.executable, "-m", "benchmarks.process_agent"]
        return PROCESS.format(command=json.dumps(command), port=port)
    where = case.removesuffix(", TLS")
    text = flowserve_config(Task(case=where, era=MODERN, port=port, url=upstream, folder=folder))
    if where == case:
        return text
    leaf = Wanted(kind=Kind.NODE, name="here", hosts=("127.0.0.1",), algorithm="p256")
    CertFolder(folder / "certs").init([leaf], datetime.datetime.now(datetime.UTC))
    return text + TLS


@attrs.frozen
class _Node:
    """A node that is reloaded from kind to kind."""

    server: Server
    load: Callable[[float], Load]
    """Calls for so many seconds."""
    config: pathlib.Path
    base: str
    """All of its configuration but `[telemetry]`."""

    def become(self, kind: str) -> None:
        """Be of a kind. Raises RuntimeError if the node does not say within ten seconds that it is."""
        before = self.server.said("reloaded: ")
        self.config.write_text(self.base + KINDS[kind])
        os.kill(self.server.pid, signal.SIGHUP)
        end = time.monotonic() + 10.0
        while self.server.said("reloaded: ") == before:
            if time.monotonic() > end:
                raise RuntimeError(f"the node does not say that it has reloaded to {kind!r}")
            time.sleep(0.001)


@contextlib.contextmanager
def _node(case: str, collector: int, upstream: str = "") -> Iterator[_Node]:
    with tempfile.TemporaryDirectory() as name:
        folder, own = pathlib.Path(name), free_port()
        base = _agent(case, own, upstream, folder) + EXPORTER.format(port=collector)
        config = folder / "flow.toml"
        config.write_text(base + KINDS["none"])
        ca = str(folder / "certs" / "ca.pem") if "TLS" in case else ""
        program = str(pathlib.Path(sys.executable).parent / "flowserve")
        with running([program, "--config", str(config)]) as server:
            url = f"http{'s' if ca else ''}://127.0.0.1:{own}/mcp"
            wait_ready(url, MODERN, "echo.echo", ca)
            with steady_loop(
                server, url, MODERN, "echo.echo", connections=CONNECTIONS, ca=ca
            ) as load:
                yield _Node(server, load, config, base)


Rounds = list[dict[str, Load]]
"""For each round, what each kind came to at one node."""


def _measured(
    case: str, port: int, upstream: str, collector: Server
) -> tuple[dict[str, Rounds], float]:
    """The rounds by what is to be said of the collector; and which part of its CPU the collector took where
    10 % were sampled."""
    rounds: dict[str, Rounds] = {about: [] for about in COLLECTORS}
    taken, chance = 0.0, random.Random(1)
    with contextlib.ExitStack() as stack:
        nodes = [
            (about, stack.enter_context(_node(case, DEAD if about else port, upstream)))
            for _ in range(NODES)
            for about in COLLECTORS
        ]
        for number in range(-WARM, ROUNDS):
            for about, node in nodes:
                kinds = [*KINDS] if not about and not number % SELDOM else ["none", "10 %"]
                loads = {}
                for kind in chance.sample(kinds, len(kinds)):
                    node.become(kind)
                    before = collector.cpu()
                    loads[kind] = node.load(SECONDS)
                    if number >= 0 and not about and kind == "10 %":
                        taken += collector.cpu() - before
                if number >= 0:
                    rounds[about].append(loads)
    return rounds, taken / (NODES * ROUNDS * SECONDS)


def _figures(case: str, rounds: dict[str, Rounds]) -> list[Figure]:
    figures = []
    for about, of in rounds.items():
        for kind in ("10 %",) if about else ("10 %", "100 %"):
            pairs = [(loads[kind], loads["none"]) for loads in of if kind in loads]
            name = f"{case}: throughput, {kind}{about} over none"
            ratios = [one.rate / none.rate for one, none in pairs]
            bar = None if kind == "100 %" else 0.95
            figures += [
                Figure(name=name, value=median(ratios), unit="", bar=bar, least=True),
                Figure(name=f"{name}, give or take", value=_error(ratios), unit=""),
            ]
            figures.append(
                Figure(
                    name=f"{case}: CPU added per call, {kind}{about}",
                    value=median(one.cpu - none.cpu for one, none in pairs),
                    unit="µs",
                )
            )
    none = [loads["none"].cpu for of in rounds.values() for loads in of]
    figures.append(Figure(name=f"{case}: CPU per call, none", value=median(none), unit="µs"))
    return figures


def _error(values: Sequence[float]) -> float:
    """The standard error of the median, from the median of what they are away from it: for a normal
    distribution (Kendall, Stuart, "The Advanced Theory of Statistics", volume 1, 1977, section 14.11)."""
    middle = median(values)
    deviation = 1.4826 * median(abs(one - middle) for one in values)
    return 1.2533 * deviation / math.sqrt(len(values))


def _encoding() -> Figure:
    """The processor time of putting a batch of 64 spans into bytes, the longest of many times."""
    spans = [held.span(number) for number in range(64)]
    took = []
    gc.collect()
    for _ in range(500):
        began = time.thread_time()
        Messages({"service.name": "flowcore"}).spans(spans)  # anew: nothing is remembered
        took.append(time.thread_time() - began)
    return Figure(
        name="putting 64 spans into bytes, longest",
        value=max(took) * 1000,
        unit="ms",
        bar=20.0,
    )
