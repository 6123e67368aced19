"""Authorities and certificates of tests, with what trustme does not put into them: URIs, dates, usages."""

from __future__ import annotations

import datetime
import ipaddress
import os
import pathlib
import ssl
from collections.abc import Sequence

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@attrs.frozen
class Pair:
    """A certificate and its key, as PEM."""

    cert: bytes
    key: bytes

    def write(self, folder: pathlib.Path, name: str, mode: int = 0o600) -> tuple[str, str]:
        """Put them into a folder, each in one step; the names of the files."""
        for suffix, data in ((".key", self.key), (".pem", self.cert)):
            made = folder / f"{name}{suffix}.new"
            made.write_bytes(data)
            made.chmod(mode)
            os.replace(made, folder / f"{name}{suffix}")
        return f"{name}.pem", f"{name}.key"


class Authority:
    """A CA."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, SHA256())
        )
        self.pem = self._certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *names: str,
        usage: x509.ObjectIdentifier | Sequence[x509.ObjectIdentifier] = SERVER,
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = DAY,
    ) -> Pair:
        """A certificate for addresses, host names, and URIs; its dates are counted from now."""
        usages = [usage] if isinstance(usage, x509.ObjectIdentifier) else usage
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        certificate = (
            self._builder(subject, key.public_key(), begins, ends)
            .add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, SHA256())
        )
        return Pair(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def trusting(self, folder: pathlib.Path, shown: Pair | None = None) -> ssl.SSLContext:
        """A client's context that trusts this CA and shows a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.pem.decode())
        if shown is not None:
            cert, key = shown.write(folder, f"shown-{id(shown)}")
            context.load_cert_chain(folder / cert, folder / key)
        return context

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = DAY,
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
        )


def _name(text: str) -> x509.GeneralName:
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
