"""A real flowserve with everything guarded, and one who attacks it: bytes out, answers and audit lines back.

Edges: `mcp` and `api` over TLS, `plain` and `bare` the same without, each behind all schemes; `shared` is an
MCP edge for HS256 alone. Every secret of it is the canary (`support.canary`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import re
import socket
import ssl
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import attrs
import h11

from flowcore.secrets import STATIC_PREFIX
from flowcore.signing import KeyRing, Signer, read_ring
from support import canary, node, tokens
from support.certificates import Authority
from support.mcp_client import ACCEPT, CAPABILITIES, MODERN, VERSION

TESTS = pathlib.Path(__file__).resolve().parents[1]
ISSUER = tokens.ISSUER
SHARED = canary.CANARY + "-shared"
STAFF = STATIC_PREFIX + canary.CANARY + "-staff"
RING_SECRET = (canary.CANARY + "-ring").encode()
SCOPES = "vault operate"
PATIENCE = 20.0

CONFIG = """
[node]
name = "fortress"
data_dir = "data"
[log]
level = "debug"
[requests]
guards = ["audit", "permissions"]
[guard.audit]
type = "audit"
file = "audit.jsonl"
key = {{ env = "FORTRESS_AUDIT" }}
[guard.permissions]
type = "permissions"
rules = [{{ allow = ["{allow}"], scopes = ["vault"] }}, {{ admin = ["*"], scopes = ["operate"] }}]
[agent.vault]
type = "python"
target = "support.vault"
[auth.idp]
type = "jwt"
issuer = "{issuer}"
{idp}
revoked = "revoked.txt"
[auth.shared]
type = "jwt"
issuer = "{issuer}"
secret = {{ env = "FORTRESS_SHARED" }}
[auth.staff]
type = "token"
tokens = [{{ name = "staff", sha256 = "{staff}", scopes = ["vault", "operate"] }}]
[auth.partners]
type = "hmac"
keys = "ring.toml"
{partners}
[exporter.metrics]
type = "prometheus"
{edges}
{more}
"""
EDGE = """
[edge.{name}]
type = "{type}"
bind = "127.0.0.1:0"
auth = {auth}
failed_logins = {{ rate = 1e6, burst = 1000000 }}
{more}
"""
TLS = 'tls = { cert = "keys/server.pem", key = "keys/server.key" }'
EVERY = '["idp", "staff", "partners"]'


@attrs.frozen
class Reply:
    """An answer, whole."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str:
        """A header's values, joined."""
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def json(self) -> Any:
        """The body; of a stream, its last message."""
        text = self.body.decode()
        if self.get("content-type").startswith("text/event-stream"):
            text = [one[6:] for one in text.splitlines() if one.startswith("data: ")][-1]
        return json.loads(text)


