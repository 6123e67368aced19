"""What tracing costs: throughput with a live collector over none, CPU per call, and what an export holds up.

The same node of four kinds, in turns (A B C D A B C D): not traced; traced, with 10 % sampled for a collector
that is there; traced with all of it sampled; and 10 % for a collector that is dead. Ratios are of the rounds,
so that a change of the machine meets all; and there are several nodes of each kind, for two processes that
do the same differ by up to 5 us a call, as what they use lies in memory otherwise.

A collector runs beside all four, on the CPU of the load. What it takes of that is not the node's, and is
told, so that nobody need wonder whether it is what is measured; what the node spends on putting spans into
bytes and on sending them is its own, and counts. Metrics are counted in all four alike: `enabled` is of
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
import pathlib
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from statistics import median

from benchmarks import held
from benchmarks.contenders import Task, flowserve_config
from benchmarks.load import MODERN, Load, closed_loop, wait_ready
from benchmarks.report import Figure
from benchmarks.servers import ON_CLIENTS_CPU, Server, free_port, running
from flow_exporters.otlp.messages import Messages
from flowcore.certs import CertFolder, Kind, Wanted

NODES = 4
"""Of each kind."""
ROUNDS = 6
SECONDS = 0.5
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
TRACED = """
[telemetry]
sampling = {sampling}

[exporter.collector]
type = "otlp"
endpoint = "http://127.0.0.1:{port}"
signals = ["traces"]
"""
KINDS = {
    "none": "\n[telemetry]\nenabled = false\n",
    "10 %": TRACED.replace("{sampling}", "0.1"),
    "100 %": TRACED.replace("{sampling}", "1.0"),
    "10 %, dead collector": TRACED.replace("{sampling}", "0.1").replace("{port}", "9"),
}


def run() -> list[Figure]:
    """Ratios with their bar, CPU per call, and what is held up."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.collector_program", str(port)]
    figures: list[Figure] = []
    with running(command, pin=ON_CLIENTS_CPU) as collector:
        for case in CASES:
            with _upstream(case) as upstream:
                loads, taken = _measured(case, port, upstream, collector)
            figures += _figures(case, loads)
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
        "configurations": "; ".join(f"{kind}: {text.strip()!r}" for kind, text in KINDS.items()),
        "rounds": f"{ROUNDS} of {SECONDS:g} s with {CONNECTIONS} connections for each of {NODES} nodes of"
        " a kind, in turns; the server on CPU 0, load, upstream and collector on CPU 1",
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


@contextlib.contextmanager
def _node(case: str, kind: str, port: int, upstream: str = "") -> Iterator[tuple[Server, str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder, own = pathlib.Path(name), free_port()
        text = _agent(case, own, upstream, folder) + KINDS[kind].replace("{port}", str(port))
        (folder / "flow.toml").write_text(text)
        ca = str(folder / "certs" / "ca.pem") if "TLS" in case else ""
        program = str(pathlib.Path(sys.executable).parent / "flowserve")
        with running([program, "--config", str(folder / "flow.toml")]) as server:
            url = f"http{'s' if ca else ''}://127.0.0.1:{own}/mcp"
            wait_ready(url, MODERN, "echo.echo", ca)
            yield server, url, ca


def _measured(
    case: str, port: int, upstream: str, collector: Server
) -> tuple[dict[str, list[Load]], float]:
    """What each came to, and which part of its CPU the collector took where 10 % were sampled."""
    loads: dict[str, list[Load]] = {kind: [] for kind in KINDS}
    taken = 0.0
    with contextlib.ExitStack() as stack:
        nodes = [
            (kind, stack.enter_context(_node(case, kind, port, upstream)))
            for _ in range(NODES)
            for kind in KINDS
        ]
        for number in range(ROUNDS + 1):
            for kind, (server, url, ca) in nodes:
                before = collector.cpu()
                load = closed_loop(
                    server,
                    url,
                    MODERN,
                    "echo.echo",
                    connections=CONNECTIONS,
                    seconds=SECONDS,
                    ca=ca,
                )
                if number:  # the first round warms up
                    loads[kind].append(load)
                    taken += collector.cpu() - before if kind == "10 %" else 0.0
    return loads, taken / (NODES * ROUNDS * SECONDS)


def _figures(case: str, loads: dict[str, list[Load]]) -> list[Figure]:
    figures = []
    for kind in KINDS:
        if kind == "none":
            continue
        pairs = list(zip(loads[kind], loads["none"], strict=True))
        figures.append(
            Figure(
                name=f"{case}: throughput, {kind} over none",
                value=median(one.rate / none.rate for one, none in pairs),
                unit="",
                bar=None if kind == "100 %" else 0.95,
                least=True,
            )
        )
        figures.append(
            Figure(
                name=f"{case}: CPU added per call, {kind}",
                value=median(one.cpu - none.cpu for one, none in pairs),
                unit="µs",
            )
        )
    none = loads["none"]
    figures.append(
        Figure(name=f"{case}: CPU per call, none", value=median(x.cpu for x in none), unit="µs")
    )
    return figures


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
