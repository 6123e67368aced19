"""Keys and certificates are exchanged three times each while clients call over TLS: no request fails."""

from __future__ import annotations

import base64
import http.client
import json
import os
import pathlib
import secrets
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import attrs
import pytest

from flowcore.signing import Key, KeyRing, Signer, read_ring
from support import tokens
from support.certificates import Authority
from support.node import Node, run, serving

TESTS = pathlib.Path(__file__).parents[1]
HERE = "https://flow.example/mcp"
AUTHORITY = Authority()
CONFIG = f"""
[node]
name = "test"
[agent.echo]
type = "python"
target = "support.talkative:Talkative"
names = "bare"
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:0"
public_url = "{HERE}"
auth = ["jwt", "hmac"]
[edge.mcp.tls]
cert = "server.pem"
key = "server.key"
[auth.jwt]
type = "jwt"
issuer = "{tokens.ISSUER}"
keys = "jwks.json"
[auth.hmac]
type = "hmac"
keys = "ring.toml"
"""


def written(path: pathlib.Path, data: bytes) -> None:
    """Put a file there in one step."""
    made = path.with_suffix(".new")
    made.write_bytes(data)
    made.chmod(0o600)
    os.replace(made, path)


def new_key(number: int) -> Key:
    return Key(id=f"key-{number}", secret=secrets.token_bytes(32), principal="billing")


def ring_of(*keys: Key) -> bytes:
    return "".join(
        f'[[key]]\nid = "{one.id}"\nprincipal = "{one.principal}"\n'
        f'secret = "{base64.b64encode(one.secret).decode()}"\n'
        for one in keys
    ).encode()