@attrs.define(eq=False)
class Fortress:
    """The node, and what an attacker has: addresses, and a client's context. The rest is for the judge."""

    node: node.Node
    folder: pathlib.Path
    keys: dict[str, tokens.SigningKey]
    context: ssl.SSLContext
    _marks: Any = attrs.field(factory=itertools.count)
    _read: int = 0
    _kept: list[Kept] = attrs.field(factory=list)

    # ---- where it is

    def base(self, edge: str) -> str:
        """The origin of an edge: `https://127.0.0.1:PORT`."""
        for line in self.node.said:
            words = line.split()
            if len(words) >= 2 and words[0] == edge and words[-1].startswith("http"):
                return "/".join(words[-1].split("/")[:3])
        raise AssertionError(self.node.said)

    def uri(self, edge: str) -> str:
        """What tokens must be meant for."""
        return self.base(edge) + ("/" if edge in ("api", "bare") else "/mcp")

    def port(self, edge: str) -> int:
        return int(self.base(edge).rpartition(":")[2])

    def connect(self, edge: str, context: ssl.SSLContext | None = None) -> socket.socket:
        """A connection, by TLS where the edge speaks it."""
        plain = socket.create_connection(("127.0.0.1", self.port(edge)), timeout=PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.base(edge).startswith("https"):
            return plain
        return (context or self.context).wrap_socket(plain, server_hostname="127.0.0.1")

    # ---- what is sent

    def token(self, edge: str = "mcp", key: str = "EdDSA", **claims: Any) -> str:
        """A right token of the issuer, but for `claims`."""
        right = {"aud": self.uri(edge), "scope": SCOPES, "jti": f"j{next(self._marks)}"}
        return tokens.token(self.keys[key], tokens.claims(**{**right, **claims})).decode()

    @property
    def ring(self) -> KeyRing:
        return read_ring((self.folder / "ring.toml").read_bytes())

    def signer(self, edge: str = "mcp", **more: Any) -> Signer:
        return Signer(self.ring, self.uri(edge), **more)

    def ask(
        self,
        edge: str,
        method: str = "POST",
        target: str | None = None,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """One request on a connection of its own; a call of `vault.open_safe` unless told otherwise."""
        if target is None:
            target = "/call" if edge in ("api", "bare") else "/mcp"
        kept = Kept(self, edge)
        try:
            return kept.ask(method, target, bearer=bearer, headers=headers, body=body)
        finally:
            kept.close()

    def keep(self, edge: str) -> Kept:
        """A connection that is kept for several requests, as long as the fortress stands."""
        self._kept.append(Kept(self, edge))
        return self._kept[-1]

    def leave(self) -> None:
        """Close what was kept."""
        for one in self._kept:
            one.close()

    # ---- what came of it

    def calls(self) -> list[str]:
        """The calls that reached the agent."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def audited(self) -> list[dict[str, Any]]:
        """The lines of the audit log since it was asked last, all that happened until now included."""
        name = f"mark-{next(self._marks)}"
        reply = self.ask("bare", "GET", f"/agents/{name}", bearer=STAFF, body=b"")
        assert reply.status == 404, reply
        until = time.monotonic() + PATIENCE
        while True:
            with (self.folder / "audit.jsonl").open("rb") as file:
                file.seek(self._read)
                data = file.read()
            end = data.rfind(b"\n") + 1
            records = [json.loads(line) for line in data[:end].splitlines()]
            if any(one.get("target") == name for one in records):
                self._read += end
                return [one for one in records if not one.get("target", "").startswith("mark-")]
            assert time.monotonic() < until, "no line of audit has come"
            time.sleep(0.002)

    def denials(self) -> list[str]:
        """Why somebody was not let in, of each time since the last look at the log."""
        return [one["reason"] for one in self.audited() if one["what"] == "denied"]

    def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait for something to become true."""
        until = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < until, "it has not become true"
            time.sleep(0.01)


class Kept:
    """One connection, made anew when the other side has closed it."""

    def __init__(self, fortress: Fortress, edge: str) -> None:
        self._fortress = fortress
        self.edge = edge
        self._socket: socket.socket | None = None
        self._host = f"127.0.0.1:{fortress.port(edge)}"

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(
        self,
        method: str,
        target: str,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """One request, and its answer."""
        data = call(self.edge) if body is None else body
        told = {"Host": self._host, **usual(self.edge)}
        if bearer is not None:
            told["Authorization"] = f"Bearer {bearer}"
        told.update(headers or {})
        told.setdefault("Content-Length", str(len(data)))
        lines = [
            f"{method} {target} HTTP/1.1",
            *(f"{k}: {v}" for k, v in told.items() if v),
            "",
            "",
        ]
        return self.send("\r\n".join(lines).encode("latin-1") + data, method)

    def send(self, data: bytes, method: str = "POST") -> Reply:
        """Bytes as they are, and the answer to them."""
        if self._socket is None:
            self._socket = self._fortress.connect(self.edge)
        try:
            with contextlib.suppress(
                BrokenPipeError
            ):  # refused before all was sent: the answer says why
                self._socket.sendall(data)
            reply = read_reply(self._socket, method)
        except BaseException:
            self.close()
            raise
        if reply.get("connection") == "close":
            self.close()
        return reply


def read_reply(connection: socket.socket, method: str = "POST") -> Reply:
    """The next answer, read strictly; with no canary in it."""
    parser = http.client.HTTPResponse(connection, method=method)
    parser.begin()
    body = parser.read()
    reply = Reply(parser.status, [(k.lower(), v) for k, v in parser.getheaders()], body)
    parser.close()
    canary.check(body, "an answer")
    canary.check(str(reply.headers), "the headers of an answer")
    return reply


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; a reset and a broken TLS are ends, too."""
    parts = []
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := connection.recv(65536):
            parts.append(data)
    canary.check(b"".join(parts), "an answer")
    return b"".join(parts)


def usual(edge: str) -> dict[str, str]:
    """The headers of a right call."""
    if edge in ("api", "bare"):
        return {"Content-Type": "application/json"}
    return {
        "Content-Type": "application/json",
        "Accept": ACCEPT,
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "vault.open_safe",
    }


def call(edge: str, tool: str = "vault.open_safe", **arguments: Any) -> bytes:
    """A right call."""
    given = arguments or {"name": "mine"}
    if edge in ("api", "bare"):
        return json.dumps({"tool": tool, "arguments": given}).encode()
    params = {"name": tool, "arguments": given, "_meta": {VERSION: MODERN, CAPABILITIES: {}}}
    return json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    ).encode()


def ring_toml(**keys: str) -> str:
    """A key ring whose keys have the same secret; what is given are further lines of each."""
    return "".join(
        f'[[key]]\nid = "{name}"\nprincipal = "partner"\nscopes = ["vault", "operate"]\n'
        f'secret = "{secret_text()}"\n{lines}\n'
        for name, lines in keys.items()
    )


def secret_text() -> str:
    """The secret of all keys, as a ring has it."""
    return base64.b64encode(RING_SECRET).decode()


def refused(folder: pathlib.Path, auth: Mapping[str, Mapping[str, str]], more: str = "") -> str:
    """What flowserve says that does not start, with these schemes at an edge."""
    lines = ["[node]", 'name = "refused"', more]
    for name, settings in auth.items():
        lines += [f"[auth.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in settings.items())]
    lines += ["[edge.mcp]", 'type = "mcp"', 'bind = "127.0.0.1:0"', f"auth = {json.dumps([*auth])}"]
    (folder / "flow.toml").write_text("\n".join(lines))
    done = node.run("flowserve", "--config", str(folder / "flow.toml"), cwd=folder)
    assert done.returncode in (1, 2), done
    canary.check(done.stdout + done.stderr, "what flowserve said that did not start")
    assert "Traceback" not in done.stderr
    return done.stderr


@contextlib.contextmanager
def standing(
    folder: pathlib.Path,
    *,
    idp_keys: str = 'keys = "jwks.json"',
    partners: str = "",
    ring: str | None = None,
    more: str = "",
    limits: str = "",
    mcp: str = "",
    keys: str = EVERY,
    allow: str = "vault.*",
    environment: Mapping[str, str] | None = None,
) -> Generator[Fortress]:
    """A fortress in a folder. `limits` are those of HTTP, at every edge; `mcp` are settings of MCP edges;
    `allow` is what who has the scope "vault" may use."""
    authority = Authority()
    (folder / "keys").mkdir()
    authority.issue("127.0.0.1").write(folder / "keys", "server")
    signing = {name: tokens.SigningKey(name, kid=name) for name in ("EdDSA", "ES256", "RS256")}
    (folder / "jwks.json").write_bytes(tokens.jwks(*signing.values()))
    (folder / "revoked.txt").write_text("# none\n")
    path = canary.keeps(folder / "ring.toml")
    path.touch(0o600)
    path.write_text(ring or ring_toml(k1=""))
    text = CONFIG.format(
        issuer=ISSUER,
        staff=hashlib.sha256(STAFF.encode()).hexdigest(),
        idp=idp_keys,
        partners=partners,
        allow=allow,
        edges="".join(
            EDGE.format(name=name, type=kind, auth=auth, more=_settings(kind, secure, limits, mcp))
            for name, kind, secure, auth in (
                ("mcp", "mcp", True, keys),
                ("plain", "mcp", False, keys),
                ("shared", "mcp", True, '["shared"]'),
                ("api", "api", True, keys),
                ("bare", "api", False, keys),
            )
        ),
        more=more,
    )
    (folder / "flow.toml").write_text(text)
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "FORTRESS_CALLS": str(folder / "calls"),
        "FORTRESS_SHARED": SHARED,
        "FORTRESS_AUDIT": canary.CANARY + "-audit",
        **(environment or {}),
    }
    with node.serving(folder / "flow.toml", env=environment, cwd=folder) as running:
        one = Fortress(running, folder, signing, authority.trusting(folder))
        yield one
        one.leave()
        assert running.end() == 0, running.said
    said = "\n".join(running.said)
    assert "Traceback" not in re.sub(r"(?s)ZeroDivisionError.*", "", said), said
    canary.check(said, "what the node said")
    canary.check_folder(folder)


def _settings(kind: str, secure: bool, limits: str, mcp: str) -> str:
    name = "http" if kind == "mcp" else "limits"
    lines = [mcp] if kind == "mcp" else []
    return "\n".join(
        [*lines, *([TLS] if secure else []), *([f"{name} = {{ {limits} }}"] if limits else [])]
    )


def strict(data: bytes) -> list[int]:
    """The statuses of all answers in some bytes, read by h11."""
    reader, found = h11.Connection(h11.CLIENT), []
    reader.receive_data(data)
    reader.receive_data(b"")
    while data:
        if reader.our_state is h11.DONE:
            reader.start_next_cycle()
        reader.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        reader.send(h11.EndOfMessage())
        event = reader.next_event()
        if not isinstance(event, h11.Response):
            break
        found.append(event.status_code)
        while not isinstance(reader.next_event(), (h11.EndOfMessage, h11.ConnectionClosed)):
            pass
        if reader.their_state is not h11.DONE:
            break
    return found
