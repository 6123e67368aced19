"""`mtls`: the client's certificate says who asks, by its URI (RFC 5280 section 4.2.1.6; SPIFFE's form).

The edge's TLS has verified the chain; which of its CA's certificates may come in is said here.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.errors import Unauthenticated
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.http import Request
from flowcore.requests import Principal

_REMEMBERED = 1000
_LONGEST = 256


@attrs.frozen(kw_only=True)
class PeerSettings:
    """Who a certificate is."""

    uri: str = setting(
        validator=v.matches(r"[a-z][a-z0-9+.-]*:[\x21-\x7e]{1,250}"),
        help='the certificate\'s URI, exactly, or with one `*` at its end: "spiffe://flow/node/*"',
    )
    name: str | None = setting(None, help="the principal's name; unset: the URI")
    roles: tuple[str, ...] = setting((), help="the principal's roles")
    scopes: tuple[str, ...] = setting((), help="the principal's scopes")

    def __attrs_post_init__(self) -> None:
        if "*" in self.uri[:-1]:
            raise ValueError(f"expected a * at the end of a URI only, not {self.uri!r}")
        if self.uri.endswith("*") and not self.uri.endswith("/*"):
            raise ValueError(f"expected a * after a slash only, not {self.uri!r}")
        if self.uri.endswith("*") and self.name is not None:
            raise ValueError("expected no name for several certificates: each is its URI")

    def covers(self, uri: str) -> bool:
        """Whether it speaks of a certificate of this URI."""
        if self.uri.endswith("/*"):
            start = self.uri[:-1]
            return uri.startswith(start) and "/" not in uri[len(start) :] and uri != start
        return uri == self.uri


@attrs.frozen(kw_only=True)
class MtlsConfig:
    """Which certificates may come in. The edge's `tls` must ask for them."""

    peers: tuple[PeerSettings, ...] = setting(help="the certificates; the first that fits decides")


class MtlsScheme:
    """Who a certificate belongs to."""

    challenge = ""
    headers: tuple[bytes, ...] = ()

    def __init__(self, config: MtlsConfig, name: str) -> None:
        self._peers = config.peers
        self._name = name
        self._known: dict[bytes, Principal] = {}

    async def identify(self, request: Request, resource: str) -> Principal | None:
        """The owner of the connection's certificate; None if it has none."""
        del resource
        certificate = None if request.tls is None else request.tls.certificate
        if certificate is None:
            return None
        principal = self._known.get(certificate)
        if principal is None:
            print_ = f"certificate:{hashlib.sha256(certificate).hexdigest()}"
            principal = attrs.evolve(self._principal(uri_of(certificate)), credentials=(print_,))
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[certificate] = principal
        return principal

    def _principal(self, uri: str) -> Principal:
        for peer in self._peers:
            if peer.covers(uri):
                return Principal(
                    name=peer.name or uri,
                    scheme=self._name,
                    roles=frozenset(peer.roles),
                    scopes=frozenset(peer.scopes),
                )
        raise Unauthenticated("the certificate's URI is not among those that may come in")


def uri_of(certificate: bytes) -> str:
    """The one URI among the subject alternative names of a certificate (DER). Raises Unauthenticated."""
    from cryptography import x509

    try:
        parsed = x509.load_der_x509_certificate(certificate)
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise Unauthenticated("the certificate has no URI") from None
    if len(uris) != 1 or not uris[0].isprintable() or len(uris[0]) > _LONGEST:
        raise Unauthenticated(
            "the certificate does not have exactly one URI"
        )  # SPIFFE X509-SVID, 2
    return uris[0]


@asynccontextmanager
async def open_mtls(config: MtlsConfig, context: Context) -> AsyncGenerator[MtlsScheme]:
    """The certificates of the configuration."""
    yield MtlsScheme(config, context.name.partition(".")[2])


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("auth", "mtls", MtlsConfig, open_mtls, stability="beta"))
