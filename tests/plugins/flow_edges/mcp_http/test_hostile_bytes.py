"""Hostile bytes and slow clients against a running flowserve: the specified answer, and others are served."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
from collections.abc import Generator, Iterator

import pytest

from flowcore.config import Address
from support.http_attacks import CASES
from support.mcp_client import CAPABILITIES, MODERN, VERSION
from support.node import Node, serving

CONFIG = """
[node]
name = "test"
[agent.talk]
type = "python"
target = "support.talkative:Talkative"
names = "bare"
pool = { min = 1, max = 1, concurrency = 100 }
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:0"
[edge.mcp.http]
connections = 300
connections_per_address = 300
head_timeout = "600ms"
body_timeout = "700ms"
idle_timeout = "800ms"
write_timeout = "900ms"
[edge.api]
type = "api"
bind = "127.0.0.1:0"
"""
HERE = pathlib.Path(__file__)


@contextlib.contextmanager
def node_of(folder: pathlib.Path) -> Generator[Node]:
    path = folder / "flow.toml"
    path.write_text(CONFIG)
    tests = str(HERE.parents[3])
    with serving(path, env={**os.environ, "PYTHONPATH": tests, "NO_COLOR": "1"}) as node:
        yield node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all: each attack meets what the ones before have left."""
    with node_of(tmp_path_factory.mktemp("node")) as node:
        yield node
        assert node.end() == 0
        said = "\n".join(node.said)
        assert "Traceback" not in said
        assert " error " not in said


def address(url: str) -> Address:
    host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
    return Address(host, int(port))


@contextlib.contextmanager
def connection(to: Address) -> Generator[socket.socket]:
    with socket.create_connection((to.host, to.port), timeout=30) as one:
        yield one


def all_of(one: socket.socket) -> bytes:
    """What comes until the end; a reset is one, too."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while data := one.recv(65536):
            parts.append(data)
    return b"".join(parts)


def call(tool: str = "echo", more: bytes = b"", **arguments: object) -> bytes:
    """A right `tools/call`."""
    meta = {VERSION: MODERN, CAPABILITIES: {}}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    ).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
        f"Content-Length: {len(body)}\r\n"
    )
    return head.encode() + more + b"\r\n" + body


CLOSE = b"Connection: close\r\n"


def still_works(to: Address) -> None:
    with connection(to) as one:
        one.sendall(call(text="fine", more=CLOSE))
        answer = all_of(one)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"fine"' in answer


@pytest.mark.parametrize(("status", "data"), CASES.values(), ids=CASES)
def test_hostile_bytes_get_their_status_and_an_end_at_both_edges(
    node: Node, status: int, data: bytes
) -> None:
    for to in (address(node.mcp), address(node.api)):
        with connection(to) as one:
            with contextlib.suppress(ConnectionError):  # it may have answered and closed already
                one.sendall(data)
            answer = all_of(one)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split(b" ")[1] == b"%d" % status
        assert b"\r\nconnection: close" in head
        assert b"\r\ncontent-length: %d" % len(body) in head  # one answer, and nothing after it
        assert b"Traceback" not in body
    still_works(address(node.mcp))


def one_answer(one: socket.socket) -> bytes:
    """The next whole answer of a connection that goes on."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += one.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += one.recv(65536)
    return head + b"\r\n\r\n" + body


def test_a_head_that_is_repeated_is_held_against_each_body(node: Node) -> None:
    right, wrong = call(text="fine"), call(text="fine")
    wrong = wrong.replace(b'"name": "echo"', b'"name": "noop"')
    assert right.partition(b"\r\n\r\n")[0] == wrong.partition(b"\r\n\r\n")[0]
    other = right.replace(MODERN.encode() + b'"', b'2025-11-25"')
    with connection(address(node.mcp)) as one:
        for request, said in (
            (right, b'"fine"'),
            (wrong, b"the header Mcp-Name does not match params.name"),
            (right, b'"fine"'),
            (other, b"the header MCP-Protocol-Version does not match the version in _meta"),
            (right.replace(b"Host: localhost", b"Host: evil.test"), b"this host is not served"),
            (right, b'"fine"'),
        ):
            one.sendall(request)
            assert said in one_answer(one)


