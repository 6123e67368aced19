"""Attacks by token: each with the status, the challenge and the line in the audit log that it has to get."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support import fortress as site
from support import tokens
from support.fortress import ISSUER, SHARED, Fortress
from support.jwks_server import Issuer, serving_keys
from support.tokens import SigningKey, b64, claims, token

KINDS = ("EdDSA", "ES256", "RS256", "HS256")
PUBLIC = KINDS[:3]
OTHERS = {kind: SigningKey(kind, kid=kind) for kind in PUBLIC}


def edge_of(kind: str) -> str:
    return "shared" if kind == "HS256" else "mcp"


def key_of(fortress: Fortress, kind: str) -> SigningKey | bytes:
    return SHARED.encode() if kind == "HS256" else fortress.keys[kind]


def made(
    fortress: Fortress,
    kind: str,
    header: dict[str, Any] | bytes | None = None,
    payload: bytes | None = None,
    **more: Any,
) -> str:
    """A right token of a kind, but for what is given; a claim that is None is left out."""
    right = claims(**{"aud": fortress.uri(edge_of(kind)), "scope": site.SCOPES, "jti": "j", **more})
    return token(key_of(fortress, kind), payload or right, header).decode()


def resigned(fortress: Fortress, kind: str, algorithm: str | None, secret: bytes | None) -> str:
    """A token whose header says another algorithm, with an HMAC by something that is known to all."""
    header, payload, _ = made(fortress, kind).split(".")
    told = json.loads(base64.urlsafe_b64decode(header + "=="))
    head = b64(json.dumps({**told, "alg": algorithm}).encode()) + b"." + payload.encode()
    mac = b"" if secret is None else hmac.new(secret, head, hashlib.sha256).digest()
    return (head + b"." + b64(mac)).decode()


def public_pem(fortress: Fortress, kind: str) -> bytes:
    public = fortress.keys[kind].private.public_key()
    return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def twice(fortress: Fortress, kind: str) -> bytes:
    right = json.dumps(claims(aud=fortress.uri(edge_of(kind)), jti="j", scope=site.SCOPES))
    return (right[:-1] + ', "sub": "root"}').encode()


def cut(text: str, parts: int) -> str:
    return ".".join(text.split(".")[:parts])


def flipped(text: str) -> str:
    """The same with another letter at the beginning of the signature."""
    head, _, signature = text.rpartition(".")
    return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


Attack = Callable[[Fortress, str], str]
NOW = time.time
ATTACKS: dict[str, tuple[Attack, str]] = {
    "none": (lambda f, k: resigned(f, k, "none", None), "not believed"),
    "nOnE": (lambda f, k: resigned(f, k, "nOnE", None), "not believed"),
    "no algorithm": (lambda f, k: resigned(f, k, None, None), "not believed"),
    "a list of algorithms": (lambda f, k: made(f, k, {"alg": [k]}), "not believed"),
    "HS384": (lambda f, k: made(f, k, {"alg": "HS384"}), "not believed"),
    "an empty signature": (
        lambda f, k: made(f, k).rpartition(".")[0] + ".",
        "signature is wrong",
    ),
    "a signature with another bit": (lambda f, k: flipped(made(f, k)), "signature is wrong"),
    "another payload": (
        lambda f, k: ".".join(
            [
                made(f, k).split(".")[0],
                made(f, k, sub="root").split(".")[1],
                made(f, k).split(".")[2],
            ]
        ),
        "signature is wrong",
    ),
    "expired": (lambda f, k: made(f, k, exp=int(NOW()) - 11), "expired"),
    "without end": (lambda f, k: made(f, k, exp=None), "lacks exp"),
    "an end as text": (lambda f, k: made(f, k, exp=str(int(NOW()) + 60)), "exp is no number"),
    "an end that is true": (lambda f, k: made(f, k, exp=True), "exp is no number"),
    "an end beyond numbers": (
        lambda f, k: made(f, k, payload=b'{"exp":1e999,' + twice(f, k)[1:]),
        "member twice",
    ),
    "not valid yet": (lambda f, k: made(f, k, nbf=int(NOW()) + 60), "not valid yet"),
    "made in the future": (lambda f, k: made(f, k, iat=int(NOW()) + 60), "not valid yet"),
    "another issuer": (lambda f, k: made(f, k, iss="https://evil.example"), "another issuer"),
    "an issuer with a slash": (lambda f, k: made(f, k, iss=ISSUER + "/"), "another issuer"),
    "no issuer": (lambda f, k: made(f, k, iss=None), "lacks iss"),
    "another audience": (lambda f, k: made(f, k, aud="https://other.example/mcp"), "somebody else"),
    "the audience's beginning": (
        lambda f, k: made(f, k, aud=f.uri(edge_of(k))[:-1]),
        "somebody else",
    ),
    "for another edge": (lambda f, k: made(f, k, aud=f.uri("api")), "somebody else"),
    "for the edge without TLS": (lambda f, k: made(f, k, aud=f.uri("plain")), "somebody else"),
    "no audience": (lambda f, k: made(f, k, aud=None), "lacks aud"),
    "an empty audience": (lambda f, k: made(f, k, aud=[]), "somebody else"),
    "an audience that is an object": (lambda f, k: made(f, k, aud={"a": 1}), "aud is no list"),
    "no subject": (lambda f, k: made(f, k, sub=None), "lacks sub"),
    "a subject with a line break": (lambda f, k: made(f, k, sub="a\nb"), "sub is no name"),
    "unknown crit": (lambda f, k: made(f, k, {"crit": ["x"], "x": 1}), "not understood"),
    "an empty crit": (lambda f, k: made(f, k, {"crit": []}), "not understood"),
    "b64": (lambda f, k: made(f, k, {"b64": False}), "not understood"),
    "wrong type": (lambda f, k: made(f, k, {"typ": "dpop+jwt"}), "another type"),
    "an id token": (lambda f, k: made(f, k, {"typ": "id_token"}), "another type"),
    "no type": (lambda f, k: made(f, k, {"typ": None}), "another type"),
    "a type that is a list": (lambda f, k: made(f, k, {"typ": ["at+jwt"]}), "another type"),
    "an extra segment": (lambda f, k: made(f, k) + ".abc", "three parts"),
    "a claim twice": (lambda f, k: made(f, k, payload=twice(f, k)), "member twice"),
    "a header's member twice": (
        lambda f, k: made(f, k, f'{{"alg":"{k}","alg":"{k}","typ":"at+jwt","kid":"{k}"}}'.encode()),
        "member twice",
    ),
    "a kid that is a path": (
        lambda f, k: made(f, k, {"kid": "../../../../dev/null"}),
        "unknown key",
    ),
    "a kid that is SQL": (lambda f, k: made(f, k, {"kid": "x' UNION SELECT 'a"}), "unknown key"),
    "a kid that is a URL": (lambda f, k: made(f, k, {"kid": "http://127.0.0.1/k"}), "unknown key"),
    "a kid that is a number": (lambda f, k: made(f, k, {"kid": 7}), "key id is malformed"),
    "a kid of 300 letters": (lambda f, k: made(f, k, {"kid": "k" * 300}), "key id is malformed"),
    "a payload that is no object": (lambda f, k: made(f, k, payload=b"[]"), "no object"),
    "a payload that is no JSON": (lambda f, k: made(f, k, payload=b"{"), "not JSON"),
    "a payload of 2,000 levels": (lambda f, k: made(f, k, payload=b"[" * 2000), "not JSON"),
    "padding": (lambda f, k: made(f, k) + "=", "not base64url"),
    "more than fits": (lambda f, k: made(f, k, pad="x" * 10_000), "more than 8192 bytes"),
}
ONE_KIND: dict[str, tuple[str, Attack, str]] = {
    **{
        f"HS256 with the public key of {kind}": (
            kind,
            lambda f, k: resigned(f, k, "HS256", public_pem(f, k)),
            "not believed",
        )
        for kind in PUBLIC
    },
    **{
        f"another key of {kind}": (
            kind,
            lambda f, k: token(
                OTHERS[k], claims(aud=f.uri("mcp"), jti="j", scope=site.SCOPES)
            ).decode(),
            "signature is wrong",
        )
        for kind in PUBLIC
    },
    **{
        f"{kind} under the id of another kind": (
            kind,
            lambda f, k: made(f, k, {"kid": "RS256" if k != "RS256" else "ES256"}),
            "unknown key",
        )
        for kind in PUBLIC
    },
    "another secret": (
        "HS256",
        lambda f, k: token(b"x" * 40, claims(aud=f.uri("shared"), scope=site.SCOPES)).decode(),
        "signature is wrong",
    ),
    "the empty secret": (
        "HS256",
        lambda f, k: resigned(f, k, "HS256", b""),
        "signature is wrong",
    ),
    "EdDSA where a secret is shared": (
        "HS256",
        lambda f, k: f.token("shared", "EdDSA"),
        "not believed",
    ),
    "no kid among several of a kind": (
        "EdDSA",
        lambda f, k: made(f, k, {"kid": None}).rpartition(".")[0] + ".",
        "signature is wrong",
    ),
    "no jti where they can be revoked": ("EdDSA", lambda f, k: made(f, k, jti=None), "lacks jti"),
}
CASES = [
    *((name, kind, *case) for name, case in ATTACKS.items() for kind in KINDS),
    *((name, *case) for name, case in ONE_KIND.items()),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_token_comes_in(fortress: Fortress, kind: str) -> None:
    before = len(fortress.calls())
    reply = fortress.ask(edge_of(kind), bearer=made(fortress, kind))
    assert reply.status == 200, reply
    assert len(fortress.calls()) == before + 1


def test_a_wrong_token_is_refused_told_why_and_written_down(fortress: Fortress) -> None:
    before = fortress.calls()
    fortress.audited()
    kept = {edge: fortress.keep(edge) for edge in ("mcp", "shared")}
    wrong = []
    for name, kind, attack, why in CASES:
        edge = edge_of(kind)
        reply = kept[edge].ask("POST", "/mcp", bearer=attack(fortress, kind))
        told = reply.get("www-authenticate")
        right = (
            reply.status == 401
            and 'Bearer error="invalid_token"' in told
            and f'resource_metadata="{fortress.base(edge)}/.well-known/' in told
            and why in reply.json["error"]["message"]
            and "result" not in reply.json
        )
        if not right:
            wrong.append((name, kind, reply))
    assert wrong == []
    reasons = fortress.denials()
    assert len(reasons) == len(CASES)
    for (name, kind, _, why), reason in zip(CASES, reasons, strict=True):
        assert why in reason, (name, kind)
    assert fortress.calls() == before


@pytest.mark.parametrize("size", [1 << 20, 15_000])
def test_a_token_of_a_megabyte_is_refused_before_it_is_looked_at(
    fortress: Fortress, size: int
) -> None:
    reply = fortress.ask("mcp", bearer=made(fortress, "EdDSA", pad="x" * (size * 3 // 4)))
    assert reply.status == (431 if size > 16_384 else 401)


@pytest.mark.parametrize("name", ["access_token", "token", "Authorization", "bearer"])
def test_a_token_in_the_query_or_the_body_is_none(fortress: Fortress, name: str) -> None:
    right = made(fortress, "EdDSA")
    reply = fortress.ask("mcp", target=f"/mcp?{name}={right}")
    assert (reply.status, reply.json["error"]["message"]) == (401, "credentials are needed")
    assert "error=" not in reply.get("www-authenticate")
    form = f"access_token={right}".encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert fortress.ask("mcp", body=form, headers=kind).status == 401


@pytest.mark.parametrize(
    "value",
    [
        "Basic {}",
        "Bearer {} {}",
        "Bearer {},{}",
        'Bearer "{}"',
        "Bearer",
        "Bearer ",
        "Bearer\t{}",
        "{}",
        "Token {}",
        "Bearer {}\x00x",
    ],
)
def test_a_token_that_is_brought_otherwise_is_none(fortress: Fortress, value: str) -> None:
    told = {"Authorization": value.replace("{}", made(fortress, "EdDSA"))}
    assert fortress.ask("mcp", headers=told).status in (400, 401)


def test_a_second_authorization_header_is_refused(fortress: Fortress) -> None:
    right = made(fortress, "EdDSA")
    body = site.call("plain")
    for first, second in (("Bearer x.y.z", right), (right, "Bearer x.y.z"), (right, right)):
        told = {**site.usual("plain"), "Authorization": f"Bearer {first}", "authorization": second}
        reply = fortress.ask("mcp", headers=told, body=body)
        assert reply.status == 401


def test_a_token_without_the_scope_is_told_which(fortress: Fortress) -> None:
    reply = fortress.ask("mcp", bearer=made(fortress, "ES256", scope="other"))
    assert reply.status == 403
    told = reply.get("www-authenticate")
    assert 'error="insufficient_scope", scope="vault"' in told
    assert "resource_metadata=" in told
    [line] = [one for one in fortress.audited() if one.get("error") == "PermissionDenied"]
    assert (line["outcome"], line["principal"], line["name"]) == ("refused", "ann", "open_safe")


def test_a_revoked_token_is_refused_within_a_second_and_another_is_not(fortress: Fortress) -> None:
    lost, kept = made(fortress, "RS256", jti="lost"), made(fortress, "RS256", jti="kept")
    assert fortress.ask("mcp", bearer=lost).status == 200
    began = time.monotonic()
    (fortress.folder / "revoked.txt").write_text("lost\n")
    fortress.wait_for(lambda: fortress.ask("mcp", bearer=lost).status == 401)
    taken = time.monotonic() - began
    assert fortress.ask("mcp", bearer=kept).status == 200
    assert any("revoked" in one for one in fortress.denials())
    print(f"refused after {taken:.2f} s")


# ---- keys that come by URL


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving_keys() as one:
        yield one


@pytest.fixture
def reached(tmp_path: pathlib.Path, issuer: Issuer) -> Iterator[Fortress]:
    """A fortress that has its keys from a URL."""
    folder = tmp_path
    with site.standing(folder, idp_keys=f'jwks_url = "{issuer.url}/jwks"') as one:
        yield one


def test_keys_that_a_token_points_to_are_not_fetched(fortress: Fortress, issuer: Issuer) -> None:
    evil = SigningKey("EdDSA", kid="evil")
    issuer.answer = tokens.jwks(evil)
    fortress.audited()
    url = f"{issuer.url}/jwks"
    certificate = base64.b64encode(b"certificate").decode()
    for header in (
        {"jku": url},
        {"x5u": url},
        {"jwk": evil.jwk},
        {"x5c": [certificate]},
        {"jku": url, "x5u": url, "jwk": evil.jwk, "kid": "EdDSA"},
        {"kid": url},
    ):
        text = token(evil, claims(aud=fortress.uri("mcp"), jti="j", scope=site.SCOPES), header)
        assert fortress.ask("mcp", bearer=text.decode()).status == 401
    assert issuer.asked == 0
    assert len(fortress.denials()) == 6


def test_an_issuer_that_is_down_lets_nobody_in_and_is_asked_once(
    reached: Fortress, issuer: Issuer
) -> None:
    right = reached.token("mcp")
    issuer.status = 503
    reply = reached.ask("mcp", bearer=right)
    assert reply.status == 503
    assert int(reply.get("retry-after")) >= 1
    assert reached.calls() == []
    # it is not asked again at once, whoever knocks
    for _ in range(20):
        assert reached.ask("mcp", bearer=right).status == 503
    assert issuer.asked == 1
    # staff, who need no issuer, come in meanwhile
    assert reached.ask("mcp", bearer=site.STAFF).status == 200


BAD_ISSUERS: dict[str, Callable[[Issuer, SigningKey], None]] = {
    "10 MB": lambda i, k: setattr(i, "answer", b" " * 10_000_000 + tokens.jwks(k)),
    "endless": lambda i, k: setattr(i, "endless", True),
    "no JSON": lambda i, k: setattr(i, "answer", b"<html>"),
    "private keys": lambda i, k: setattr(
        i, "answer", json.dumps({"keys": [{**k.jwk, "d": "AAAA"}]}).encode()
    ),
    "a redirect": lambda i, k: setattr(i, "status", 302),
    "closed": lambda i, k: i.close(),
    "a secret for a key": lambda i, k: setattr(
        i, "answer", b'{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256","kid":"EdDSA"}]}'
    ),
}


@pytest.mark.parametrize("how", BAD_ISSUERS)
async def test_what_an_issuer_answers_wrongly_is_no_key(how: str, issuer: Issuer) -> None:
    """In the test's own process, over real sockets: a node for each would be half a minute."""
    from flowcore import open_flow
    from flowcore.http import open_client

    key = SigningKey("EdDSA")
    issuer.answer = tokens.jwks(key)
    BAD_ISSUERS[how](issuer, key)
    idp = {"type": "jwt", "issuer": ISSUER, "jwks_url": f"{issuer.url}/jwks"}
    config = {
        "auth": {"idp": idp},
        "agent": {"talk": {"type": "python", "target": "support.talkative:Talkative"}},
        "edge": {"api": {"type": "api", "bind": "127.0.0.1:0", "auth": ["idp"]}},
    }
    with trio.fail_after(30):
        async with open_flow(config) as flow, open_client() as client:
            base = flow.endpoints["api"][0]
            text = token(key, claims(aud=base + "/"))
            answer = await client.request(
                "GET", base + "/status", headers=[(b"authorization", b"Bearer " + text)]
            )
    assert answer.status == 503
    assert issuer.asked <= 1


