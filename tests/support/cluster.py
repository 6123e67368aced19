"""flowserve processes that are a swarm on loopback: started, killed, stopped, started again."""

from __future__ import annotations

import contextlib
import http.client
import json
import pathlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import attrs

from support.linked import make_certificates
from support.node import ROOT, Node, started

AGENTS = f"{ROOT}/tests/support/agents.py"


def free_port() -> int:
    """A port that nobody has now, for TCP and UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@attrs.define(eq=False)
class Cluster:
    """Some nodes, by name."""

    folder: pathlib.Path
    names: tuple[str, ...]
    more: str
    """TOML that each node has besides."""
    topology: str
    ports: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    """Of the api and of links."""
    nodes: dict[str, Node] = attrs.field(factory=dict)
    _stacks: dict[str, contextlib.ExitStack] = attrs.field(factory=dict)

    def prepare(self) -> None:
        make_certificates(self.folder / "certs", *self.names)
        self.ports = {name: (free_port(), free_port()) for name in self.names}
        seeds = json.dumps([f"127.0.0.1:{links}" for _, links in self.ports.values()])
        for name, (api, links) in self.ports.items():
            (self.folder / f"{name}.toml").write_text(
                f"""
[node]
name = "{name}"
data_dir = "{self.folder}/data-{name}"
[swarm]
bind = "127.0.0.1:{links}"
seeds = {seeds}
tls = {{ cert = "certs/{name}.pem", key = "certs/{name}.key", ca = "certs/ca.pem" }}
topology = "{self.topology}"
membership = {{ type = "swim", profile = "local" }}
[agent.of-{name}]
type = "python"
target = "{AGENTS}"
[agent.shared]
type = "python"
target = "{AGENTS}"
[edge.api]
type = "api"
bind = "127.0.0.1:{api}"
{self.more}
"""
            )

    def start(self, name: str) -> None:
        """Start a node; it may have been there before."""
        stack = contextlib.ExitStack()
        node = stack.enter_context(started(self.folder / f"{name}.toml"))
        node.wait_for("ready in ")
        # what it says from now on is read, so that it is never held by it
        assert node.process.stdout is not None
        threading.Thread(target=node.said.extend, args=(node.process.stdout,), daemon=True).start()
        self.nodes[name], self._stacks[name] = node, stack

    def send(self, name: str, number: int) -> None:
        self.nodes[name].process.send_signal(number)

    def end(self, name: str, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; the exit code."""
        node = self.nodes.pop(name)
        node.process.send_signal(number)
        code = node.process.wait(timeout=60)
        self._stacks.pop(name).close()
        return code

    def close(self) -> None:
        for name in tuple(self.nodes):
            with contextlib.suppress(ProcessLookupError):
                self.send(name, signal.SIGCONT)
            self.end(name, signal.SIGKILL)

    def ask(self, name: str, path: str, body: Any = None, timeout: float = 30.0) -> Any:
        """What a node's api answers; raises OSError if it does not."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[name][0], timeout=timeout)
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
        finally:
            connection.close()

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

    def until(self, done: Callable[[], bool], seconds: float = 60.0) -> float:
        """Ask again and again; how many seconds it took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            try:
                if done():
                    return time.monotonic() - began
            except OSError:
                pass  # it is not there (any more): asked again
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s")

    def complete(self, *names: str) -> None:
        """Wait until these nodes list the agents of each other."""
        wanted = {f"of-{name}.echo" for name in names} | {"shared.echo"}
        for name in names:
            self.until(lambda name=name: wanted <= self.tools(name))  # type: ignore[misc]


class Refused(Exception):
    """A node has answered that it does not."""


@contextlib.contextmanager
def cluster(
    folder: pathlib.Path, *names: str, topology: str = "mesh", more: str = ""
) -> Generator[Cluster]:
    """Nodes that know each other."""
    made = Cluster(folder, names, more, topology)
    made.prepare()
    try:
        for name in names:
            made.start(name)
        made.complete(*names)
        yield made
    finally:
        made.close()
