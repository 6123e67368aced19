"""TLS 1.3 as it is configured: certificates that can be exchanged while it serves, and who may come in.

A connection takes the SSLContext of its moment from `Certificates`, which makes a new one when a file has
changed: kept connections stay as they are, and what was taken out of the files (a CA, a certificate) counts
for no later one, since tickets of an old context are worth nothing to a new one.

The groups of the key exchange are X25519, P-256 and P-384 (see `groups`). The suites are those of TLS 1.3
with AEAD, as OpenSSL has them: AES-128 and AES-256 with GCM, ChaCha20 with Poly1305.
"""

from __future__ import annotations

import logging
import pathlib
import ssl
from typing import Literal

import attrs

from flowcore.config import Secret, setting
from flowcore.errors import AssemblyError
from flowcore.http.groups import limit_groups
from flowcore.http.messages import Tls
from flowcore.http.pem import Stamp, load_authorities, load_chain, stamp

logger = logging.getLogger(__name__)

_MODES = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@attrs.frozen(kw_only=True)
class TlsSettings:
    """TLS 1.3 of a listening edge; its files, relative to the TOML file, are read again when they change."""

    cert: str = setting(help="a PEM file of the certificate, and of those between it and its CA")
    key: str | Secret = setting(
        help="a PEM file of its private key, which nobody else can read (mode 0600); or the key itself as a"
        " secret"
    )
    client_auth: Literal["none", "optional", "required"] = setting(
        "none", help="whether clients are asked for certificates"
    )
    client_ca: str | None = setting(
        None, help="a PEM file of the CAs that clients' certificates must come from"
    )
    client_uris: tuple[str, ...] = setting(
        (),
        help="the URIs among a client certificate's names (SAN) that may come in, exactly, or all of a"
        ' folder: "spiffe://flow/node/*"; empty: every certificate of the CAs',
    )

    def __attrs_post_init__(self) -> None:
        if (self.client_auth == "none") is not (self.client_ca is None):
            raise ValueError(
                "expected client_ca where client_auth is optional or required, else not"
            )
        if self.client_auth == "none" and self.client_uris:
            raise ValueError("expected client_uris only where client_auth is optional or required")
        for uri in self.client_uris:
            if "*" in uri[:-1] or (uri.endswith("*") and not uri.endswith("/*")):
                raise ValueError(f"expected a * only at the end and after a slash, not {uri!r}")


@attrs.frozen(kw_only=True)
class ClientTlsSettings:
    """TLS 1.3 of a client; its files, relative to the TOML file, are read again when they change."""

    ca: str | None = setting(
        None,
        help="a PEM file of the CAs that a server's certificate must come from; unset: the system's",
    )
    cert: str | None = setting(None, help="a PEM file of the certificate to show")
    key: str | Secret | None = setting(
        None, help="a PEM file of its private key (mode 0600); or the key itself as a secret"
    )
    server_name: str | None = setting(
        None, help="the name that the server's certificate must have; unset: the URL's host"
    )

    def __attrs_post_init__(self) -> None:
        if (self.cert is None) is not (self.key is None):
            raise ValueError("expected cert and key together")


class Certificates:
    """The SSLContext for the next connection, made again when one of its files has changed.

    It is what `open_http_server` takes as its `context`.
    """

    def __init__(self, settings: TlsSettings, folder: pathlib.Path) -> None:
        """Raises AssemblyError if the files cannot be used."""
        self._settings = settings
        self._cert = folder / settings.cert
        self._key = _located(folder, settings.key)
        self._ca = None if settings.client_ca is None else folder / settings.client_ca
        self._stamps = self._look()
        self._context = self._made()
        self.changes = 0
        """How often a new context took the place of an old one."""

    def __call__(self) -> ssl.SSLContext:
        """The context of this moment: that of the files, or, if they cannot be used now, the one before."""
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._context = self._made()
            except AssemblyError as error:
                logger.error("going on with the certificates as they were: %s", error)
            else:
                self.changes += 1
                logger.info("the certificates of %s were read again", self._cert)
        return self._context

    def admits(self, tls: Tls, client: str) -> bool:
        """Whether a connection whose handshake is done may go on: its URI is on the list, if there is one."""
        del client
        allowed = self._settings.client_uris
        if not allowed or tls.certificate is None:
            return True  # the handshake has seen to it that there is one where one is required
        return len(tls.uris) == 1 and any(_covers(one, tls.uris[0]) for one in allowed)

    def _look(self) -> tuple[Stamp, ...]:
        return _stamps(self._cert, self._key, self._ca)

    def _made(self) -> ssl.SSLContext:
        context = _limited(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        load_chain(context, self._cert, self._key)
        if self._ca is not None:
            load_authorities(context, self._ca)
            context.verify_mode = _MODES[self._settings.client_auth]
            context.num_tickets = 0  # no resumption: each connection shows its certificate anew
        return context


class ClientCertificates:
    """The SSLContext for a client's next connection, made again when one of its files has changed.

    It is what `open_client` takes as its `context`.
    """

    def __init__(self, settings: ClientTlsSettings, folder: pathlib.Path) -> None:
        """Raises AssemblyError if the files cannot be used."""
        self._settings = settings
        self._folder = folder
        key = None if settings.key is None else _located(folder, settings.key)
        names = (settings.ca, settings.cert)
        self._files = (*(None if one is None else folder / one for one in names), key)
        self._stamps = _stamps(*self._files)
        self._context = client_context(settings, folder)
        self.server_name = settings.server_name
        """The name that the server's certificate must have, if it is not the URL's host."""

    def __call__(self) -> ssl.SSLContext:
        """The context of this moment: that of the files, or, if they cannot be used now, the one before."""
        stamps = _stamps(*self._files)
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._context = client_context(self._settings, self._folder)
            except AssemblyError as error:
                logger.error("going on with a client's certificates as they were: %s", error)
            else:
                logger.info("a client's certificates were read again")
        return self._context


def client_context(settings: ClientTlsSettings, folder: pathlib.Path) -> ssl.SSLContext:
    """The SSLContext of a client, for `open_client`. Raises AssemblyError if a file cannot be used."""
    context = _limited(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if settings.ca is None:
        context.load_default_certs()
    else:
        load_authorities(context, folder / settings.ca)
    if settings.cert is not None and settings.key is not None:
        load_chain(context, folder / settings.cert, _located(folder, settings.key))
    return context


def _located(folder: pathlib.Path, key: str | Secret) -> pathlib.Path | Secret:
    return key if isinstance(key, Secret) else folder / key


def _stamps(*files: pathlib.Path | Secret | None) -> tuple[Stamp, ...]:
    return tuple(stamp(one) for one in files if isinstance(one, pathlib.Path))


def _limited(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    limit_groups(context)
    return context


def _covers(allowed: str, uri: str) -> bool:
    if allowed.endswith("/*"):
        start = allowed[:-1]
        return uri.startswith(start) and uri != start and "/" not in uri[len(start) :]
    return uri == allowed
