"""What a write costs that liars cannot undo: bft beside as many nodes of raft, and three of raft, in one run.

`FLOW_BFT_SECONDS` says how long each load lasts (5), `FLOW_BFT_CLIENTS` how many clients there are (1,16,64),
`FLOW_BFT_NODES` how many voters (4,7).
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator

import attrs
import trio
from nacl.signing import SigningKey

from benchmarks.clusters import OURS, Group, fsync_seconds
from benchmarks.report import Figure
from benchmarks.servers import ROOT, cpu_seconds, free_port
from flow_consensus.bft import faults, quorum
from flowcore.certs import CertFolder, Kind, Wanted

RAFT, BFT = "raft", "bft"
FEWEST = 3
"""Nodes of raft that tolerate the crash of one: what it is run with where nobody lies."""
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")


@attrs.frozen
class Load:
    """What so many clients came to."""

    p50: float
    """ms"""
    p99: float
    rate: float
    """Acknowledged writes a second."""
    cpu: float
    """CPU time of all nodes for each write, in µs."""


Found = dict[tuple[str, int], dict[int, Load]]
"""By engine and how many nodes, and by how many clients."""


def run() -> list[Figure]:
    """The figures."""
    seconds = float(os.environ.get("FLOW_BFT_SECONDS", "5"))
    clients = _numbers("FLOW_BFT_CLIENTS", "1,16,64")
    sizes = _numbers("FLOW_BFT_NODES", "4,7")
    found: Found = {}
    wanted = [(RAFT, FEWEST), *((kind, size) for size in sizes for kind in (RAFT, BFT))]
    for kind, size in wanted:
        with cluster(kind, size) as made:
            found[kind, size] = {number: _load(made, number, seconds) for number in clients}
    figures = [one for number in clients for one in _figures(number, sizes, found)]
    return figures + _floor(sizes)


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "nodes": "all on this machine, a cluster at a time; sqlite with synchronous = FULL, mutual TLS"
        " 1.3 between nodes; a write is a command that the state of the node that was asked has applied",
        "clients": "one process; each has a connection of HTTP/1.1 to the leader, and writes 256 bytes under"
        " one of 100 keys of its own, one after the other",
        "raft": "the same nodes with another engine, in the same run, a cluster after the other; the bar is"
        " bft's p50 over that of as many nodes of raft, for all of them share this machine; beside it, over"
        " that of three nodes",
        "floor": "the signatures of the shortest way of one command: 5 made, and those of"
        " the request, the proposal and two quorums checked; and three appends with fdatasync",
    }


def _numbers(name: str, default: str) -> list[int]:
    return [int(one) for one in os.environ.get(name, default).split(",")]


@contextlib.contextmanager
def cluster(kind: str, size: int) -> Generator[Group]:
    """So many nodes of raft, or of bft, started; they are ended with the block."""
    names = NAMES[:size]
    with tempfile.TemporaryDirectory(prefix="flow-bft") as name:
        folder = pathlib.Path(name)
        leaves = [
            Wanted(kind=Kind.NODE, name=one, algorithm="ed25519", hosts=("127.0.0.1",))
            for one in names
        ]
        CertFolder(folder).init(leaves, datetime.datetime.now(datetime.UTC))
        ports = {one: free_port() for one in names}
        links = {one: free_port() for one in names}
        program = [sys.executable, "-m", f"benchmarks.{kind}_node", str(folder)]
        commands = {
            one: [
                *(*program, str(ports[one]), one, str(links[one])),
                *(f"{other}={links[other]}" for other in names if other != one),
            ]
            for one in names
        }
        made = Group(OURS, commands, ports, folder)
        try:
            for one in names:
                made.start(one)
            trio.run(made.ready)
            yield made
        finally:
            made.close()


def _load(made: Group, clients: int, seconds: float) -> Load:
    port = made.ports[trio.run(made.leader)]
    before = sum(cpu_seconds(node.pid) for node in made.nodes.values())
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.writers", "ours", str(port), str(clients), str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{clients} clients: {done.stderr[-2000:]}")
    took = sorted(json.loads(done.stdout)["took"])
    if not took:
        raise RuntimeError("nothing was acknowledged")
    cpu = sum(cpu_seconds(node.pid) for node in made.nodes.values()) - before
    return Load(
        1e3 * took[len(took) // 2],
        1e3 * took[len(took) * 99 // 100],
        len(took) / seconds,
        1e6 * cpu / len(took),
    )


def _figures(clients: int, sizes: list[int], found: Found) -> list[Figure]:
    """Of so many clients; the bars are the issue's."""
    named = "1 client" if clients == 1 else f"{clients} clients"
    figures = []
    for size in (FEWEST, *(one for one in sizes if one != FEWEST)):
        one, of = found[RAFT, size][clients], f"{named}: raft, {size} nodes"
        figures += [
            Figure(name=f"{of}: p50", value=one.p50, unit="ms"),
            Figure(name=f"{of}: writes", value=one.rate, unit="/s"),
            Figure(name=f"{of}: CPU of all nodes per write", value=one.cpu, unit="µs"),
        ]
    three = found[RAFT, FEWEST][clients].p50
    for size in sizes:
        one, of = found[BFT, size][clients], f"{named}: bft, {size} nodes"
        over = one.p50 / found[RAFT, size][clients].p50
        least = 500.0 if clients == 64 else None
        figures += [
            Figure(name=f"{of}: p50", value=one.p50, unit="ms"),
            Figure(name=f"{of}: p99", value=one.p99, unit="ms"),
            Figure(name=f"{of}: writes", value=one.rate, unit="/s", bar=least, least=True),
            Figure(name=f"{of}: p50 over raft's", value=over, unit="x", bar=5.0),
            Figure(
                name=f"{of}: p50 over that of {FEWEST} nodes of raft",
                value=one.p50 / three,
                unit="x",
            ),
            Figure(name=f"{of}: CPU of all nodes per write", value=one.cpu, unit="µs"),
        ]
    return figures


def _floor(sizes: list[int]) -> list[Figure]:
    """What no such write can be quicker than."""
    key = SigningKey.generate()
    said = bytes(100)
    signed = key.sign(said).signature
    sign = _each(lambda: key.sign(said))
    check = _each(lambda: key.verify_key.verify(said, signed))
    fsync = statistics.median(fsync_seconds())
    figures = [
        Figure(name="floor: one signature made", value=1e6 * sign, unit="µs"),
        Figure(name="floor: one signature checked", value=1e6 * check, unit="µs"),
    ]
    for size in sizes:
        way = 5 * sign + (3 + 2 * (quorum(size) - 1)) * check + 3 * fsync
        figures.append(
            Figure(
                name=f"floor: signatures and fsyncs of one command, {size} nodes (f = {faults(size)})",
                value=1e3 * way,
                unit="ms",
            )
        )
    return figures


def _each(work: object, times: int = 2000) -> float:
    """Seconds of one call: the median of ten rounds."""
    assert callable(work)
    took = []
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(times // 10):
            work()
        took.append((time.perf_counter() - began) / (times // 10))
    return statistics.median(took)
