"""Signed requests: each covered part, the window, replay, key ids, rotation, and a flood of wrong ones."""

from __future__ import annotations

import base64
import datetime
import pathlib
import secrets
import tracemalloc
from collections.abc import Callable
from typing import Any

import attrs
import httpx
import pytest
import trio
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from flow_auth.hmac import HmacConfig, HmacScheme, read_private
from flow_auth.watched import WatchedFile
from flowcore import open_flow
from flowcore.errors import AssemblyError, Overloaded, Unauthenticated
from flowcore.http import HeaderMap, Request, open_client
from flowcore.signing import Key, KeyRing, Signer, read_header, read_ring

HERE = "http://flow.example/mcp"
URL = "http://flow.example/mcp?a=1&b=%20"
NOW = 1_795_000_000.0
SECRETS = {name: secrets.token_bytes(32) for name in ("k1", "k2", "k3")}


def ring(**more: dict[str, Any]) -> KeyRing:
    made: dict[str, dict[str, Any]] = {"k1": {}} | more
    return KeyRing(
        Key(id=name, secret=SECRETS[name], principal=f"owner of {name}", **settings)
        for name, settings in made.items()
    )


@attrs.define
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


def scheme(keys: KeyRing | None = None, clock: Clock | None = None, **more: Any) -> HmacScheme:
    found = keys or ring()
    config = HmacConfig(keys=pathlib.Path("unused"), **more)
    return HmacScheme(config, "partners", lambda: found, clock or Clock())


def signed(
    body: bytes = b'{"n":1}',
    *,
    keys: KeyRing | None = None,
    clock: Clock | None = None,
    receiver: str = HERE,
    method: str = "POST",
) -> Request:
    signer = Signer(keys or ring(), receiver, clock=clock or Clock())
    return request(signer.authorization(method, URL, body), body, method=method)


def request(
    authorization: str | None,
    body: bytes = b"",
    *,
    method: str = "POST",
    target: str = "/mcp?a=1&b=%20",
    host: str = "flow.example",
    **more: str,
) -> Request:
    headers = HeaderMap({b"host": host.encode()})
    if authorization is not None:
        headers[b"authorization"] = authorization.encode("latin-1")
    for name, value in more.items():
        headers[name.replace("_", "-").encode()] = value.encode("latin-1")
    return Request(method, target, headers, body, "192.0.2.1", 1, trio.Event())


async def refused(it: HmacScheme, of: Request, why: str, resource: str = HERE) -> None:
    with pytest.raises(Unauthenticated, match=why):
        await it.identify(of, resource)


async def test_a_signed_request_is_its_keys_owners_and_good_once() -> None:
    it = scheme(ring(k1={"roles": frozenset({"writer"})}))
    one = signed()
    principal = await it.identify(one, HERE)
    assert principal is not None
    assert (principal.name, principal.scheme) == ("owner of k1", "partners")
    assert principal.roles == {"writer"}
    await refused(it, one, "nonce is used")
    assert await it.identify(signed(), HERE) is not None


async def test_an_unsigned_request_is_not_for_this_scheme() -> None:
    for other in (None, "Bearer abc", "FLOW-HMAC-SHA256x a"):
        assert await scheme().identify(request(other), HERE) is None


CHANGES: dict[str, Callable[[Request], None]] = {
    "method": lambda r: setattr(r, "method", "PUT"),
    "path": lambda r: setattr(r, "target", "/admin?a=1&b=%20"),
    "query": lambda r: setattr(r, "target", "/mcp?a=2&b=%20"),
    "query's spelling": lambda r: setattr(r, "target", "/mcp?a=1&b=+"),
    "no query": lambda r: setattr(r, "target", "/mcp"),
    "authority": lambda r: r.headers.__setitem__(b"host", b"evil.example"),
    "port": lambda r: r.headers.__setitem__(b"host", b"flow.example:81"),
    "body": lambda r: setattr(r, "body", b'{"n":2}'),
    "no body": lambda r: setattr(r, "body", b""),
}


