"""flowserve processes that are a swarm: started, killed, stopped, cut off, started again.

They are on loopback, or each on a host of its own (`support.namespaces`). What parts them is there a dropped
packet, and on loopback rehearsed by the nodes themselves (`flowctl fault`).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import attrs

from support.linked import make_certificates
from support.namespaces import Namespaces
from support.node import ROOT, Node, run, started
from support.ports import free_port

AGENTS = f"{ROOT}/tests/support/agents.py"
OWN_AND_SHARED = f"""
[agent.of-@name@]
type = "python"
target = "{AGENTS}"
[agent.shared]
type = "python"
target = "{AGENTS}"
"""
REHEARSED = """
[requests]
guards = ["rehearsal"]
[guard.rehearsal]
type = "faults"
stop = { errors = 1.0 }
"""
"""What each node has besides, where faults are rehearsed: they are not undone when requests fail of them."""

_LONG = 35.0
"""Seconds that no question takes, unless who asks it was held."""


@attrs.define(eq=False)
class Cluster:
    """Some nodes, by name."""

    folder: pathlib.Path
    names: tuple[str, ...]
    agents: str
    """TOML of the agents of each node, which is called `@name@` in it."""
    more: str
    """TOML that each node has besides."""
    topology: str
    """Its type, or TOML with its settings."""
    hosts: Namespaces | None = None
    """Where they are; on loopback if nowhere else."""
    ports: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    """Of the api and of links."""
    nodes: dict[str, Node] = attrs.field(factory=dict)
    _rehearsing: set[str] = attrs.field(factory=set)
    """Nodes that have been told to take nothing of others."""
    _stacks: dict[str, contextlib.ExitStack] = attrs.field(factory=dict)

    def prepare(self) -> None:
        make_certificates(self.folder / "certs", *self.names)
        if self.hosts is None:
            self.ports = {name: (free_port(), free_port()) for name in self.names}
        else:
            self.ports = dict.fromkeys(self.names, (7401, 7400))
        seeds = json.dumps([self._address(name) for name in self.names])
        for name, (api, _) in self.ports.items():
            (self.folder / f"{name}.toml").write_text(
                f"""
