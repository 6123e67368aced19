"""Attacks by signature, in flowcore's own form and in that of RFC 9421, on a running node."""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
import pathlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import httpx
import pytest
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

from flowcore.signing import Key, KeyRing, Signed, Signer, canonical, signature_of
from support import canary
from support import fortress as site
from support.fortress import RING_SECRET, Fortress, Reply

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
RING = site.ring_toml(
    k1="",
    retired=f"not_after = {(NOW - DAY).isoformat()}",
    early=f"not_before = {(NOW + DAY).isoformat()}",
    revoked="revoked = true",
)


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    with site.standing(tmp_path_factory.mktemp("fortress"), ring=RING) as one:
        yield one


@attrs.define(kw_only=True)
class Message:
    """A request as it is sent: signed first, changed after."""

    method: str = "POST"
    target: str = "/mcp?a=1&b=%20"
    host: str
    body: bytes
    headers: dict[str, str]

    def send(self, fortress: Fortress, edge: str = "plain") -> Reply:
        return fortress.ask(
            edge,
            self.method,
            self.target,
            headers={"Host": self.host, **self.headers},
            body=self.body,
        )


def compact(fortress: Fortress, edge: str = "plain", **more: Any) -> Message:
    """Signed in flowcore's form; what is given is signed instead of what is right."""
    host = fortress.base(edge).partition("://")[2]
    message = Message(host=host, body=site.call(edge), headers={})
    signed = Signed(
        key=more.get("key", "k1"),
        created=int(time.time()) + more.get("skew", 0),
        nonce=more.get("nonce", secrets.token_urlsafe(18)),
        receiver=more.get("receiver", fortress.uri(edge)),
    )
    text = canonical(message.method, host, message.target, message.body, signed)
    mac = signature_of(text, more.get("secret", RING_SECRET))
    message.headers["Authorization"] = attrs.evolve(signed, signature=mac).header()
    return message


COVERED = ("@method", "@authority", "@path", "@query", "content-digest")


def standard(fortress: Fortress, edge: str = "plain", **more: Any) -> Message:
    """Signed in the form of RFC 9421."""
    base = fortress.base(edge)
    message = Message(host=base.partition("://")[2], body=site.call(edge), headers={})
    key = more.get("key", "k1")
    signer = HTTPMessageSigner(
        signature_algorithm=algorithms.HMAC_SHA256,
        key_resolver=MappingKeyResolver(
            public_keys={}, private_keys={key: more.get("secret", RING_SECRET)}
        ),
    )
    request = httpx.Request("POST", base + message.target, content=message.body)
    covered = more.get("covered", COVERED)
    signer.sign(
        request,
        key_id=key,
        created=datetime.datetime.now(datetime.UTC)
        + datetime.timedelta(seconds=more.get("skew", 0)),
        nonce=more.get("nonce", secrets.token_urlsafe(18)),
        tag=more.get("receiver", fortress.uri(edge)),
        covered_component_ids=covered,
        body=message.body if "content-digest" in covered else None,
    )
    for name in ("Signature-Input", "Signature", "Content-Digest"):
        if name in request.headers:
            message.headers[name] = request.headers[name]
    return message