@pytest.mark.parametrize("part", CHANGES)
async def test_each_covered_part_that_is_changed_shows(part: str) -> None:
    one = signed()
    CHANGES[part](one)
    await refused(scheme(), one, "signature is wrong")


@pytest.mark.parametrize("part", ["key", "created", "nonce", "receiver", "signature"])
async def test_each_part_of_the_header_that_is_changed_shows(part: str) -> None:
    one = signed()
    parts = read_header(one.headers[b"authorization"].decode())
    wrong: dict[str, Any] = {
        "key": "k2",
        "created": parts.created + 1,
        "nonce": "A" * 24,
        "receiver": HERE + "/other",
        "signature": bytes(32),
    }
    changed = attrs.evolve(parts, **{part: wrong[part]})
    one.headers[b"authorization"] = changed.header().encode()
    it = scheme(ring(k2={}), receivers=(HERE, HERE + "/other"))
    await refused(it, one, "signature is wrong")


@pytest.mark.parametrize(("skew", "good"), [(-61, False), (-59, True), (59, True), (61, False)])
async def test_the_window_is_a_minute_to_both_sides(skew: int, good: bool) -> None:
    one = signed(clock=Clock(NOW + skew))
    if good:
        assert await scheme().identify(one, HERE) is not None
    else:
        await refused(scheme(), one, "too old, or of the future")


async def test_a_request_made_ahead_of_our_clock_cannot_be_replayed_while_it_is_good() -> None:
    clock = Clock()
    it = scheme(clock=clock)
    one = signed(clock=Clock(NOW + 59))
    assert await it.identify(one, HERE) is not None
    for later in (1, 60, 118):
        clock.now = NOW + later
        await refused(it, one, "nonce is used")
    clock.now = NOW + 120
    await refused(it, one, "too old")


async def test_a_request_for_another_receiver_is_refused() -> None:
    one = signed(receiver="http://other.example/mcp")
    await refused(scheme(), one, "signed for somebody else")
    it = scheme(receivers=("http://other.example/mcp",))
    assert await it.identify(one, HERE) is not None


@pytest.mark.parametrize("key", ["k9", "../../etc/passwd", "k1/../k1", "K1", "k1 ", "%6b1"])
async def test_an_unknown_key_id_is_refused_whatever_it_looks_like(key: str) -> None:
    parts = read_header(signed().headers[b"authorization"].decode())
    await refused(scheme(), request(attrs.evolve(parts, key=key).header()), "not active|malformed")


@pytest.mark.parametrize(
    "header",
    [
        "FLOW-HMAC-SHA256 ",
        "FLOW-HMAC-SHA256 keyid=k1",
        'FLOW-HMAC-SHA256 keyid="k1", created=1e9, nonce="A", receiver="x", signature="y"',
        'flow-hmac-sha256 keyid="k1"',
        "FLOW-HMAC-SHA256 " + "x" * 5000,
    ],
)
async def test_a_malformed_header_is_refused(header: str) -> None:
    await refused(scheme(), request(header), "malformed|too long")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_not_for_us(data: bytes) -> None:
    async def ask() -> None:
        one = request(None)
        one.headers[b"authorization"] = b"FLOW-HMAC-SHA256 " + data
        await refused(scheme(), one, "malformed")

    trio.run(ask)


async def test_keys_have_their_time_and_the_newest_signs() -> None:
    clock = Clock()
    keys = ring(k1={"not_after": NOW + 100}, k2={"not_before": NOW + 50})
    it = scheme(keys, clock)

    async def by() -> str:
        principal = await it.identify(signed(keys=keys, clock=clock), HERE)
        assert principal is not None
        return principal.name

    assert await by() == "owner of k1"
    old = signed(keys=keys, clock=Clock(NOW + 49))
    clock.now = NOW + 50
    assert await by() == "owner of k2"
    assert await it.identify(old, HERE) is not None  # both are good while they overlap
    late = signed(keys=ring(), clock=Clock(NOW + 99))
    clock.now = NOW + 100
    await refused(it, late, "not active")
    assert await by() == "owner of k2"


