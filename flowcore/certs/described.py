"""What a certificate says: for whom, for what, until when, by whom."""

from __future__ import annotations

import datetime
import re
from typing import TypeVar

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flowcore.certs.issuing import EARLIER, Algorithm, CertsError, Kind

_T = TypeVar("_T", bound=x509.ExtensionType)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@attrs.frozen(kw_only=True)
class Described:
    """A certificate, read."""

    kind: Kind
    name: str
    uri: str | None
    hosts: tuple[str, ...]
    algorithm: Algorithm
    fingerprint: str
    """SHA-256 of the certificate, in hex."""
    begins: datetime.datetime
    ends: datetime.datetime
    certificate: x509.Certificate = attrs.field(repr=False)

    @property
    def days(self) -> float:
        """How many days it was made for."""
        return (self.ends - self.begins - EARLIER) / datetime.timedelta(days=1)

    def days_left(self, now: datetime.datetime) -> float:
        """How many days it is still good for; less than 0 once it has expired."""
        return (self.ends - now) / datetime.timedelta(days=1)

    def due(self, now: datetime.datetime) -> bool:
        """Whether less than a third of its time is left."""
        return self.days_left(now) < self.days / 3

    def signed_by(self, other: Described) -> bool:
        """Whether another one's key has signed it."""
        try:
            self.certificate.verify_directly_issued_by(other.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def describe(certificate: x509.Certificate) -> Described:
    """Read a certificate of any CA."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    uris = [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
    hosts: list[str] = []
    if names is not None:
        hosts += names.get_values_for_type(x509.DNSName)
        hosts += map(str, names.get_values_for_type(x509.IPAddress))
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ed25519 = isinstance(certificate.public_key(), Ed25519PublicKey)
    return Described(
        kind=_kind(certificate),
        name=str(common[0].value) if common else certificate.subject.rfc4514_string(),
        uri=uris[0] if uris else None,
        hosts=tuple(hosts),
        algorithm="ed25519" if ed25519 else "p256",
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
        certificate=certificate,
    )


def _kind(certificate: x509.Certificate) -> Kind:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        return Kind.AUTHORITY
    usages = set(_extension(certificate, x509.ExtendedKeyUsage) or ())
    server = ExtendedKeyUsageOID.SERVER_AUTH in usages
    client = ExtendedKeyUsageOID.CLIENT_AUTH in usages
    if server and client:
        return Kind.NODE
    return Kind.CLIENT if client else Kind.SERVER


def _extension(certificate: x509.Certificate, of: type[_T]) -> _T | None:
    try:
        return certificate.extensions.get_extension_for_class(of).value
    except x509.ExtensionNotFound:
        return None


def read_bundle(data: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM file, in their order. Raises CertsError if there is none."""
    found = _PEM.findall(data)
    if not found:
        raise CertsError("holds no certificate (PEM)")
    try:
        return [x509.load_pem_x509_certificate(one) for one in found]
    except ValueError as error:
        raise CertsError(f"holds a malformed certificate: {error}") from None
