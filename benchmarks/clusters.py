"""Three nodes that agree, as processes: flowcore's, etcd's, PySyncObj's; behind HTTP, each with its fsync."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence

import attrs
import trio

from benchmarks.contenders import PEERS, PROGRAMS
from benchmarks.servers import ROOT, free_port
from benchmarks.writers import Refused, connected, request, write
from flowcore.certs import CertFolder, Kind, Wanted

OURS, ETCD, PYSYNCOBJ = "flowcore", "etcd", "PySyncObj"
OVER_ETCD, FAR = "flowcore over etcd", "flowcore, links of 75±50 ms"
NAMES = ("alpha", "beta", "gamma")
KINDS = {OURS: "ours", OVER_ETCD: "ours", FAR: "ours", ETCD: "etcd", PYSYNCOBJ: "pysyncobj"}
_PYTHON = PEERS / "consensus" / "bin" / "python"
_LONG = 60.0
Nodes = tuple[dict[str, list[str]], dict[str, int]]
"""Commands and ports of HTTP, by name."""


@attrs.define(eq=False)
class Group:
    """Three nodes of one kind."""

    who: str
    commands: dict[str, list[str]]
    ports: dict[str, int]
    """Of their HTTP."""
    folder: pathlib.Path
    nodes: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)
    beneath: Group | None = None
    """What they stand on."""

    @property
    def pids(self) -> list[int]:
        """All processes, those beneath included."""
        mine = [node.pid for node in self.nodes.values()]
        return mine if self.beneath is None else mine + self.beneath.pids

    @property
    def kind(self) -> str:
        """How a write to it looks, for `writers`."""
        return KINDS[self.who]

    def start(self, name: str) -> None:
        """Start a node, or start it again."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.nodes[name] = subprocess.Popen(
                self.commands[name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT
            )

    def kill(self, name: str) -> None:
        """End a node as a crash does."""
        self.nodes[name].send_signal(signal.SIGKILL)
        self.nodes[name].wait()

    def close(self) -> None:
        """End all that are left."""
        for node in self.nodes.values():
            if node.poll() is None:
                node.kill()
        for node in self.nodes.values():
            node.wait()

    async def put(self, name: str, key: str) -> None:
        """One write, acknowledged. Raises OSError, Refused."""
        await ask(self.ports[name], write(self.kind, key))

    async def leader(self) -> str:
        """Who leads, by what most of them say. Raises RuntimeError if nobody does for long.

        Of those that stand on others, any one.
        """
        if self.beneath is not None:
            return NAMES[0]
        ends = trio.current_time() + _LONG
        while trio.current_time() < ends:
            for name, node in self.nodes.items():
                if node.poll() is None:
                    with contextlib.suppress(OSError, Refused):
                        found = await self._leader_by(name)
                        if found and self.nodes[found].poll() is None:
                            return found
            await trio.sleep(0.1)
        logs = "".join((self.folder / f"{name}.log").read_text()[-1000:] for name in self.nodes)
        raise RuntimeError(f"{self.who} has no leader:\n{logs}")

    async def _leader_by(self, name: str) -> str:
        if self.who != ETCD:
            said = json.loads(await ask(self.ports[name], request("GET", "/leader")))["leader"]
            names = {f"127.0.0.1:{_link(self.commands[one])}": one for one in self.nodes}
            return names.get(said, "") if self.who == PYSYNCOBJ else said
        said = json.loads(
            await ask(self.ports[name], request("POST", "/v3/maintenance/status", {}))
        )
        return name if said["leader"] == said["header"]["member_id"] else ""

    async def ready(self) -> None:
        """Wait until each of them takes a write, or has it done by the leader."""
        for name in self.nodes:
            with trio.fail_after(_LONG):
                while True:
                    try:
                        await self.put(name, "ready")
                        break
                    except (OSError, Refused):
                        await trio.sleep(0.05)


def _link(command: Sequence[str]) -> str:
    """The port of a PySyncObj node for the others, from its command."""
    return next((word.partition(":")[2] for word in command if word.startswith("127.0.0.1:")), "")


async def ask(port: int, data: bytes, seconds: float = 10.0) -> bytes:
    """The answer to one request over a connection of its own. Raises OSError, Refused."""
    with trio.move_on_after(seconds):
        try:
            async with connected(port) as connection:
                return await connection.ask(data)
        except trio.BrokenResourceError as error:
            raise ConnectionError(str(error)) from error
    raise TimeoutError(f"port {port} does not answer")