async def test_wrong_macs_fill_nothing() -> None:
    it = scheme(nonces=10)
    wrong = signed(
        keys=KeyRing([Key(id="k1", secret=b"another secret of 32 bytes or so", principal="x")])
    )
    await refused(it, wrong, "signature is wrong")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10_000):
        with pytest.raises(Unauthenticated):
            await it.identify(wrong, HERE)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200_000
    assert await it.identify(signed(), HERE) is not None


async def test_more_requests_than_can_be_remembered_are_refused_not_forgotten() -> None:
    clock = Clock()
    it = scheme(nonces=3, clock=clock)
    first = signed()
    assert await it.identify(first, HERE) is not None
    for _ in range(2):
        assert await it.identify(signed(), HERE) is not None
    with pytest.raises(Overloaded):
        await it.identify(signed(), HERE)
    with pytest.raises(Overloaded):
        await it.identify(first, HERE)
    clock.now = NOW + 121
    assert await it.identify(signed(clock=clock), HERE) is not None


async def test_a_key_file_is_for_its_owner_only_and_is_read_again(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    path = tmp_path / "ring.toml"
    path.write_text(toml("k1"))
    path.chmod(0o640)
    with pytest.raises(AssemblyError, match="can be read by others"):
        WatchedFile(path, read_private(path), "key ring")
    path.chmod(0o600)
    file = WatchedFile(path, read_private(path), "key ring")
    it = HmacScheme(HmacConfig(keys=path), "partners", file.get, Clock())
    assert await it.identify(signed(), HERE) is not None
    path.write_text(toml("k1", "revoked = true") + toml("k2"))
    await trio.sleep(1)
    await refused(it, signed(), "not active")
    assert await it.identify(signed(keys=KeyRing([key("k2")])), HERE) is not None


async def test_a_ring_may_be_a_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "auth": {"partners": {"type": "hmac", "keys": {"env": "A_RING"}}},
        "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0", "auth": ["partners"]}},
    }
    monkeypatch.setenv("A_RING", toml("k1"))
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    async with open_flow(config) as flow, open_client() as client:
        [url] = flow.endpoints["mcp"]
        for name, status in (("k1", 200), ("k2", 401)):
            signer = Signer(KeyRing([key(name)]), url)
            headers = [
                (b"content-type", b"application/json"),
                (b"accept", b"application/json, text/event-stream"),
                (b"authorization", signer.authorization("POST", url, body).encode()),
            ]
            answer = await client.request("POST", url, headers=headers, body=body)
            assert answer.status == status, answer.body
    monkeypatch.setenv("A_RING", "no ring")
    with pytest.raises(AssemblyError, match="the key ring: is not TOML"):
        async with open_flow(config):
            pass


def key(name: str) -> Key:
    return Key(id=name, secret=SECRETS[name], principal=name)


def toml(name: str, *more: str) -> str:
    secret = base64.b64encode(SECRETS[name]).decode()
    lines = ["[[key]]", f'id = "{name}"', f'secret = "{secret}"', f'principal = "{name}"', *more]
    return "\n".join(lines) + "\n"


WRONG_RINGS: dict[str, tuple[str, str]] = {
    "nothing": ("", "expected .*key"),
    "no TOML": ("[[", "is not TOML"),
    "other tables": ("[other]", "not other"),
    "an unknown field": (toml("k1", "scret = 1"), "unknown scret"),
    "one id twice": (toml("k1") * 2, "two keys have the id 'k1'"),
    "a path for an id": (toml("k1").replace('id = "k1"', 'id = "../k"'), "expected a key id"),
    "a short secret": ('[[key]]\nid="a"\nprincipal="a"\nsecret="c2hvcnQ="', "at least 32 bytes"),
    "a sample": (f'[[key]]\nid="a"\nprincipal="a"\nsecret="{"QUFB" * 12}"', "follows a pattern"),
    "no base64": ('[[key]]\nid="a"\nprincipal="a"\nsecret="???"', "not base64"),
    "no principal": ('[[key]]\nid="a"\nsecret="QUFB"', "expected principal"),
    "a time without a zone": (toml("k1", "not_after = 2026-01-01T00:00:00"), "with its zone"),
    "a time as text": (toml("k1", 'not_after = "2026"'), "expected not_after as a time"),
    "an end before the beginning": (
        toml("k1", "not_before = 2027-01-01T00:00:00Z", "not_after = 2026-01-01T00:00:00Z"),
        "not_before to be before",
    ),
    "revoked as text": (toml("k1", 'revoked = "yes"'), "expected revoked"),
    "roles as text": (toml("k1", 'roles = "admin"'), "expected roles"),
}


