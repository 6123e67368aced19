"""What is believed of a token, and everything else: each attack has its own refusal."""

from __future__ import annotations

import base64
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from flow_auth.jwt.keys import read_keys, secret_key
from flow_auth.jwt.settings import JwtConfig
from flow_auth.jwt.verify import KeySet, UnknownKey, Verifier
from flowcore.config import Secret
from flowcore.errors import PermissionDenied, Unauthenticated
from support.tokens import AUDIENCE, ISSUER, SigningKey, b64, claims, jwks, token

ALL = ("EdDSA", "ES256", "RS256")
ED = SigningKey("EdDSA")
KEYS = {"EdDSA": ED, "ES256": SigningKey("ES256", "k2"), "RS256": SigningKey("RS256", "k3")}
SECRET = "6d1f0c9a4be27f83d50e1b7a92c4f6e8"


def config(**more: Any) -> JwtConfig:
    if "secret" not in more:
        more.setdefault("keys", pathlib.Path("jwks.json"))
    return JwtConfig(issuer=ISSUER, **more)


def keys(*which: SigningKey) -> KeySet:
    return read_keys(jwks(*(which or KEYS.values())), ALL)


def verify(data: bytes, *, found: KeySet | None = None, **more: Any) -> Any:
    verifier = Verifier(config(**more), "idp")
    return verifier.verify(data, found or keys(), AUDIENCE, time.time())


@pytest.mark.parametrize("algorithm", ALL)
def test_a_right_token_names_its_principal(algorithm: str) -> None:
    data = token(KEYS[algorithm], claims(roles=["admin"], scope="mcp tools:call", jti="1"))
    verified = verify(data)
    assert verified.principal.name == "ann"
    assert verified.principal.scheme == "idp"
    assert verified.principal.roles == {"admin"}
    assert verified.principal.scopes == {"mcp", "tools:call"}
    assert verified.id == "1"


def test_a_shared_secret_signs_hs256() -> None:
    found = secret_key(SECRET)
    data = token(SECRET.encode())
    assert verify(data, found=found, secret=Secret(SECRET)).principal.name == "ann"
    with pytest.raises(Unauthenticated, match="signature"):
        verify(token(b"x" * 32), found=found, secret=Secret(SECRET))


def test_a_pem_file_has_keys_without_ids() -> None:
    public = KEYS["ES256"].private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    more = ED.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    found = read_keys(pem + more, ALL)
    for name in ("ES256", "EdDSA"):
        nameless = SigningKey(name, None, KEYS[name].private)
        assert verify(token(nameless), found=found).principal.name == "ann"


NOW = int(time.time())
WRONG_CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": NOW - 11}, "expired"),
    "expired long ago": ({"exp": 0}, "expired"),
    "no exp": ({"exp": None}, "lacks exp"),
    "exp as text": ({"exp": str(NOW + 300)}, "exp is no number"),
    "exp as true": ({"exp": True}, "exp is no number"),
    "exp as a list": ({"exp": [NOW + 300]}, "exp is no number"),
    "endless": ({"exp": float("inf")}, "exp is no time"),
    "no time at all": ({"exp": float("nan")}, "exp is no time"),
    "beyond all floats": ({"exp": 10**400}, "exp is no time"),
    "not yet": ({"nbf": NOW + 3600}, "not valid yet"),
    "nbf as text": ({"nbf": "0"}, "nbf is no number"),
    "issued in the future": ({"iat": NOW + 3600}, "not valid yet"),
    "no issuer": ({"iss": None}, "lacks iss"),
    "another issuer": ({"iss": "https://evil.example"}, "another issuer"),
    "an issuer like ours": ({"iss": ISSUER + "/"}, "another issuer"),
    "issuers": ({"iss": [ISSUER]}, "another issuer"),
    "no audience": ({"aud": None}, "lacks aud"),
    "another audience": ({"aud": "https://other.example/mcp"}, "somebody else"),
    "a part of our audience": ({"aud": "https://flow.example"}, "somebody else"),
    "no audience in a list": ({"aud": []}, "somebody else"),
    "an audience of numbers": ({"aud": [1]}, "no list of texts"),
    "an audience in an object": ({"aud": {AUDIENCE: True}}, "no list of texts"),
    "nobody": ({"sub": None}, "lacks sub"),
    "an empty name": ({"sub": ""}, "no name"),
    "a number for a name": ({"sub": 7}, "no name"),
    "a name with a line break": ({"sub": "ann\nbob"}, "no name"),
    "roles as an object": ({"roles": {"admin": True}}, "roles is no list"),
    "scopes as numbers": ({"scope": [1, 2]}, "scope is no list"),
    "a jti that is no text": ({"jti": 7}, "jti is no text"),
}