@attrs.define(eq=False)
class Place:
    """A node, its files, and what is right to sign with now."""

    node: Node
    folder: pathlib.Path
    port: int
    context: ssl.SSLContext
    jwt: tokens.SigningKey
    hmac: Key

    def connect(self, address: str) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=30, source_address=(address, 0), context=self.context
        )
        connection.connect()
        return connection

    def call(
        self, connection: http.client.HTTPSConnection, authorized: Callable[[bytes], str]
    ) -> int:
        """The status of a call; a tool's wrong answer is 0."""
        call = {"name": "echo", "arguments": {"text": "here"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        body = json.dumps(message).encode()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Authorization": authorized(body),
        }
        connection.request("POST", "/mcp", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        return 0 if answer.status == 200 and b'"text":"here"' not in text else answer.status

    def by_token(self, key: tokens.SigningKey) -> Callable[[bytes], str]:
        """A new token of that key for each call."""
        return lambda body: f"Bearer {tokens.token(key, tokens.claims(aud=HERE)).decode()}"

    def by_signature(self, key: Key) -> Callable[[bytes], str]:
        signer = Signer(KeyRing([key]), HERE)
        url = f"https://127.0.0.1:{self.port}/mcp"
        return lambda body: signer.authorization("POST", url, body)

    def until(self, status: int, authorized: Callable[[bytes], str]) -> None:
        """Ask, from an address of one's own, until the node has seen its new files."""
        connection = self.connect("127.0.0.2")
        ends = time.monotonic() + 60
        while self.call(connection, authorized) != status:
            assert time.monotonic() < ends
            time.sleep(0.2)  # slowly enough to be no guesser
        connection.close()


@attrs.define(eq=False)
class Client:
    """Calls again and again; what came of it, by status."""

    place: Place
    authorized: Callable[[Place], Callable[[bytes], str]]
    keeps: bool
    statuses: dict[int, int] = attrs.field(factory=dict)
    calls: int = 0
    wrong: list[str] = attrs.field(factory=list)

    def run(self, over: threading.Event) -> None:
        connection = self.place.connect("127.0.0.1")
        while not over.is_set():
            try:
                if not self.keeps:
                    connection.close()
                    connection = self.place.connect("127.0.0.1")
                status = self.place.call(connection, self.authorized(self.place))
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                break
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.calls += 1
        connection.close()


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    AUTHORITY.issue("127.0.0.1").write(tmp_path, "server")
    jwt, hmac = tokens.SigningKey("EdDSA", "jwt-0"), new_key(0)
    written(tmp_path / "jwks.json", tokens.jwks(jwt))
    written(tmp_path / "ring.toml", ring_of(hmac))
    (tmp_path / "flow.toml").write_text(CONFIG)
    with serving(tmp_path / "flow.toml", env={**os.environ, "PYTHONPATH": str(TESTS)}) as node:
        [line] = [one for one in node.said if one.endswith("/mcp") and " https://" in one]
        port = urlsplit(line.split()[-1]).port
        assert port is not None
        yield Place(node, tmp_path, port, AUTHORITY.trusting(tmp_path), jwt, hmac)
        assert node.end() == 0
        assert not any("Traceback" in one for one in node.said)


def shown(connection: http.client.HTTPSConnection) -> bytes | None:
    """The certificate that the server has shown on this connection."""
    assert isinstance(connection.sock, ssl.SSLSocket)
    return connection.sock.getpeercert(binary_form=True)


def test_three_rotations_of_everything_under_load_fail_no_request(place: Place) -> None:
    by_token = lambda where: where.by_token(where.jwt)  # noqa: E731
    by_signature = lambda where: where.by_signature(where.hmac)  # noqa: E731
    clients = [
        Client(place, how, keeps) for how in (by_token, by_signature) for keeps in (True, False)
    ]
    over = threading.Event()
    threads = [threading.Thread(target=one.run, args=(over,)) for one in clients]
    old_connection = place.connect("127.0.0.3")
    first = shown(old_connection)
    for thread in threads:
        thread.start()
    try:
        for number in (1, 2, 3):
            rotate(place, number, clients)
            assert place.call(old_connection, place.by_token(place.jwt)) == 200
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert shown(old_connection) == first  # it went on, with the certificate it began with
    old_connection.close()
    assert [one.wrong for one in clients] == [[]] * 4
    assert [set(one.statuses) for one in clients] == [{200}] * 4


def all_call_again(clients: list[Client]) -> None:
    """Wait until every client has begun a call after now, and ended it."""
    before = [one.calls for one in clients]
    ends = time.monotonic() + 60
    while any(
        one.calls < was + 2 and not one.wrong for one, was in zip(clients, before, strict=True)
    ):
        assert time.monotonic() < ends
        time.sleep(0.01)


def rotate(place: Place, number: int, clients: list[Client]) -> None:
    """New keys beside the old, then alone, and a new certificate; by a look at the files, or by HUP."""
    jwt, hmac = place.jwt, place.hmac
    new_jwt, new_hmac = tokens.SigningKey("EdDSA", f"jwt-{number}"), new_key(number)
    pair = AUTHORITY.issue("127.0.0.1")
    written(place.folder / "jwks.json", tokens.jwks(jwt, new_jwt))
    written(place.folder / "ring.toml", ring_of(hmac, new_hmac))
    pair.write(place.folder, "server")
    if number == 2:
        place.node.process.send_signal(signal.SIGHUP)
    place.until(200, place.by_token(new_jwt))
    place.until(200, place.by_signature(new_hmac))
    assert place_shows(place) == ssl.PEM_cert_to_DER_cert(pair.cert.decode())
    # the overlap: both are believed, and the clients go over to the new ones
    place.jwt, place.hmac = new_jwt, new_hmac
    place.until(200, place.by_token(jwt))
    place.until(200, place.by_signature(hmac))
    all_call_again(clients)
    written(place.folder / "jwks.json", tokens.jwks(new_jwt))
    written(place.folder / "ring.toml", ring_of(new_hmac))
    place.until(401, place.by_token(jwt))
    place.until(401, place.by_signature(hmac))


def test_a_ring_that_flowctl_rotates_fails_no_request(place: Place) -> None:
    """The client has a ring of its own, which the same command fills, and signs with its newest key."""
    ring, client = place.folder / "ring.toml", place.folder / "client.toml"
    written(client, ring_of(place.hmac))

    def ours(where: Place) -> Callable[[bytes], str]:
        return where.by_signature(read_ring(client.read_bytes()).newest(time.time()))

    def flowctl(action: str, *arguments: str) -> None:
        done = run("flowctl", "keys", action, str(ring), *arguments)
        assert done.returncode == 0, done.stderr

    clients = [Client(place, ours, keeps) for keeps in (True, False)]
    over = threading.Event()
    threads = [threading.Thread(target=one.run, args=(over,)) for one in clients]
    for thread in threads:
        thread.start()
    try:
        for number in (1, 2, 3):
            old = list(read_ring(client.read_bytes()))[-1]
            flowctl("rotate", "--begin", "3s", "--copy", str(client))
            new = list(read_ring(client.read_bytes()))[-1]
            place.until(200, place.by_signature(attrs.evolve(new, not_before=0.0)))
            all_call_again(clients)
            assert read_ring(client.read_bytes()).newest(time.time()) == new
            place.until(200, place.by_signature(old))
            flowctl(*(("retire", old.id) if number < 3 else ("revoke", old.id)))
            place.until(401, place.by_signature(old))
        flowctl("prune")
        assert list(read_ring(ring.read_bytes())) == [new]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert [one.wrong for one in clients] == [[]] * 2
    assert [set(one.statuses) for one in clients] == [{200}] * 2


def place_shows(place: Place) -> bytes | None:
    connection = place.connect("127.0.0.2")
    try:
        return shown(connection)
    finally:
        connection.close()
