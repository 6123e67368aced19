"""Certificates: their one URI says who asks."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from flow_auth.mtls import MtlsConfig, MtlsScheme, PeerSettings
from flowcore.errors import Unauthenticated
from flowcore.http import HeaderMap, Request, Tls


def certificate(*uris: str, dns: str | None = None) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    if dns is not None:
        names.append(x509.DNSName(dns))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def request(der: bytes | None) -> Request:
    tls = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", None, der)
    return Request("POST", "/mcp", HeaderMap(), b"", "192.0.2.1", 1, trio.Event(), tls)


def scheme(*peers: PeerSettings) -> MtlsScheme:
    return MtlsScheme(MtlsConfig(peers=peers), "nodes")


async def test_the_uri_names_the_principal() -> None:
    it = scheme(
        PeerSettings(uri="spiffe://flow/node/alpha", name="alpha", roles=("leader",)),
        PeerSettings(uri="spiffe://flow/node/*", scopes=("mcp",)),
    )
    alpha = await it.identify(request(certificate("spiffe://flow/node/alpha")), "")
    beta = certificate("spiffe://flow/node/beta", dns="beta.example")
    other = await it.identify(request(beta), "")
    assert alpha is not None
    assert other is not None
    assert alpha.name == "alpha"
    assert alpha.roles == {"leader"}
    assert (other.name, other.scheme) == ("spiffe://flow/node/beta", "nodes")
    assert other.scopes == {"mcp"}
    assert await it.identify(request(beta), "") is other


async def test_who_brings_no_certificate_is_not_for_this_scheme() -> None:
    it = scheme(PeerSettings(uri="spiffe://flow/node/*"))
    assert await it.identify(request(None), "") is None
    plain = Request("POST", "/mcp", HeaderMap(), b"", "192.0.2.1", 1, trio.Event())
    assert await it.identify(plain, "") is None


@pytest.mark.parametrize(
    "der",
    [
        certificate("spiffe://flow/agent/alpha"),
        certificate("spiffe://flow/node/"),
        certificate("spiffe://flow/node/a/b"),
        certificate("spiffe://flow.evil/node/alpha"),
        certificate("SPIFFE://flow/node/alpha"),
        certificate("spiffe://flow/node/alpha", "spiffe://flow/node/beta"),
        certificate(dns="alpha"),
        certificate(),
        b"no certificate",
        b"",
    ],
    ids=["path", "empty", "deeper", "domain", "case", "two", "dns", "none", "bytes", "nothing"],
)
async def test_any_other_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(Unauthenticated):
        await scheme(PeerSettings(uri="spiffe://flow/node/*")).identify(request(der), "")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"uri": "spiffe://*/node/a"}, "at the end"),
        ({"uri": "spiffe://flow/node*"}, "after a slash"),
        ({"uri": "spiffe://flow/*", "name": "all"}, "expected no name"),
        ({"uri": "alpha"}, "expected"),
        ({"uri": ""}, "expected"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PeerSettings(**settings)
