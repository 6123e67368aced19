"""Attacks by TLS on a running node: versions, certificates, names, authorities taken out, and stalls."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import timedelta

import attrs
import pytest

from support import node as nodes
from support.certificates import CLIENT, SERVER, Authority, Pair
from support.needs import program

TESTS = pathlib.Path(__file__).resolve().parents[1]
AUTHORITY, FOREIGN = Authority(), Authority("foreign")
ALPHA, BETA = "spiffe://flow/node/alpha", "spiffe://flow/node/beta"
DAY = timedelta(days=1)
CONFIG = f"""
[requests]
guards = ["audit"]
[guard.audit]
type = "audit"
file = "audit.jsonl"
[agent.talk]
type = "python"
target = "support.talkative:Talkative"
[auth.links]
type = "mtls"
peers = [{{ uri = "{ALPHA}", name = "alpha" }}]
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:0"
auth = ["links"]
http = {{ handshake_timeout = "3s", handshakes = 2000, connections_per_address = 2000, connections = 3000 }}
tls = {{ cert = "server.pem", key = "server.key", client_auth = "required", client_ca = "ca.pem" }}
[edge.api]
type = "api"
bind = "127.0.0.1:0"
[edge.listed]
type = "mcp"
bind = "127.0.0.1:0"
auth = ["links"]
[edge.listed.tls]
cert = "server.pem"
key = "server.key"
client_auth = "required"
client_ca = "ca.pem"
client_uris = ["{ALPHA}"]
"""


@attrs.frozen
class Place:
    """A node whose MCP edges ask for certificates."""

    node: nodes.Node
    folder: pathlib.Path

    def port(self, edge: str = "mcp") -> int:
        for line in self.node.said:
            words = line.split()
            if len(words) >= 2 and words[0] == edge and "://" in words[-1]:
                return int(words[-1].rpartition(":")[2].partition("/")[0])
        raise AssertionError(self.node.said)

    def tcp(self, edge: str = "mcp") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port(edge)), timeout=30)

    def said(self, shown: Pair | None, edge: str = "mcp", **more: ssl.TLSVersion) -> bytes:
        """All that the node says to a ping by somebody who shows a certificate; b"" if nothing."""
        context = AUTHORITY.trusting(self.folder, shown)
        for name, value in more.items():
            setattr(context, name, value)
        return self.ask(context, edge)

    def ask(self, context: ssl.SSLContext, edge: str = "mcp") -> bytes:
        parts = []
        with contextlib.suppress(ConnectionError, ssl.SSLError), self.tcp(edge) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as one:
                one.sendall(PING)
                while data := one.recv(65536):
                    parts.append(data)
        return b"".join(parts)

    def denials(self) -> list[str]:
        lines = (self.folder / "audit.jsonl").read_text().splitlines()
        return [one["reason"] for line in lines if (one := json.loads(line))["what"] == "denied"]


BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
PING = (
    "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("tls")
    AUTHORITY.issue("127.0.0.1").write(folder, "server")
    (folder / "ca.pem").write_bytes(AUTHORITY.pem)
    (folder / "flow.toml").write_text(CONFIG)
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with nodes.serving(folder / "flow.toml", cwd=folder, env=environment) as node:
        yield Place(node, folder)
        assert node.end() == 0
    assert not any("Traceback" in line for line in node.said)


def alpha() -> Pair:
    return AUTHORITY.issue(ALPHA, usage=CLIENT)


def test_the_right_certificate_comes_in(place: Place) -> None:
    for edge in ("mcp", "listed"):
        assert place.said(alpha(), edge).startswith(b"HTTP/1.1 200 ")


WRONG = {
    "none": None,
    "of another authority": FOREIGN.issue(ALPHA, usage=CLIENT),
    "expired": AUTHORITY.issue(ALPHA, usage=CLIENT, begins=-2 * DAY, ends=-DAY / 24),
    "of the future": AUTHORITY.issue(ALPHA, usage=CLIENT, begins=DAY, ends=2 * DAY),
    "for a server": AUTHORITY.issue(ALPHA, usage=SERVER),
}


@pytest.mark.parametrize("edge", ["mcp", "listed"])
@pytest.mark.parametrize("which", WRONG)
def test_a_wrong_certificate_gets_no_byte(place: Place, which: str, edge: str) -> None:
    assert place.said(WRONG[which], edge) == b""


NAMES = {
    "of another node": (BETA,),
    "two URIs, one of them right": (ALPHA, BETA),
    "the same URI twice": (ALPHA, ALPHA),
    "no URI": ("alpha.example",),
    "a longer name": (ALPHA + "x",),
    "a folder below": (ALPHA + "/x",),
    "another scheme": ("https://flow/node/alpha",),
    "capitals": ("spiffe://flow/node/ALPHA",),
    "a trailing slash": (ALPHA + "/",),
}


@pytest.mark.parametrize("which", NAMES)
def test_anothers_name_is_refused_and_written_down(place: Place, which: str) -> None:
    shown = AUTHORITY.issue(*NAMES[which], usage=CLIENT)
    before = len(place.denials())
    assert place.said(shown).startswith(b"HTTP/1.1 401 ")
    while len(place.denials()) == before:
        place.node.process.poll()
    assert "URI" in place.denials()[-1]
    # where the listener has the list, not a byte of HTTP, and a line in the log all the same
    before = len(place.denials())
    assert place.said(shown, "listed") == b""
    while len(place.denials()) == before:
        place.node.process.poll()
    assert "may not come in" in place.denials()[-1]


@pytest.mark.parametrize("edge", ["mcp", "listed"])
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_older_versions_have_no_handshake(place: Place, version: str, edge: str) -> None:
    context = AUTHORITY.trusting(place.folder, alpha())
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with place.tcp(edge) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def handshake(place: Place, *arguments: str) -> str:
    """What OpenSSL's client says of a handshake."""
    cert, key = alpha().write(place.folder, "openssl")
    done = subprocess.run(
        [
            *(program("openssl"), "s_client", "-connect", f"127.0.0.1:{place.port()}"),
            *("-cert", str(place.folder / cert), "-key", str(place.folder / key)),
            *arguments,
        ],
        input=b"",
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.stdout.decode("latin-1")


SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


@pytest.mark.parametrize("suite", [*SUITES, "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"])
def test_the_three_suites_are_taken_and_no_other(place: Place, suite: str) -> None:
    said = handshake(place, "-tls1_3", "-ciphersuites", suite)
    assert (f"Cipher is {suite}" in said) is (suite in SUITES), said


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_each_of_the_groups_is_taken(place: Place, group: str) -> None:
    assert "Cipher is TLS_" in handshake(place, "-tls1_3", "-groups", group)


@pytest.mark.parametrize("group", ["P-521", "X448", "ffdhe2048"])
def test_no_other_group_is_taken(place: Place, group: str) -> None:
    assert "Cipher is (NONE)" in handshake(place, "-tls1_3", "-groups", group)


def test_nothing_is_resumed_where_certificates_are_asked_for(place: Place) -> None:
    said = handshake(place, "-tls1_3", "-ign_eof", "-no_ign_eof")
    assert "New, TLSv1.3" in said
    assert "Session-ID:" not in said.partition("Post-Handshake New Session Ticket")[2]
    context = AUTHORITY.trusting(place.folder, alpha())
    with context.wrap_socket(place.tcp(), server_hostname="127.0.0.1") as one:
        one.sendall(PING)
        while one.recv(65536):
            pass
        session = one.session
        assert session is None or not session.has_ticket


def test_an_authority_that_is_taken_out_counts_no_longer_not_even_by_a_session(
    place: Place,
) -> None:
    shown = alpha()
    context = AUTHORITY.trusting(place.folder, shown)
    with context.wrap_socket(place.tcp(), server_hostname="127.0.0.1") as kept:
        session = kept.session
        try:
            (place.folder / "ca.pem").write_bytes(FOREIGN.pem)
            place.node.process.send_signal(signal.SIGHUP)
            place.node.wait_for("reloaded")
            assert place.said(shown) == b""
            assert place.said(FOREIGN.issue(ALPHA, usage=CLIENT)).startswith(b"HTTP/1.1 200 ")
            if session is not None:
                with place.tcp() as plain:
                    one = context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)
                    with one, contextlib.suppress(ConnectionError, ssl.SSLError):
                        assert not one.session_reused
                        one.sendall(PING)
                        assert one.recv(65536) == b""
        finally:
            (place.folder / "ca.pem").write_bytes(AUTHORITY.pem)
    assert place.said(shown).startswith(b"HTTP/1.1 200 ")


def test_a_thousand_stalled_handshakes_end_at_the_deadline_and_others_are_served(
    place: Place,
) -> None:
    """The deadline is three seconds here, five unless configured. Half of them have begun a handshake."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    with contextlib.ExitStack() as stack:
        stalled = []
        for number in range(1000):
            one = stack.enter_context(place.tcp())
            if number % 2:
                one.sendall(hello)
            stalled.append(one)
        for _ in range(5):
            assert place.said(alpha()).startswith(b"HTTP/1.1 200 ")
        for one in stalled:
            with contextlib.suppress(ConnectionError):
                assert one.recv(65536) == b""  # closed, without a byte
    assert place.said(alpha()).startswith(b"HTTP/1.1 200 ")


def test_what_is_no_tls_gets_no_byte_of_http(place: Place) -> None:
    for data in (PING, b"\x00" * 100, b"\xff" * 20_000, b"\x16\x03\x03\xff\xff" + b"a" * 70_000):
        with place.tcp() as one:
            answer = b""
            with contextlib.suppress(ConnectionError):
                one.sendall(data)
                answer = one.recv(65536)
            assert b"HTTP/" not in answer