def test_endless_chunks_end_at_the_limit(node: Node) -> None:
    with connection(address(node.mcp)) as one:
        one.sendall(call(text="x").partition(b"Content-Length")[0])
        one.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        piece, sent = b"100000\r\n" + b" " * 0x100000 + b"\r\n", 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20:
                one.sendall(piece)
                sent += len(piece)
        assert sent < 64 << 20
        with contextlib.suppress(ConnectionError):
            assert one.recv(65536).startswith(b"HTTP/1.1 413 ")
    still_works(address(node.mcp))


def begun(to: Address, data: bytes) -> socket.socket:
    """A connection on which so much was said and no more is."""
    one = socket.socket()
    one.settimeout(30)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect((to.host, to.port))
    with contextlib.suppress(ConnectionError):
        one.sendall(data)
    return one


def files(node: Node) -> int:
    """How many files the node has open."""
    return len(list(pathlib.Path(f"/proc/{node.process.pid}/fd").iterdir()))


def held(one: socket.socket) -> bool:
    """Whether somebody has the other end of a connection open, as the system's table of sockets says."""
    own = f":{one.getsockname()[1]:04X}"
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, _, _, _, _, _, _, inode, *_ = line.split()
        if remote.endswith(own) and inode != "0":
            return True
    return False


def test_every_wait_has_its_end(node: Node) -> None:
    to = address(node.mcp)
    right = call(text="x")
    said = {
        b"": b"",  # nothing was asked, so nothing is answered
        right[:40]: b"408",
        right[:-1]: b"408",
    }
    with contextlib.ExitStack() as stack:
        slow = [(stack.enter_context(begun(to, data)), status) for data, status in said.items()]
        idle = stack.enter_context(begun(to, right))
        deaf = stack.enter_context(begun(to, call(text="x" * 15_000_000)))
        still_works(to)
        for one, status in slow:
            assert all_of(one).partition(b" ")[2][:3] == status
        assert all_of(idle).count(b"HTTP/1.1 200") == 1
        while held(deaf):  # until it is closed, unread answer and all
            still_works(to)
        assert len(all_of(deaf)) < 15_000_000


def test_half_closed_clients_get_their_answer_and_long_work_of_theirs_ends(node: Node) -> None:
    to = address(node.mcp)
    with connection(to) as one:
        one.sendall(call(text="half"))
        one.shutdown(socket.SHUT_WR)
        assert b'"half"' in all_of(one)
    for cut in (10, 300, -1):
        with connection(to) as one:
            one.sendall(call(text="half")[:cut])
            one.shutdown(socket.SHUT_WR)
            answer = all_of(one)  # the specified error, and then the end
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"the request ended before it was whole" in answer
            assert answer.count(b"HTTP/1.1") == 1
    for half in (True, False):
        with connection(to) as one:
            one.sendall(call("hang"))
            wait_for_running(to, 1)
            if half:
                one.shutdown(socket.SHUT_WR)
                wait_for_running(to, 0)
        wait_for_running(to, 0)


def wait_for_running(to: Address, count: int) -> None:
    """Ask until so many calls run besides the asking one."""
    while True:
        with connection(to) as one:
            one.sendall(call("flow.status", more=CLOSE))
            answer = json.loads(all_of(one).partition(b"\r\n\r\n")[2])
        if answer["result"]["structuredContent"]["requests"]["running"] - 1 == count:
            return


@pytest.mark.parametrize("kind", ["silent", "heads", "bodies", "deaf", "all"])
def test_a_thousand_stalled_connections_shut_nobody_out(node: Node, kind: str) -> None:
    to = address(node.mcp)
    right = call(text="x" * 2000)
    kinds = {
        "silent": [b""],
        "heads": [right[:60]],
        "bodies": [right[:-9]],
        "deaf": [call(text="x" * 100_000)],
    }
    kinds["all"] = [data for one in kinds.values() for data in one]
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            data = kinds[kind][number % len(kinds[kind])]
            stack.enter_context(begun(to, data))
            if number % 100 == 99:
                still_works(to)
        still_works(to)


def test_without_files_for_more_it_waits_and_recovers(tmp_path: pathlib.Path) -> None:
    with node_of(tmp_path) as node, contextlib.ExitStack() as stack:
        to = address(node.mcp)
        soft, hard = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (files(node) + 4, hard))
        waiting = [stack.enter_context(begun(to, call("hang"))) for _ in range(12)]
        node.wait_for("no connection can be accepted for want of resources")
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        wait_for_running(to, 12)
        for one in waiting:
            one.close()
        wait_for_running(to, 0)
        assert node.end(signal.SIGTERM) == 0
        assert sum("no connection can be accepted" in line for line in node.said) == 1