def _ours(folder: pathlib.Path) -> Nodes:
    _certificates(folder, "ed25519")
    ports = {name: free_port() for name in NAMES}
    links = {name: free_port() for name in NAMES}
    program = [sys.executable, "-m", "benchmarks.raft_node", str(folder)]
    commands = {
        name: [
            *(*program, str(ports[name]), name, str(links[name])),
            *(f"{other}={links[other]}" for other in NAMES if other != name),
        ]
        for name in NAMES
    }
    return commands, ports


def _far(folder: pathlib.Path) -> Nodes:
    """As ours; what a node sends to others comes 25 to 125 ms later. Elections have the time that takes."""
    late = {"fault": "link_latency", "delay": "75ms", "jitter": "50ms", "way": "out"}
    settings = {
        "consensus": {
            **{"type": "raft", "voters": sorted(NAMES), "election": "1500ms"},
            **{"heartbeat": "300ms", "patience": "10s"},
        },
        "guard": {
            "rehearsal": {
                "type": "faults",
                "experiments": {"far": {**late, "duration": "1h"}},
                "start": ["far"],
            }
        },
        "requests": {"guards": ["rehearsal"]},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return _ours(folder)


def _over(folder: pathlib.Path, etcd: Group) -> Nodes:
    """As ours; the order of commands is kept by an etcd of three."""
    endpoints = [f"http://127.0.0.1:{port}" for port in etcd.ports.values()]
    settings = {"consensus": {"type": "etcd", "endpoints": endpoints}}
    (folder / "settings.json").write_text(json.dumps(settings))
    return _ours(folder)


def _etcd(folder: pathlib.Path) -> Nodes:
    _certificates(folder, "p256")
    ports = {name: free_port() for name in NAMES}
    links = {name: free_port() for name in NAMES}
    cluster = ",".join(f"{name}=https://127.0.0.1:{links[name]}" for name in NAMES)
    commands = {}
    for name in NAMES:
        client, peer = f"http://127.0.0.1:{ports[name]}", f"https://127.0.0.1:{links[name]}"
        commands[name] = [
            *("etcd", "--name", name, "--data-dir", str(folder / name), "--log-level", "error"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", cluster, "--peer-client-cert-auth"),
            *("--peer-cert-file", str(folder / f"{name}.pem")),
            *("--peer-key-file", str(folder / f"{name}.key")),
            *("--peer-trusted-ca-file", str(folder / "ca.pem")),
        ]
    return commands, ports


def _pysyncobj(folder: pathlib.Path) -> Nodes:
    ports = {name: free_port() for name in NAMES}
    links = {name: free_port() for name in NAMES}
    program = [str(_PYTHON), str(PROGRAMS / "pysyncobj_node.py")]
    commands = {}
    for name in NAMES:
        (folder / name).mkdir()
        addresses = [links[name], *(links[other] for other in NAMES if other != name)]
        commands[name] = [
            *(*program, str(folder / name), str(ports[name])),
            *(f"127.0.0.1:{port}" for port in addresses),
        ]
    return commands, ports


def _certificates(folder: pathlib.Path, algorithm: str) -> None:
    leaves = [
        Wanted(
            kind=Kind.NODE,
            name=name,
            algorithm=algorithm,  # type: ignore[arg-type]
            hosts=("127.0.0.1", "localhost"),
        )
        for name in NAMES
    ]
    CertFolder(folder).init(leaves, datetime.datetime.now(datetime.UTC))


_MAKERS: dict[str, Callable[[pathlib.Path], Nodes]] = {
    OURS: _ours,
    FAR: _far,
    ETCD: _etcd,
    PYSYNCOBJ: _pysyncobj,
}


def missing(who: str) -> str:
    """Why somebody cannot be measured here; empty if they can."""
    if who in (ETCD, OVER_ETCD) and shutil.which("etcd") is None:
        return "is not installed: make etcd"
    if who == PYSYNCOBJ and not _PYTHON.exists():
        return "is not installed: make peers"
    return ""


@contextlib.contextmanager
def group(who: str) -> Generator[Group]:
    """Three nodes, started; they are ended with the block."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="flow-commit"))
        )
        beneath = stack.enter_context(group(ETCD)) if who == OVER_ETCD else None
        commands, ports = _MAKERS[who](folder) if beneath is None else _over(folder, beneath)
        made = Group(who, commands, ports, folder, beneath=beneath)
        try:
            for one in NAMES:
                made.start(one)
            trio.run(made.ready)
            yield made
        finally:
            made.close()


def fsync_seconds(count: int = 200, size: int = 256) -> list[float]:
    """What appending so many bytes to a file takes, each with its fdatasync."""
    took = []
    with tempfile.TemporaryFile(dir=tempfile.gettempdir()) as file:
        for _ in range(count):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(size))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return took
