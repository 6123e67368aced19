"""A node's identity: an Ed25519 key, and a certificate that says whose it is.

`flowctl certs issue node NAME --algorithm ed25519` makes both. What the node says in gossip is signed with
the same key that its TLS connections prove.
"""

from __future__ import annotations

import datetime
import logging
import pathlib
import ssl
from collections.abc import Callable

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from flowcore.certs import CertsError, read_bundle
from flowcore.config import Secret
from flowcore.errors import AssemblyError
from flowcore.http import Certificates, ClientCertificates, ClientTlsSettings, TlsSettings
from flowcore.http.pem import Stamp, stamp
from flowcore.secrets import read_private
from flowcore.swarm.authorities import Authorities, NodeCertificate, NotVouchedFor
from flowcore.swarm.tls import NodeTlsSettings

logger = logging.getLogger(__name__)

_PER_NAME = 2
"""Certificates of one node that count at a time: its new one, and the one before."""
_NAMES = 4096
_PROTOCOL = "flow-link"
_MAKE = "make one with: flowctl certs issue node NAME --algorithm ed25519"


def _utc() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@attrs.frozen
class _Loaded:
    """What the files were when they were read."""

    own: NodeCertificate
    signing: SigningKey
    authorities: Authorities


class Identity:
    """This node's identity, and those of others as far as they are known."""

    def __init__(
        self,
        settings: NodeTlsSettings,
        folder: pathlib.Path,
        clock: Callable[[], datetime.datetime] = _utc,
    ) -> None:
        """Raises AssemblyError if the files cannot be used."""
        self._clock = clock
        self._cert, self._ca = folder / settings.cert, folder / settings.ca
        self._key = settings.key if isinstance(settings.key, Secret) else folder / settings.key
        self._serving = Certificates(
            TlsSettings(
                cert=settings.cert,
                key=settings.key,
                client_auth="required",
                client_ca=settings.ca,
            ),
            folder,
        )
        self._asking = ClientCertificates(
            ClientTlsSettings(ca=settings.ca, cert=settings.cert, key=settings.key), folder
        )
        self._prepared: dict[bool, ssl.SSLContext] = {}
        self._stamps = self._look()
        self._loaded = self._load()
        self._known: dict[str, list[tuple[NodeCertificate, VerifyKey]]] = {}
        self.changes = 0
        """How often the files were read again: certificates that counted before may count no more."""

    @property
    def name(self) -> str:
        """As the certificate says it."""
        return self._loaded.own.name

    @property
    def ends(self) -> datetime.datetime:
        """When the certificate expires."""
        return self._loaded.own.ends

    # ---- signatures

    def sign(self, data: bytes) -> bytes:
        """An Ed25519 signature (64 bytes) of this node's."""
        return self._loaded.signing.sign(data).signature

    def verify(self, name: str, data: bytes, signature: bytes) -> bool:
        """Whether a node has signed it; False for a node whose certificate is not known, or has expired."""
        if len(signature) != 64:
            return False
        now = self._clock()
        for certificate, key in self._keys(name):
            if certificate.good(now):
                try:
                    key.verify(data, signature)
                except BadSignatureError:
                    continue
                return True
        return False

    def _keys(self, name: str) -> list[tuple[NodeCertificate, VerifyKey]]:
        known = self._known.get(name, [])
        if name == self.name:
            own = self._loaded.own
            return [(own, VerifyKey(own.key)), *known]
        return known

    # ---- certificates

    def certificate(self, name: str) -> bytes | None:
        """A node's certificate (DER), as far as it is known; one's own is."""
        if name == self.name:
            return self._loaded.own.der
        known = self._known.get(name)
        return known[0][0].der if known else None

    def learn(self, certificate: bytes) -> str | None:
        """Take another node's certificate in, if a CA of the swarm has issued it: its name; None if not."""
        try:
            return self.check(certificate).name
        except NotVouchedFor:
            return None

    def check(self, certificate: bytes) -> NodeCertificate:
        """Take another node's certificate in. Raises NotVouchedFor, which says why not."""
        found = self._loaded.authorities.check(certificate, self._clock())
        known = self._known.get(found.name, [])
        if not any(one.der == certificate for one, _ in known):
            if not known and len(self._known) >= _NAMES:
                raise NotVouchedFor(f"more than {_NAMES} nodes are known")
            known = [(found, VerifyKey(found.key)), *known]
            known.sort(key=lambda pair: pair[0].begins, reverse=True)
            self._known[found.name] = known[:_PER_NAME]
        return found

    def key_in(self, certificate: bytes) -> tuple[str, bytes]:
        """Whose certificate (DER) it is, and the Ed25519 public key in it. Raises NotVouchedFor."""
        found = self._loaded.authorities.check(certificate, self._clock())
        return found.name, found.key

    def in_time(self, certificate: NodeCertificate) -> bool:
        """Whether a certificate is good by the time of now."""
        return certificate.good(self._clock())

    def counts(self, certificate: NodeCertificate) -> bool:
        """Whether a certificate that was good before still is, by the CAs and the time of now."""
        try:
            self._loaded.authorities.check(certificate.der, self._clock())
        except NotVouchedFor:
            return False
        return True

    # ---- TLS

    def context(self, *, server: bool) -> ssl.SSLContext:
        """The SSLContext of the next connection: TLS 1.3, both sides show certificates, no resumption."""
        self.refresh()
        context = self._serving() if server else self._asking()
        if self._prepared.get(server) is not context:
            context.set_alpn_protocols([_PROTOCOL])
            context.check_hostname = False  # the name is the certificate's URI: see `check`
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
            self._prepared[server] = context
        return context

    def refresh(self) -> bool:
        """Read the files again if they have changed; whether they have, and could be used."""
        stamps = self._look()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        try:
            loaded = self._load()
            if loaded.own.name != self.name:
                raise AssemblyError(
                    f"{str(self._cert)!r} is the certificate of {loaded.own.name!r} now, and this node"
                    f" is {self.name!r}"
                )
        except AssemblyError as error:
            logger.error("going on with the node's identity as it was: %s", error)
            return False
        self._loaded = loaded
        self.changes += 1
        for name, known in tuple(self._known.items()):
            kept = [pair for pair in known if self.counts(pair[0])]
            if kept:
                self._known[name] = kept
            else:
                del self._known[name]
        return True

    def _look(self) -> tuple[Stamp, ...]:
        files = (self._cert, self._ca, self._key)
        return tuple(stamp(one) for one in files if isinstance(one, pathlib.Path))

    def _load(self) -> _Loaded:
        try:
            authorities = Authorities(read_bundle(self._ca.read_bytes()))
            certificate = read_bundle(self._cert.read_bytes())[0]
        except OSError as error:
            raise AssemblyError(f"{str(error.filename)!r}: {error.strerror}") from None
        except CertsError as error:
            raise AssemblyError(f"{str(self._cert)!r} or {str(self._ca)!r} {error}") from None
        try:
            own = authorities.check(certificate.public_bytes(Encoding.DER), self._clock())
        except NotVouchedFor as error:
            raise AssemblyError(
                f"{str(self._cert)!r} is no use for a node: {error}; {_MAKE}"
            ) from None
        return _Loaded(own, self._signing_key(own), authorities)

    def _signing_key(self, own: NodeCertificate) -> SigningKey:
        named = "given" if isinstance(self._key, Secret) else repr(str(self._key))
        given = self._key
        try:
            data = given.reveal().encode() if isinstance(given, Secret) else read_private(given)
            key = load_pem_private_key(data, None)
        except (ValueError, TypeError) as error:
            raise AssemblyError(f"the key {named} cannot be used: {error}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise AssemblyError(f"the key {named} is not of Ed25519; {_MAKE}")
        if key.public_key().public_bytes_raw() != own.key:
            raise AssemblyError(f"the key {named} is not that of {str(self._cert)!r}")
        return SigningKey(key.private_bytes_raw())