@pytest.mark.parametrize("case", WRONG_CLAIMS)
def test_a_token_with_wrong_claims_is_refused(case: str) -> None:
    wrong, why = WRONG_CLAIMS[case]
    with pytest.raises(Unauthenticated, match=why):
        verify(token(ED, claims(**wrong)))


def test_the_leeway_holds_for_both_ends() -> None:
    now = int(time.time())
    assert verify(token(ED, claims(exp=now - 5))).principal.name == "ann"
    assert verify(token(ED, claims(nbf=now + 5))).principal.name == "ann"


WRONG_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"alg": "none"}, "algorithm"),
    "nOnE": ({"alg": "nOnE"}, "algorithm"),
    "no algorithm": ({"alg": None}, "algorithm"),
    "algorithms": ({"alg": ["EdDSA"]}, "algorithm"),
    "one that is not believed": ({"alg": "PS256"}, "algorithm"),
    "another key's": ({"alg": "RS256"}, "unknown key"),
    "no type": ({"typ": None}, "another type"),
    "another type": ({"typ": "dpop+jwt"}, "another type"),
    "a type that is no text": ({"typ": 1}, "another type"),
    "crit": ({"crit": ["exp"]}, "extensions"),
    "an empty crit": ({"crit": []}, "extensions"),
    "b64": ({"b64": False}, "extensions"),
    "an unknown kid": ({"kid": "k9"}, "unknown key"),
    "a path for a kid": ({"kid": "../../dev/null"}, "unknown key"),
    "SQL for a kid": ({"kid": "' UNION SELECT 'x"}, "unknown key"),
    "a number for a kid": ({"kid": 1}, "malformed"),
    "a long kid": ({"kid": "k" * 257}, "malformed"),
}


@pytest.mark.parametrize("case", WRONG_HEADERS)
def test_a_token_with_a_wrong_header_is_refused(case: str) -> None:
    wrong, why = WRONG_HEADERS[case]
    with pytest.raises(Unauthenticated, match=why):
        verify(token(ED, header=wrong))


def test_a_type_may_be_written_in_full() -> None:
    assert verify(token(ED, header={"typ": "application/AT+JWT"})).principal.name == "ann"


def test_keys_that_a_token_brings_along_are_not_believed() -> None:
    mine = SigningKey("EdDSA", "mine")
    for header in (
        {"jwk": mine.jwk},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"]},
    ):
        with pytest.raises(UnknownKey):
            verify(token(mine, header=header))
        with pytest.raises(Unauthenticated, match="signature"):
            verify(token(mine, header={**header, "kid": "k1"}))


def test_a_public_key_is_no_secret() -> None:
    public = KEYS["RS256"].private.public_key()
    for form in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(KEYS["RS256"].jwk).encode(),
    ):
        with pytest.raises(Unauthenticated, match="algorithm"):
            verify(token(form, header={"kid": "k3"}))


def mangled() -> dict[str, Callable[[bytes], bytes]]:
    def of(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
        return lambda data: b".".join(change(data.split(b".")))

    return {
        "no signature": of(lambda p: [p[0], p[1], b""]),
        "no dots": lambda data: data.replace(b".", b""),
        "two parts": of(lambda p: p[:2]),
        "four parts": of(lambda p: [*p, p[2]]),
        "another payload": of(lambda p: [p[0], b64(json.dumps(claims(sub="bob")).encode()), p[2]]),
        "a payload with padding": of(lambda p: [p[0], p[1] + b"=", p[2]]),
        "a signature with a bit more": of(lambda p: [p[0], p[1], p[2][:-1] + _next(p[2][-1:])]),
        "a signature that is cut": of(lambda p: [p[0], p[1], p[2][:-4]]),
        "a signature that is longer": of(lambda p: [p[0], p[1], p[2] + b"AAAA"]),
        "base64 of the other alphabet": of(
            lambda p: [base64.b64encode(b'{"alg":"EdDSA","?":"\xc3\xbf>>>"}').rstrip(b"="), *p[1:]]
        ),
        "white space": lambda data: data + b"\n",
        "nothing": lambda data: b"",
        "dots": lambda data: b"..",
        "bytes": lambda data: bytes(range(256)) + b".." + data,
        "a megabyte": lambda data: data + b"A" * (1 << 20),
    }


def _next(character: bytes) -> bytes:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[(alphabet.index(character) + 1) % 64 :][:1]


@pytest.mark.parametrize("how", mangled())
def test_a_mangled_token_is_refused(how: str) -> None:
    with pytest.raises(Unauthenticated):
        verify(mangled()[how](token(ED)))


def test_a_member_that_comes_twice_is_refused() -> None:
    payload = json.dumps(claims())
    twice = payload[:-1] + ', "sub": "bob"}'
    with pytest.raises(Unauthenticated, match="payload has a member twice"):
        verify(token(ED, twice.encode()))
    with pytest.raises(Unauthenticated, match="header has a member twice"):
        verify(token(ED, header=b'{"alg":"EdDSA","kid":"k1","typ":"JWT","alg":"none"}'))


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"7", b"null", b"{", b'{"a":\xff}', b"[" * 100_000, b'"' * 9]
)
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(Unauthenticated):
        verify(token(ED, payload), max_size=1 << 20)