FORMS: dict[str, Callable[..., Message]] = {"compact": compact, "standard": standard}
Change = Callable[[Message], object]
CHANGES: dict[str, Change] = {
    "method": lambda m: setattr(m, "method", "DELETE"),
    "path": lambda m: setattr(m, "target", "/mcp/?a=1&b=%20"),
    "query": lambda m: setattr(m, "target", "/mcp?a=2&b=%20"),
    "query's spelling": lambda m: setattr(m, "target", "/mcp?a=1&b=+"),
    "query's order": lambda m: setattr(m, "target", "/mcp?b=%20&a=1"),
    "no query": lambda m: setattr(m, "target", "/mcp"),
    "authority": lambda m: setattr(m, "host", m.host.replace("127.0.0.1", "localhost")),
    "body": lambda m: setattr(m, "body", m.body.replace(b"mine", b"ours")),
    "no body": lambda m: setattr(m, "body", b""),
    "a body with a space more": lambda m: setattr(m, "body", m.body + b" "),
}
EXPECTED = {"path": {404}}
WRONG: dict[str, dict[str, Any]] = {
    "61 s old": {"skew": -61},
    "62 s ahead": {"skew": 62},
    "an hour old": {"skew": -3600},
    "an unknown key": {"key": "k9"},
    "a retired key": {"key": "retired"},
    "a key whose time has not come": {"key": "early"},
    "a revoked key": {"key": "revoked"},
    "a key that is a path": {"key": "../../../../etc/passwd"},
    "a key that is an absolute path": {"key": "/dev/zero"},
    "a key's beginning": {"key": "k"},
    "a key in capitals": {"key": "K1"},
    "another secret": {"secret": b"another secret of 32 bytes or more"},
    "the empty secret": {"secret": b"\0"},
    "for another node": {"receiver": "http://127.0.0.1:1/mcp"},
    "a short nonce": {"nonce": "short"},
    "a nonce of 65 characters": {"nonce": "n" * 65},
}