[node]
name = "{name}"
data_dir = "{self.folder}/data-{name}"
[swarm]
bind = "{self._address(name)}"
seeds = {seeds}
tls = {{ cert = "certs/{name}.pem", key = "certs/{name}.key", ca = "certs/ca.pem" }}
topology = {self.topology if "{" in self.topology else json.dumps(self.topology)}
membership = {{ type = "swim", profile = "local" }}
{self.agents.replace("@name@", name)}
[edge.api]
type = "api"
bind = "127.0.0.1:{api}"
{self.more}
"""
            )

    def _address(self, name: str) -> str:
        """Where its links and its gossip are."""
        host = "127.0.0.1" if self.hosts is None else self.hosts.host(name)
        return f"{host}:{self.ports[name][1]}"

    def start(self, *names: str, by: Sequence[str] = ()) -> None:
        """Start nodes, which may have been there before, all at once; wait until they serve.

        `by` are words that run the command.
        """
        for name in names:
            self._stacks[name] = stack = contextlib.ExitStack()
            before = () if self.hosts is None else self.hosts.command(name)
            self.nodes[name] = stack.enter_context(
                started(self.folder / f"{name}.toml", before=(*before, *by))
            )
        for name in names:
            node = self.nodes[name]
            node.wait_for("ready in ")
            # what it says from now on is read, so that it is never held by it
            assert node.process.stdout is not None
            reader = threading.Thread(
                target=node.said.extend, args=(node.process.stdout,), daemon=True
            )
            reader.start()
            # before the pipe is closed it has read to the end, or a test would fail by that
            self._stacks[name].callback(reader.join, 10.0)

    def send(self, name: str, number: int) -> None:
        self.nodes[name].process.send_signal(number)

    def end(self, name: str, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; the exit code."""
        node = self.nodes.pop(name)
        node.process.send_signal(number)
        code = node.process.wait(timeout=300)
        self._stacks.pop(name).close()
        return code

    def cut(self, at: str, source: str) -> None:
        """Nothing that `source` sends comes to `at` any more: half of a cable is cut."""
        if self.hosts is not None:
            self.hosts.cut(at, source)
        else:
            words = ("fault=partition", f'nodes=["{source}"]', "way=in", "duration=1h")
            self._rehearse(at, "start", f"cut-{source}", *words)
            self._rehearsing.add(at)

    def heal(self) -> None:
        """Whatever was cut is whole again."""
        if self.hosts is not None:
            self.hosts.heal()
        else:
            while self._rehearsing:
                self._rehearse(self._rehearsing.pop(), "stop")

    def _rehearse(self, at: str, *words: str) -> None:
        done = run("flowctl", "--url", f"http://127.0.0.1:{self.ports[at][0]}", "fault", *words)
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        for name in tuple(self.nodes):
            with contextlib.suppress(ProcessLookupError):
                self.send(name, signal.SIGCONT)
            self.end(name, signal.SIGKILL)

    def ask(self, name: str, path: str, body: Any = None, timeout: float = 30.0) -> Any:
        """What a node's api answers; raises OSError if it does not."""
        connection = self.connect(name, timeout)
        try:
            return self.exchange(connection, path, body)
        finally:
            connection.close()

    def connect(self, name: str, timeout: float = 30.0) -> http.client.HTTPConnection:
        """A connection to a node's api, which stands once something is asked."""
        port = self.ports[name][0]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        if self.hosts is not None:
            connection.sock = self.hosts.connect(name, port, timeout)
        return connection

    @staticmethod
    def exchange(connection: http.client.HTTPConnection, path: str, body: Any = None) -> Any:
        """What is answered on a connection, as `ask` gives it."""
        try:
            if body is None:
                connection.request("GET", path)
            else:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error

    def call(self, name: str, tool: str, **arguments: Any) -> Any:
        """The result of a tool, asked of a node; raises OSError or Refused."""
        status, answer = self.ask(
            name, "/call", {"tool": tool, "arguments": arguments, "deadline": 10.0}
        )
        if status != 200:
            raise Refused(status, answer)
        return answer["result"]

    def members(self, name: str) -> dict[str, str]:
        """The states of all members, as a node sees them."""
        _, answer = self.ask(name, "/status")
        return {one["name"]: one["state"] for one in answer["swarm"]["members"]}

    def tools(self, name: str) -> set[str]:
        """The tools that a node lists."""
        _, answer = self.ask(name, "/tools")
        return {one["name"] for one in answer["tools"]}

    def until(self, done: Callable[[], bool], seconds: float = 180.0) -> float:
        """Ask again and again; how many seconds it took.

        Where this process was itself held meanwhile (SIGSTOP of all there is, by who wants the machine), that
        does not count.
        """
        began = time.monotonic()
        ends = began + seconds
        while time.monotonic() < ends:
            asked = time.monotonic()
            try:
                if done():
                    return time.monotonic() - began
            except OSError:
                pass  # it is not there (any more): asked again
            time.sleep(0.02)
            ends += max(0.0, time.monotonic() - asked - _LONG)
        raise AssertionError(f"not within {seconds} s")

    def complete(self, *names: str) -> None:
        """Wait until these nodes list the agents of each other."""
        for name in names:
            self.until(lambda name=name: set(names) <= self.owners(name))  # type: ignore[misc]

    def owners(self, name: str) -> set[str]:
        """The nodes whose own agent this one lists, of those that have one: `of-NODE`."""
        agents = {one.partition(".")[0] for one in self.tools(name)}
        return {one.removeprefix("of-") for one in agents if one.startswith("of-")}


class Refused(Exception):
    """A node has answered that it does not."""


@contextlib.contextmanager
def cluster(
    folder: pathlib.Path,
    *names: str,
    topology: str = "mesh",
    agents: str = OWN_AND_SHARED,
    more: str = "",
    hosts: Namespaces | None = None,
) -> Generator[Cluster]:
    """Nodes that know each other."""
    made = Cluster(folder, names, agents, more, topology, hosts)
    made.prepare()
    try:
        made.start(*names)
        made.complete(*names)
        yield made
    finally:
        made.close()
