"""Whom a swarm's CA vouches for: another node's certificate, checked as RFC 5280 section 6 has it.

TLS has OpenSSL do it. Gossip carries certificates too, and what it carries is checked here, against the same
CAs: signature, dates, the CA's name constraints, what the key may be used for, and one identity, a node's.
A CA vouches directly: those between it and a node belong into the file of CAs.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import TypeVar

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from flowcore.errors import SwarmError

MOST_CERTIFICATE = 8192
"""Bytes of a certificate, at most."""
_URI = re.compile(r"spiffe://flow/node/([a-z0-9][a-z0-9-]{0,62})")
_KNOWN = frozenset(
    (
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
    )
)
_T = TypeVar("_T", bound=x509.ExtensionType)
_UNREADABLE = (
    UserWarning,
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
)


class NotVouchedFor(SwarmError):
    """A certificate that is none of a node of this swarm, and why."""


@attrs.frozen(kw_only=True)
class NodeCertificate:
    """A node's certificate that a CA of the swarm has issued."""

    name: str
    key: bytes
    """The Ed25519 public key (32 bytes)."""
    begins: datetime.datetime
    ends: datetime.datetime
    """When it, or its CA, ends."""
    der: bytes = attrs.field(repr=False)

    def good(self, now: datetime.datetime) -> bool:
        """Whether it counts now."""
        return self.begins <= now <= self.ends


_TIME = "%Y-%m-%d %H:%M:%SZ"


class Authorities:
    """The CAs of a swarm."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._certificates = tuple(certificates)

    def check(self, der: bytes, now: datetime.datetime) -> NodeCertificate:
        """Whose certificate it is. Raises NotVouchedFor, and nothing else, whatever the bytes are."""
        if len(der) > MOST_CERTIFICATE:
            raise NotVouchedFor(f"a certificate of more than {MOST_CERTIFICATE} bytes")
        try:
            with warnings.catch_warnings():
                # what `cryptography` only warns of counts as an error here
                warnings.simplefilter("error", UserWarning)
                found = self._read(x509.load_der_x509_certificate(der), der)
        except _UNREADABLE as error:
            raise NotVouchedFor(f"a certificate that cannot be read: {error}") from None
        if now > found.ends:
            raise NotVouchedFor(
                f"the certificate of {found.name!r} has expired: it ended {found.ends:{_TIME}}, and here"
                f" it is {now:{_TIME}}"
            )
        if now < found.begins:
            raise NotVouchedFor(
                f"the certificate of {found.name!r} is of the future: it begins {found.begins:{_TIME}},"
                f" and by the clock here it is {now:{_TIME}}; look at the clocks"
            )
        return found

    def _read(self, certificate: x509.Certificate, der: bytes) -> NodeCertificate:
        authority = self._issuer(certificate)
        for one in certificate.extensions:
            if one.critical and one.oid not in _KNOWN:
                raise NotVouchedFor(
                    f"a certificate with something unknown: {one.oid.dotted_string}"
                )
        constraints = _extension(certificate, x509.BasicConstraints)
        if constraints is not None and constraints.ca:
            raise NotVouchedFor("a CA's certificate")
        usage = _extension(certificate, x509.KeyUsage)
        if usage is not None and not usage.digital_signature:
            raise NotVouchedFor("a certificate that may sign nothing")
        usages = set(_extension(certificate, x509.ExtendedKeyUsage) or ())
        if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= usages:
            raise NotVouchedFor("a certificate that is not good for both server and client")
        names = list(_extension(certificate, x509.SubjectAlternativeName) or ())
        _check_constraints(_extension(authority, x509.NameConstraints), names)
        uris = [one.value for one in names if isinstance(one, x509.UniformResourceIdentifier)]
        match = _URI.fullmatch(uris[0]) if len(uris) == 1 else None
        if match is None:
            raise NotVouchedFor(f"a certificate of no node: its URIs are {uris!r}")
        key = certificate.public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise NotVouchedFor(f"the key of {match[1]!r} is not of Ed25519")
        return NodeCertificate(
            name=match[1],
            key=key.public_bytes_raw(),
            begins=max(certificate.not_valid_before_utc, authority.not_valid_before_utc),
            ends=min(certificate.not_valid_after_utc, authority.not_valid_after_utc),
            der=der,
        )

    def _issuer(self, certificate: x509.Certificate) -> x509.Certificate:
        for one in self._certificates:
            if one.subject != certificate.issuer:
                continue
            basic, usage = _extension(one, x509.BasicConstraints), _extension(one, x509.KeyUsage)
            if basic is None or not basic.ca or not (usage is None or usage.key_cert_sign):
                continue
            try:
                certificate.verify_directly_issued_by(one)
            except InvalidSignature:
                continue
            return one
        raise NotVouchedFor("a certificate of another CA")


def _extension(certificate: x509.Certificate, of: type[_T]) -> _T | None:
    try:
        return certificate.extensions.get_extension_for_class(of).value
    except x509.ExtensionNotFound:
        return None


def _check_constraints(
    constraints: x509.NameConstraints | None, names: Iterable[x509.GeneralName]
) -> None:
    """RFC 5280 section 4.2.1.10; a form that is not known here counts against the certificate."""
    permitted = [] if constraints is None else list(constraints.permitted_subtrees or ())
    excluded = [] if constraints is None else list(constraints.excluded_subtrees or ())
    for one in (*permitted, *excluded):
        if not isinstance(one, (x509.DNSName, x509.IPAddress, x509.UniformResourceIdentifier)):
            raise NotVouchedFor("the CA has constraints of an unknown form")
    for name in names:
        same = [one for one in permitted if type(one) is type(name)]
        if same and not any(_within(name, one) for one in same):
            raise NotVouchedFor(f"the CA may not speak for {name.value!r}")
        if any(type(one) is type(name) and _within(name, one) for one in excluded):
            raise NotVouchedFor(f"the CA must not speak for {name.value!r}")


def _within(name: x509.GeneralName, subtree: x509.GeneralName) -> bool:
    if isinstance(name, x509.IPAddress):
        network = ipaddress.ip_network(str(subtree.value))
        address = ipaddress.ip_network(str(name.value))
        return address.version == network.version and address[0] in network
    host, limit = str(name.value).lower(), str(subtree.value).lower()
    if isinstance(name, x509.UniformResourceIdentifier):
        host = re.sub(r"^[^:]*://(?:[^/?#]*@)?|(?<=[^/:])[:/?#].*$", "", host)
        return host.endswith(limit) if limit.startswith(".") else host == limit
    return host == limit or host.endswith("." + limit.lstrip("."))