@pytest.mark.parametrize("case", WRONG_RINGS)
def test_a_wrong_key_ring_is_refused_with_the_reason(case: str) -> None:
    text, why = WRONG_RINGS[case]
    with pytest.raises(ValueError, match=why):
        read_ring(text.encode())


async def test_httpx_signs_what_it_sends() -> None:
    sent: list[httpx.Request] = []

    def answer(one: httpx.Request) -> httpx.Response:
        sent.append(one)
        return httpx.Response(200)

    auth = Signer(ring(), HERE, clock=Clock()).auth()
    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, auth=auth) as client:
        await client.post(URL, json={"n": 1})
    [one] = sent
    received = request(one.headers["authorization"], one.content, target=one.url.raw_path.decode())
    assert await scheme().identify(received, HERE) is not None


# ---- RFC 9421


def standard(
    body: bytes = b'{"n":1}',
    *,
    covered: tuple[str, ...] = ("@method", "@authority", "@path", "@query"),
    created: float = NOW,
    nonce: str | None = "a nonce of 24 characters",
    tag: str | None = HERE,
    secret: bytes = SECRETS["k1"],
    key_id: str = "k1",
) -> Request:
    signer = HTTPMessageSigner(
        signature_algorithm=algorithms.HMAC_SHA256,
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={key_id: secret}),
    )
    message = httpx.Request("POST", URL, content=body)
    signer.sign(
        message,
        key_id=key_id,
        created=datetime.datetime.fromtimestamp(created, datetime.UTC),
        nonce=nonce,
        tag=tag,
        covered_component_ids=covered,
        body=body,
    )
    named = {"signature-input", "signature", "content-digest"}
    headers = {k.replace("-", "_"): v for k, v in message.headers.items() if k in named}
    return request(None, body, **headers)


async def test_the_form_of_rfc_9421_is_taken_and_good_once(autojump_clock: MockClock) -> None:
    clock = Clock(datetime.datetime.now(datetime.UTC).timestamp())
    it = scheme(clock=clock)
    one = standard(created=clock.now)
    principal = await it.identify(one, HERE)
    assert principal is not None
    assert principal.name == "owner of k1"
    await refused(it, one, "nonce is used")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"covered": ("@method", "@authority", "@path")}, "was not covered"),
        ({"covered": ("@authority", "@path", "@query")}, "was not covered"),
        ({"nonce": None}, "lacks created, or a nonce"),
        ({"nonce": "short"}, "lacks created, or a nonce"),
        ({"tag": None}, "tag does not name"),
        ({"tag": "http://other.example/mcp"}, "tag does not name"),
        ({"secret": secrets.token_bytes(32)}, "signature is wrong"),
        ({"key_id": "k9"}, "signature is wrong"),
        ({"created": -62.0}, "signature is wrong"),
        ({"created": 70.0}, "signature is wrong"),
    ],
)
async def test_a_wrong_signature_of_rfc_9421_is_refused(more: dict[str, Any], why: str) -> None:
    now = datetime.datetime.now(datetime.UTC).timestamp()
    created = now + more.pop("created", 0.0)
    await refused(scheme(clock=Clock(now)), standard(created=created, **more), why)


@pytest.mark.parametrize("part", [*CHANGES, "content-digest", "signature", "signature-input"])
async def test_each_part_that_rfc_9421_covers_shows_when_it_is_changed(part: str) -> None:
    now = datetime.datetime.now(datetime.UTC).timestamp()
    one = standard(created=now)
    if part in CHANGES:
        CHANGES[part](one)
    else:
        del one.headers[part.encode()]
    await refused(scheme(clock=Clock(now)), one, "signature is wrong")
