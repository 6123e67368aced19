"""What a write costs that a majority has on disk: three nodes of flowcore beside those of etcd and PySyncObj.

`FLOW_COMMIT_SECONDS` says how long each load lasts (5), `FLOW_COMMIT_CLIENTS` how many clients there are
(1,16,64,256), `FLOW_COMMIT_ROUNDS` how often all of them have their turn (2): what else the machine has to do
changes meanwhile, and is to meet all alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable

import attrs
import trio

from benchmarks.clusters import (
    ETCD,
    FAR,
    OURS,
    OVER_ETCD,
    PYSYNCOBJ,
    Group,
    ask,
    fsync_seconds,
    group,
    missing,
)
from benchmarks.report import Figure, Peer, absent
from benchmarks.servers import ROOT, cpu_seconds
from benchmarks.writers import request

PEERS = (ETCD, PYSYNCOBJ, OVER_ETCD)
_FAR_CLIENTS = 16
IN_PROCESS = "propose, in process"


@attrs.frozen
class Load:
    """What so many clients came to."""

    p50: float
    """ms"""
    p99: float
    rate: float
    """Acknowledged writes a second."""
    cpu: float
    """CPU time of the three nodes for each write, in µs; 0 where it was not taken."""
    refused: float


def run() -> list[Figure]:
    """The figures."""
    seconds = float(os.environ.get("FLOW_COMMIT_SECONDS", "5"))
    clients = [int(one) for one in os.environ.get("FLOW_COMMIT_CLIENTS", "1,16,64,256").split(",")]
    rounds = int(os.environ.get("FLOW_COMMIT_ROUNDS", "2"))
    loads: dict[str, dict[int, list[Load]]] = {}
    for _ in range(rounds):
        for who in (OURS, *PEERS):
            if missing(who):
                continue
            with group(who) as made:
                for number in clients:
                    _note(loads, who, number, _load(made, number, seconds))
                    if who == OURS:
                        _note(loads, IN_PROCESS, number, _proposed(made, number, seconds))
    found = {
        who: {number: _middle(several) for number, several in by.items()}
        for who, by in loads.items()
    }
    figures = [one for number in clients for one in _figures(number, found)]
    return figures + _far(seconds) + _floor()


def _note(loads: dict[str, dict[int, list[Load]]], who: str, clients: int, load: Load) -> None:
    loads.setdefault(who, {}).setdefault(clients, []).append(load)


def _middle(loads: list[Load]) -> Load:
    """The medians of several."""
    fields = (field.name for field in attrs.fields(Load))
    return Load(**{name: statistics.median(getattr(one, name) for one in loads) for name in fields})


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "nodes": "three of a kind on this machine, one after the other kind, in rounds whose medians count;"
        " what they keep is on the disk of the folder for temporary files",
        OURS: "type = 'raft' over sqlite, synchronous = FULL; mutual TLS 1.3 between nodes; a write is a"
        " command that the state has applied",
        ETCD: f"{_version('etcd')}, Debian's; mutual TLS between nodes; puts by its JSON gateway",
        OVER_ETCD: "type = 'etcd' over three such etcd without TLS towards them; else as flowcore",
        FAR: "what a node sends to another comes 75 ms later, 50 more or less, evenly, by the guard `faults`;"
        " election = 1.5 s, heartbeat = 0.3 s",
        PYSYNCOBJ: "0.3.17 with its journal, one msync for each entry, as it makes none itself; no TLS",
        "clients": "one process; each has a connection of HTTP/1.1 to the leader, and writes 256 bytes under"
        " one of 100 keys of its own, one after the other",
        IN_PROCESS: "the leader's own process proposes, without HTTP and without waiting for the state",
        "floor": "256 bytes appended with fdatasync; and the same clients' request to a server that does"
        " nothing",
    }


def _load(made: Group, clients: int, seconds: float) -> Load:
    port = made.ports[trio.run(made.leader)]
    words = [made.kind, str(port), str(clients), str(seconds)]
    before = _cpu(made)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.writers", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{made.who}, {clients} clients: {done.stderr[-2000:]}")
    said = json.loads(done.stdout)
    return _summed(said["took"], seconds, _cpu(made) - before, said["refused"])


def _proposed(made: Group, clients: int, seconds: float) -> Load:
    port = made.ports[trio.run(made.leader)]
    body = {"clients": clients, "seconds": seconds}

    async def asked() -> bytes:
        return await ask(port, request("POST", "/propose", body), seconds + 30)

    return _summed(json.loads(trio.run(asked)), seconds, 0.0, 0)


def _summed(took: list[float], seconds: float, cpu: float, refused: int) -> Load:
    if not took:
        raise RuntimeError("nothing was acknowledged")
    took = sorted(took)
    half, most = took[len(took) // 2], took[len(took) * 99 // 100]
    rate, each = len(took) / seconds, 1e6 * cpu / len(took)
    return Load(1e3 * half, 1e3 * most, rate, each, refused)


def _cpu(made: Group) -> float:
    return sum(cpu_seconds(pid) for pid in made.pids)


def _figures(clients: int, found: dict[str, dict[int, Load]]) -> list[Figure]:
    """Of so many clients; bars are ratios, as machines differ."""
    named = "1 client" if clients == 1 else f"{clients} clients"
    ours = found[OURS][clients]
    figures = [
        _figure(f"{named}: p50", "ms", clients, found, lambda one: one.p50),
        _figure(f"{named}: p99", "ms", clients, found, lambda one: one.p99),
        _figure(f"{named}: writes", "/s", clients, found, lambda one: one.rate),
        _figure(f"{named}: CPU of all nodes per write", "µs", clients, found, lambda one: one.cpu),
        Figure(name=f"{named}: {IN_PROCESS}: p50", value=found[IN_PROCESS][clients].p50, unit="ms"),
        Figure(name=f"{named}: {IN_PROCESS}", value=found[IN_PROCESS][clients].rate, unit="/s"),
    ]
    if clients == 16:
        figures[1] = attrs.evolve(figures[1], bar=20.0)
    etcd, other = found.get(ETCD), found.get(PYSYNCOBJ)
    figures.append(
        Figure(
            name=f"{named}: p50 over etcd's",
            value=ours.p50 / etcd[clients].p50 if etcd else None,
            unit="x",
            bar=2.0,
        )
    )
    if clients == 64:
        figures += [
            Figure(
                name=f"{named}: writes over {who}'s",
                value=ours.rate / their[clients].rate if their else None,
                unit="x",
                bar=bar,
                least=True,
            )
            for who, their, bar in ((ETCD, etcd, 0.5), (PYSYNCOBJ, other, 5.0))
        ]
    return figures


def _far(seconds: float) -> list[Figure]:
    """The same over links that take their time."""
    with group(FAR) as made:
        load = _load(made, _FAR_CLIENTS, 2 * seconds)
    named = f"links of 75±50 ms, {_FAR_CLIENTS} clients"
    return [
        Figure(name=f"{named}: p50", value=load.p50, unit="ms"),
        Figure(name=f"{named}: p99", value=load.p99, unit="ms", bar=500.0),
        Figure(name=f"{named}: writes", value=load.rate, unit="/s"),
    ]


def _figure(
    name: str,
    unit: str,
    clients: int,
    found: dict[str, dict[int, Load]],
    value: Callable[[Load], float],
) -> Figure:
    ours = value(found[OURS][clients])
    peers = {
        who: Peer(round(value(found[who][clients]), 6), value(found[who][clients]) / ours)
        if who in found
        else absent(missing(who))
        for who in PEERS
    }
    return Figure(name=name, value=ours, unit=unit, peers=peers)


def _floor() -> list[Figure]:
    """What no such write can be quicker than."""
    return [
        Figure(
            name="floor: one fsync, p50", value=1e3 * statistics.median(fsync_seconds()), unit="ms"
        ),
        Figure(name="floor: one round trip, p50", value=_round_trip(), unit="ms"),
    ]


def _round_trip() -> float:
    """Of a request to a server in another process that only answers, in ms."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.writers", "serve"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.writers", "ours", port, "1", "1"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            server.kill()
    took: list[float] = json.loads(done.stdout)["took"]
    return 1e3 * statistics.median(took)


def _version(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return done.stdout.partition("\n")[0]