def headers_changed(form: str) -> dict[str, Change]:
    def swap(name: str, old: str, new: str) -> Change:
        def change(m: Message) -> None:
            assert old in m.headers[name]
            m.headers[name] = m.headers[name].replace(old, new, 1)

        return change

    if form == "compact":
        a = "Authorization"
        return {
            "key id": swap(a, 'keyid="k1"', 'keyid="k2"'),
            "created": swap(a, "created=1", "created=2"),
            "nonce": swap(a, 'nonce="', 'nonce="A'),
            "receiver": swap(a, 'receiver="http', 'receiver="https'),
            "signature": swap(a, 'signature="', 'signature="A'),
            "a parameter twice": swap(a, 'keyid="k1"', 'keyid="k1", keyid="k1"'),
            "a parameter more": swap(a, 'keyid="k1"', 'keyid="k1", alg="none"'),
            "another order": swap(a, 'keyid="k1", created', 'created, keyid="k1"'),
            "a space more": swap(a, ", nonce", ",  nonce"),
            "no signature": swap(a, ', signature="', ', signatur="'),
        }
    i, s = "Signature-Input", "Signature"
    return {
        "key id": swap(i, 'keyid="k1"', 'keyid="k2"'),
        "created": swap(i, "created=1", "created=2"),
        "nonce": swap(i, 'nonce="', 'nonce="A'),
        "tag": swap(i, 'tag="http', 'tag="https'),
        "signature": swap(s, "=:", "=:AAAA"),
        "another algorithm": swap(i, 'alg="hmac-sha256"', 'alg="ed25519"'),
        "a parameter twice": swap(i, ";created=", ";created=1;created="),
        "a key id twice": swap(i, ';keyid="k1"', ';keyid="k9";keyid="k1"'),
        "a component less": swap(i, '"@method" ', ""),
        "a component twice": swap(i, '"@method" ', '"@method" "@method" '),
        "no signature": lambda m: m.headers.pop(s),
        "no input": lambda m: m.headers.pop(i),
        "no digest": lambda m: m.headers.pop("Content-Digest"),
        "another digest": lambda m: m.headers.__setitem__("Content-Digest", "sha-256=:AAAA:"),
        "two signatures": lambda m: m.headers.update(
            {
                i: f"{m.headers[i]}, {m.headers[i].replace('pyhms', 'other', 1)}",
                s: f"{m.headers[s]}, {m.headers[s].replace('pyhms', 'other', 1)}",
            }
        ),
        "the header twice": lambda m: m.headers.update({"signature-input": m.headers[i]}),
        "no structured field": lambda m: m.headers.__setitem__(i, "((((("),
        "bytes beyond ASCII": lambda m: m.headers.__setitem__(i, 'sig=("\xe9")'),
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("edge", ["mcp", "plain"])
def test_a_signed_request_is_good_once_and_at_one_edge(
    fortress: Fortress, form: str, edge: str
) -> None:
    one = FORMS[form](fortress, edge)
    before = len(fortress.calls())
    assert one.send(fortress, edge).status == 200
    fortress.audited()
    replayed = one.send(fortress, edge)
    assert replayed.status == 401
    assert "nonce is used" in replayed.json["error"]["message"]
    # the same node by another door, for which it is not signed
    other = "plain" if edge == "mcp" else "mcp"
    fresh = FORMS[form](fortress, edge)
    assert (
        attrs.evolve(fresh, host=f"127.0.0.1:{fortress.port(other)}").send(fortress, other).status
        == 401
    )
    assert fresh.send(fortress, other).status == 401
    assert "nonce is used" in fortress.denials()[0]
    assert len(fortress.calls()) == before + 1
    assert "FLOW-HMAC-SHA256" in replayed.get("www-authenticate")


@pytest.mark.parametrize("skew", [-59, 59])
@pytest.mark.parametrize("form", FORMS)
def test_a_clock_may_be_off_by_less_than_a_minute(fortress: Fortress, form: str, skew: int) -> None:
    if form == "standard" and skew > 0:
        skew -= 1  # the library that reads it counts from a moment of its own
    assert FORMS[form](fortress, skew=skew).send(fortress).status == 200


@pytest.mark.parametrize("form", FORMS)
def test_each_wrong_signature_is_refused_and_written_down(fortress: Fortress, form: str) -> None:
    before = fortress.calls()
    fortress.audited()
    wrong = []
    asked = 0
    for name, more in WRONG.items():
        asked += 1
        reply = FORMS[form](fortress, **more).send(fortress)
        if reply.status != 401:
            wrong.append((name, reply))
    for name, change in {**CHANGES, **headers_changed(form)}.items():
        message = FORMS[form](fortress)
        change(message)
        asked += name not in EXPECTED
        reply = message.send(fortress)
        if reply.status not in EXPECTED.get(name, {401}):
            wrong.append((name, reply))
    assert wrong == []
    reasons = fortress.denials()
    assert len(reasons) == asked, reasons
    assert fortress.calls() == before


@pytest.mark.parametrize("left_out", COVERED)
def test_what_must_be_covered_is_asked_for(fortress: Fortress, left_out: str) -> None:
    covered = tuple(one for one in COVERED if one != left_out)
    message = standard(fortress, covered=covered)
    assert message.send(fortress).status == 401
    message.body = message.body.replace(b"mine", b"ours")
    assert message.send(fortress).status == 401
    assert "open_safe ours" not in fortress.calls()


def test_a_right_digest_that_is_not_signed_is_none(fortress: Fortress) -> None:
    """Whoever swaps the body can swap a digest that nobody signed."""
    message = standard(fortress, covered=COVERED[:-1])
    message.body = message.body.replace(b"mine", b"ours")
    digest = hashlib.sha256(message.body).digest()
    message.headers["Content-Digest"] = f"sha-256=:{base64.b64encode(digest).decode()}:"
    assert message.send(fortress).status == 401
    assert "open_safe ours" not in fortress.calls()


def test_a_response_to_a_signature_is_no_signature(fortress: Fortress) -> None:
    """Both forms at once, and a token beside a signature: the first scheme that applies decides alone."""
    one, other = compact(fortress), standard(fortress)
    one.headers.update(other.headers)
    one.headers["Authorization"] = one.headers["Authorization"][:-4] + 'AAA"'
    assert one.send(fortress).status == 401  # a right one beside it does not mend it
    bad = standard(fortress)
    bad.headers["Signature"] = bad.headers["Signature"].replace("=:", "=:AAAA", 1)
    bad.headers["Authorization"] = "Bearer flow_wrong"
    assert bad.send(fortress).status == 401


def test_a_key_that_is_revoked_retired_or_added_counts_within_a_second(fortress: Fortress) -> None:
    path = fortress.folder / "ring.toml"

    def put(text: str) -> None:
        made = canary.keeps(path.with_name("ring.new"))
        made.touch(0o600)
        made.write_text(text)
        os.replace(made, path)

    def status() -> int:
        return compact(fortress, key="k1").send(fortress).status

    assert status() == 200
    try:
        for text in (
            site.ring_toml(k1="revoked = true", k2=""),
            site.ring_toml(k1=f"not_after = {(NOW - DAY).isoformat()}", k2=""),
        ):
            put(text)
            began = time.monotonic()
            fortress.wait_for(lambda: status() == 401)
            print(f"refused after {time.monotonic() - began:.2f} s")
            assert compact(fortress, key="k2").send(fortress).status == 200
            put(RING)
            fortress.wait_for(lambda: status() == 200)
    finally:
        put(RING)


@pytest.mark.parametrize("many", [30_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_a_flood_of_wrong_macs_takes_no_memory_and_no_nonces(
    many: int, tmp_path: pathlib.Path
) -> None:
    """So many of them, and a store of ten nonces has still room for nine."""
    with site.standing(tmp_path, partners="nonces = 10") as fortress:
        assert compact(fortress).send(fortress).status == 200
        host = f"127.0.0.1:{fortress.port('plain')}"
        wrong = compact(fortress, secret=b"another secret of 32 bytes or more")
        body = wrong.body
        head = "\r\n".join(
            [
                f"POST {wrong.target} HTTP/1.1",
                f"Host: {host}",
                *(f"{k}: {v}" for k, v in {**site.usual("plain"), **wrong.headers}.items()),
                f"Content-Length: {len(body)}",
                "",
                "",
            ]
        ).encode()
        pump(fortress, (head + body) * 100, many // 20)
        before = resident(fortress)
        pump(fortress, (head + body) * 100, many)
        assert resident(fortress) - before < 8 << 20
        for _ in range(9):
            assert compact(fortress).send(fortress).status == 200
        # of right ones, no more than can be remembered
        full = compact(fortress).send(fortress)
        assert full.status in (429, 503)
        assert int(full.get("retry-after")) >= 1
        assert len(fortress.calls()) == 10


def pump(fortress: Fortress, data: bytes, requests: int) -> None:
    """Send 100 requests at a time, and read 100 refusals."""
    with fortress.connect("plain") as one:
        for _ in range(requests // 100):
            one.sendall(data)
            seen = b""
            while seen.count(b"HTTP/1.1 401 ") < 100 or not seen.endswith(b"}"):
                more = one.recv(1 << 18)
                assert more
                seen += more
            assert b"HTTP/1.1 200" not in seen


def resident(fortress: Fortress) -> int:
    """The node's resident memory, in bytes."""
    for line in pathlib.Path(f"/proc/{fortress.node.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_a_ring_that_others_can_read_keeps_a_node_from_starting(tmp_path: pathlib.Path) -> None:
    ring = canary.keeps(tmp_path / "ring.toml")
    ring.write_text(site.ring_toml(k1=""))
    for mode in (0o640, 0o602):
        ring.chmod(mode)
        refused = site.refused(tmp_path, {"partners": {"type": "hmac", "keys": "ring.toml"}})
        assert "can be read by others" in refused
    ring.chmod(0o600)
    ring.write_text(site.ring_toml(k1="").replace(site.secret_text(), "c2VjcmV0" * 8))
    assert "too simple" in site.refused(
        tmp_path, {"partners": {"type": "hmac", "keys": "ring.toml"}}
    )


def test_the_ring_of_a_client_is_no_key_of_the_node(fortress: Fortress) -> None:
    """A key of the same id, made by somebody else."""
    ring = KeyRing([Key(id="k1", secret=secrets.token_bytes(32), principal="partner")])
    signer = Signer(ring, fortress.uri("plain"))
    told = signer.authorization("POST", fortress.base("plain") + "/mcp", site.call("plain"))
    headers: Mapping[str, str] = {"Authorization": told}
    assert fortress.ask("plain", headers=headers).status == 401
