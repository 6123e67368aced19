"""TLS of a running flowserve, from its TOML: both edges, and certificates exchanged by file and by HUP."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import ssl
from collections.abc import Iterator

import attrs
import pytest

from support.certificates import CLIENT, Authority
from support.node import Node, run, serving

AUTHORITY, OTHER = Authority(), Authority("another")
NODE = "spiffe://flow/node/alpha"
CONFIG = """
[node]
name = "test"
[agent.echo]
type = "python"
target = "support.talkative:Talkative"
names = "bare"
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:0"
[edge.mcp.tls]
cert = "keys/server.pem"
key = "keys/server.key"
[edge.api]
type = "api"
bind = "127.0.0.1:0"
[edge.api.tls]
cert = "keys/server.pem"
key = "keys/server.key"
client_auth = "required"
client_ca = "keys/ca.pem"
client_uris = ["spiffe://flow/node/*"]
"""


@attrs.frozen
class Place:
    """A running node whose edges are TLS."""

    node: Node
    keys: pathlib.Path

    def port(self, edge: str) -> int:
        """Where an edge listens; it must say that it is https."""
        for line in self.node.said:
            words = line.split()
            if len(words) >= 2 and words[0] == edge and words[-1].startswith("https://127.0.0.1:"):
                return int(words[-1].rpartition(":")[2].partition("/")[0])
        raise AssertionError(self.node.said)

    def connect(self, edge: str, context: ssl.SSLContext) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port(edge)), timeout=30)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    keys = tmp_path / "keys"
    keys.mkdir()
    AUTHORITY.issue("127.0.0.1").write(keys, "server")
    (keys / "ca.pem").write_bytes(AUTHORITY.pem)
    (tmp_path / "flow.toml").write_text(CONFIG)
    tests = str(pathlib.Path(__file__).parents[2])
    with serving(tmp_path / "flow.toml", env={**os.environ, "PYTHONPATH": tests}) as node:
        yield Place(node, keys)
        assert node.end() == 0
        assert not any("Traceback" in line for line in node.said)


def ping(one: ssl.SSLSocket) -> int:
    """The status of a ping over MCP."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    one.sendall(f"POST /mcp HTTP/1.1\r\n{head}\r\n{body}".encode())
    return int(one.recv(65536).split(b" ")[1])


def livez(one: ssl.SSLSocket) -> bytes:
    one.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return one.recv(65536)


def test_both_edges_speak_tls_and_the_api_knows_its_clients(
    place: Place, tmp_path: pathlib.Path
) -> None:
    with place.connect("mcp", AUTHORITY.trusting(tmp_path)) as one:
        assert one.version() == "TLSv1.3"
        assert ping(one) == 200
    right = AUTHORITY.trusting(tmp_path, AUTHORITY.issue(NODE, usage=CLIENT))
    with place.connect("api", right) as one:
        assert b" 200 " in livez(one)
    for wrong in (
        None,
        OTHER.issue(NODE, usage=CLIENT),
        AUTHORITY.issue("spiffe://flow/user/eve", usage=CLIENT),
    ):
        with place.connect("api", AUTHORITY.trusting(tmp_path, wrong)) as one:
            try:
                assert livez(one) == b""
            except OSError as refused:  # an alert, or a reset
                assert not isinstance(refused, TimeoutError)


def test_certificates_are_exchanged_and_no_connection_ends(
    place: Place, tmp_path: pathlib.Path
) -> None:
    with place.connect("mcp", AUTHORITY.trusting(tmp_path)) as kept:
        assert ping(kept) == 200
        OTHER.issue("127.0.0.1").write(place.keys, "server")  # seen by itself
        with place.connect("mcp", OTHER.trusting(tmp_path)) as one:
            assert ping(one) == 200
        AUTHORITY.issue("127.0.0.1").write(place.keys, "server")
        (place.keys / "ca.pem").write_bytes(OTHER.pem)
        place.node.process.send_signal(signal.SIGHUP)
        place.node.wait_for("reloaded")
        with place.connect("mcp", AUTHORITY.trusting(tmp_path)) as one:
            assert ping(one) == 200
        with place.connect(
            "api", AUTHORITY.trusting(tmp_path, OTHER.issue(NODE, usage=CLIENT))
        ) as one:
            assert b" 200 " in livez(one)
        assert ping(kept) == 200


def test_a_key_that_others_can_read_keeps_it_from_starting(tmp_path: pathlib.Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    AUTHORITY.issue("127.0.0.1").write(keys, "server", mode=0o644)
    (keys / "ca.pem").write_bytes(AUTHORITY.pem)
    (tmp_path / "flow.toml").write_text(CONFIG)
    done = run("flowserve", "--config", str(tmp_path / "flow.toml"), cwd=tmp_path)
    assert done.returncode != 0
    assert "edge.mcp: the key" in done.stderr or "edge.api: the key" in done.stderr
    assert "mode 0644); chmod it to 600" in done.stderr
    assert "Traceback" not in done.stderr