def test_a_revoked_token_is_refused_and_every_one_must_be_revocable() -> None:
    verifier = Verifier(config(revoked=pathlib.Path("revoked.txt")), "idp")
    now = time.time()
    good = token(ED, claims(jti="good"))
    assert verifier.verify(good, keys(), AUDIENCE, now, {"bad"}).id == "good"
    with pytest.raises(Unauthenticated, match="revoked"):
        verifier.verify(token(ED, claims(jti="bad")), keys(), AUDIENCE, now, {"bad"})
    with pytest.raises(Unauthenticated, match="lacks jti"):
        verifier.verify(token(ED), keys(), AUDIENCE, now, {"bad"})


def test_a_token_without_a_needed_scope_is_denied_with_the_scopes_it_needs() -> None:
    with pytest.raises(PermissionDenied) as caught:
        verify(token(ED, claims(scope="mcp")), scopes=("mcp", "tools"))
    assert caught.value.data == {"scope": "mcp tools"}
    assert verify(token(ED, claims(scp=["mcp", "tools"])), scopes=("mcp", "tools"))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    for form in (data, b64(data) + b"." + b64(data) + b"." + b64(data)):
        with pytest.raises(Unauthenticated):
            verify(form)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    ),
    st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "jti", "scope", "roles"]),
)
def test_any_claim_is_believed_or_refused(value: Any, name: str) -> None:
    try:
        verified = verify(token(ED, claims(**{name: value})))
    except Unauthenticated:
        return
    assert verified.principal.name
    assert verified.expires > time.time() - 11


WRONG_KEYS: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "neither JSON nor PEM"),
    "a list": (lambda: b"[]", "no JWK Set"),
    "keys that are none": (lambda: b'{"keys": [1]}', "no JWK Set"),
    "no keys": (lambda: b'{"keys": []}', "has no key for"),
    "keys for encryption": (
        lambda: json.dumps({"keys": [ED.jwk | {"use": "enc"}]}).encode(),
        "has no key for",
    ),
    "a secret": (
        lambda: json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "alg": "HS256"}]}).encode(),
        "has no key for",
    ),
    "a private key": (lambda: json.dumps(ED.jwk | {"d": "AAAA"}).encode(), "private key"),
    "a malformed key": (lambda: json.dumps(ED.jwk | {"x": "AAAA"}).encode(), "malformed key"),
    "one id twice": (lambda: jwks(ED, SigningKey("ES256", "k1")), "two keys of one id"),
    "too many": (lambda: json.dumps({"keys": [ED.jwk] * 101}).encode(), "more than 100 keys"),
    "a small RSA key": (
        lambda: jwks(
            SigningKey("RS256", "k", rsa.generate_private_key(public_exponent=65537, key_size=1024))
        ),
        "less than 2,048 bits",
    ),
    "PEM that is cut": (
        lambda: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "malformed key",
    ),
    "PEM of a private key": (
        lambda: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "private key",
    ),
    "PEM of a certificate": (
        lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        "no public key",
    ),
    "JSON that nests without end": (lambda: b"[" * 100_000, "neither JSON nor PEM"),
}


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_wrong_keys_are_refused_with_the_reason(case: str) -> None:
    data, why = WRONG_KEYS[case]
    with pytest.raises(ValueError, match=why):
        read_keys(data(), ALL)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "expected one of keys, jwks_url and secret, not none"),
        ({"keys": pathlib.Path("a"), "jwks_url": "https://a"}, "not keys and jwks_url"),
        ({"secret": Secret("short")}, "at least 32 bytes"),
        ({"secret": Secret("a" * 40)}, "follows a pattern"),
        ({"secret": Secret("your-256-bit-secret-0123456789abcdef")}, "a sample"),
        ({"keys": pathlib.Path("a"), "algorithms": ("HS256",)}, "a public key is no secret"),
        ({"secret": Secret(SECRET), "algorithms": ("EdDSA",)}, "HS256"),
        ({"jwks_url": "http://issuer.example/jwks"}, "expected an https URL"),
        ({"jwks_url": "issuer.example"}, "absolute http or https URL"),
    ],
)
def test_a_wrong_configuration_is_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        JwtConfig(issuer=ISSUER, **more)
