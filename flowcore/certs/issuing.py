"""Certificates made: an authority, and what it signs (RFC 5280; identities as SPIFFE's X509-SVID has them).

Sans-IO: times are given, nothing is read or written. Keys are P-256, which every TLS 1.3 client knows, or
Ed25519, which browsers do not.

The authority signs no further authorities (path length 0), and is not believed for identities outside of
`spiffe://flow/`, nor, if it was made for some domains, for host names outside of these (RFC 5280 section
4.2.1.10).
"""

from __future__ import annotations

import datetime
import enum
import ipaddress
import re
import secrets
from typing import Literal, get_args

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flowcore.errors import FlowError

Algorithm = Literal["p256", "ed25519"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

CA_DAYS, LEAF_DAYS = 3650, 90
LOCAL = ("localhost", "127.0.0.1", "::1")
"""What a server is called if nothing else is said."""
TRUST_DOMAIN = "flow"

EARLIER = datetime.timedelta(minutes=5)
"""How long before its making a certificate begins to be good: clocks differ."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_HOST = re.compile(r"(?:\*\.)?(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


class CertsError(FlowError):
    """Something about certificates that cannot be done, with what to do instead."""


class Kind(enum.Enum):
    """What a certificate is for."""

    AUTHORITY = "ca"
    SERVER = "server"
    CLIENT = "client"
    NODE = "node"
    """A node is server and client to its neighbours."""


_USAGES = {
    Kind.SERVER: [ExtendedKeyUsageOID.SERVER_AUTH],
    Kind.CLIENT: [ExtendedKeyUsageOID.CLIENT_AUTH],
    Kind.NODE: [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
}


@attrs.frozen
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: Key = attrs.field(repr=False)

    @property
    def cert_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as PEM (PKCS #8, not encrypted)."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@attrs.frozen(kw_only=True)
class Wanted:
    """A certificate that is asked for. Raises CertsError for one that cannot be."""

    kind: Kind
    name: str
    hosts: tuple[str, ...] = ()
    """DNS names and IP addresses that it is good for."""
    days: float = LEAF_DAYS
    algorithm: Algorithm = "p256"

    def __attrs_post_init__(self) -> None:
        if self.name == Kind.AUTHORITY.value or not _NAME.fullmatch(self.name):
            raise CertsError(
                f"expected a name of small letters, digits and '-' other than ca, not {self.name!r}"
            )
        if self.kind is Kind.SERVER and not self.hosts:
            raise CertsError("a server's certificate needs a host name or an IP address")
        if self.kind is Kind.CLIENT and self.hosts:
            raise CertsError("a client's certificate has a name, and no hosts")
        check_days(self.days)
        for host in self.hosts:
            host_name(host)

    @property
    def uri(self) -> str | None:
        """The identity that it states; a server has none but its hosts."""
        if self.kind is Kind.SERVER:
            return None
        return f"spiffe://{TRUST_DOMAIN}/{self.kind.value}/{self.name}"


def check_days(days: float) -> None:
    """Raise CertsError unless a certificate can be good for so many days."""
    if not 0 < days <= 36500:
        raise CertsError(f"expected more than 0 and at most 36500 days, not {days:g}")


def host_name(host: str) -> x509.GeneralName:
    """A DNS name or an IP address, as certificates have them. Raises CertsError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if len(host) > 253 or not _HOST.fullmatch(host) or re.fullmatch(r"[\d.]+", host):
        raise CertsError(f"expected a DNS name or an IP address, not {host!r}")
    return x509.DNSName(host)


def make_authority(
    now: datetime.datetime,
    *,
    days: float = CA_DAYS,
    algorithm: Algorithm = "p256",
    domains: tuple[str, ...] = (),
) -> Issued:
    """A new authority, its own root. With `domains` it is believed for these, their subdomains and this
    machine's loopback only."""
    check_days(days)
    permitted: list[x509.GeneralName] = [x509.UniformResourceIdentifier(TRUST_DOMAIN)]
    if domains:
        for domain in (*domains, "localhost"):
            found = host_name(domain)
            if not isinstance(found, x509.DNSName) or domain.startswith("*"):
                raise CertsError(f"expected a domain such as example.com, not {domain!r}")
            permitted.append(found)
        permitted += [
            x509.IPAddress(ipaddress.ip_network(one)) for one in ("127.0.0.0/8", "::1/128")
        ]
    key = _new_key(algorithm)
    # a name of its own for each: two authorities that follow one another are never taken for one
    name = _subject(f"flowcore private CA {secrets.token_hex(4)}")
    builder = (
        _builder(name, name, key, now, now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
    )
    return Issued(builder.sign(key, _digest(key)), key)


def issue(authority: Issued, wanted: Wanted, now: datetime.datetime) -> Issued:
    """A certificate with a new key. It does not outlive its authority. Raises CertsError."""
    signer = authority.certificate
    if now >= signer.not_valid_after_utc:
        raise CertsError("the CA has expired; make a new one with: flowctl certs rotate ca")
    key = _new_key(wanted.algorithm)
    names: list[x509.GeneralName] = [host_name(host) for host in wanted.hosts]
    if wanted.uri is not None:
        names.append(x509.UniformResourceIdentifier(wanted.uri))
    _check_permitted(signer, wanted.hosts)
    ends = min(now + datetime.timedelta(days=wanted.days), signer.not_valid_after_utc)
    builder = (
        _builder(_subject(wanted.name), signer.subject, key, now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES[wanted.kind]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False
        )
    )
    return Issued(builder.sign(authority.key, _digest(authority.key)), key)


def _check_permitted(signer: x509.Certificate, hosts: tuple[str, ...]) -> None:
    """What the authority is not believed for would be refused by every client: better said now."""
    constraints = signer.extensions.get_extension_for_class(x509.NameConstraints).value
    permitted = constraints.permitted_subtrees or []
    domains = [one.value for one in permitted if isinstance(one, x509.DNSName)]
    networks = [
        ipaddress.ip_network(str(one.value)) for one in permitted if isinstance(one, x509.IPAddress)
    ]
    for host in hosts:
        name = host_name(host)
        if isinstance(name, x509.IPAddress):
            good = not networks or any(ipaddress.ip_address(host) in one for one in networks)
        else:
            plain = host.lower().removeprefix("*.")
            good = not domains or any(
                plain == one.lower() or plain.endswith(f".{one.lower()}") for one in domains
            )
        if not good:
            raise CertsError(
                f"the CA was made for {', '.join(domains)} only, and {host!r} is not of these"
            )


def _new_key(algorithm: Algorithm) -> Key:
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def _digest(key: Key) -> SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()


def _subject(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "flowcore"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    now: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