def test_a_new_key_is_not_looked_for_again_and_again(reached: Fortress, issuer: Issuer) -> None:
    old, new = reached.keys["EdDSA"], SigningKey("EdDSA", kid="new")
    issuer.answer = tokens.jwks(old)
    assert reached.ask("mcp", bearer=reached.token("mcp")).status == 200
    issuer.answer = tokens.jwks(old, new)
    reached.keys["new"] = new
    # within half a minute of the last look nobody makes it look again
    for _ in range(20):
        assert reached.ask("mcp", bearer=reached.token("mcp", "new")).status == 401
    assert issuer.asked == 1
    assert reached.ask("mcp", bearer=reached.token("mcp")).status == 200


def looked(fortress: Fortress, issuer: Issuer) -> None:
    """Wait until the node has looked at what the issuer says now."""
    asked = issuer.asked
    # of the next two looks the first may have begun before, and ends before the second one
    fortress.wait_for(lambda: issuer.asked >= asked + 2)


def test_keys_rotate_by_url_and_an_issuer_that_breaks_takes_none_away(
    tmp_path: pathlib.Path, issuer: Issuer
) -> None:
    """Three rotations: the new key comes in, the old one's tokens end, remembered ones too."""
    idp = f'jwks_url = "{issuer.url}/jwks"\nrefresh = "1s"\ncache = "1h"'
    with site.standing(tmp_path, idp_keys=idp) as one:
        issuer.answer = tokens.jwks(one.keys["EdDSA"])
        old = one.token("mcp")
        assert one.ask("mcp", bearer=old).status == 200
        for number in (1, 2, 3):
            name = f"number {number}"
            one.keys[name] = SigningKey("EdDSA", kid=name)
            issuer.answer = tokens.jwks(*list(one.keys.values())[:1], one.keys[name])
            new = one.token("mcp", name)
            one.wait_for(lambda new=new: one.ask("mcp", bearer=new).status == 200)  # type: ignore[misc]
            issuer.answer = tokens.jwks(one.keys[name])
            looked(one, issuer)  # without anybody asking
            assert one.ask("mcp", bearer=old).status == 401
            assert one.ask("mcp", bearer=new).status == 200
            old = new
            one.keys = {name: one.keys[name]}
        for broken in (b" " * 10_000_000 + issuer.answer, b"<html>", b'{"keys": []}'):
            issuer.answer = broken
            looked(one, issuer)
            assert one.ask("mcp", bearer=one.token("mcp", name)).status == 200
        issuer.close()
        assert one.ask("mcp", bearer=one.token("mcp", name)).status == 200


def test_many_unknown_key_ids_at_once_make_it_look_once(
    tmp_path: pathlib.Path, issuer: Issuer
) -> None:
    idp = f'jwks_url = "{issuer.url}/jwks"\nrefresh = "1h"'
    with site.standing(tmp_path, idp_keys=idp) as one:
        issuer.answer = tokens.jwks(one.keys["EdDSA"])
        asked: list[int] = []

        def ask(number: int) -> None:
            kid = SigningKey("EdDSA", kid=f"../{number}")
            text = token(kid, claims(aud=one.uri("mcp"), jti="j"), {"kid": f"../{number}"})
            asked.append(one.ask("mcp", bearer=text.decode()).status)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert asked == [401] * 16
        assert issuer.asked == 1
