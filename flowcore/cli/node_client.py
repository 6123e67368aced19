"""Asking a running node over its `api` edge, and making sure that a node is what answers."""

from __future__ import annotations

import http.client
import json
import pathlib
import ssl
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any, BinaryIO, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec

from flowcore.addresses import is_local
from flowcore.cli.connection import Connection
from flowcore.errors import AssemblyError

T = TypeVar("T")

_PIECE = 256 * 1024
FORM = "http://127.0.0.1:7301"


class Unreachable(Exception):
    """There is no node, or what answers is none, or one of the two does not believe the other."""


class Refused(Exception):
    """The node answered with an error."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", f"HTTP {status}")))
        self.status = status
        self.error = error


class NodeClient:
    """Asks one node, one request a connection. Raises ValueError for what cannot be a way to one."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        url = connection.url
        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            host, port = parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80)
        except ValueError:
            host, port = None, 0
        known = host and parts.scheme in ("http", "https") and parts.path in ("", "/")
        if not host or not known or parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"expected a URL such as {FORM}, not {url!r}")
        if not 0 < timeout < 1e9:
            raise ValueError(f"expected a timeout of more than 0 seconds, not {timeout:g}")
        self._url = url
        self._host, self._port = host, port
        self._timeout = timeout
        self._connection = connection
        self._secure = parts.scheme == "https"
        self._origin = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self._check()
        self._context = self._tls() if self._secure else None

    def _check(self) -> None:
        """What would be in vain, or in the clear, is not done."""
        given = self._connection
        if not self._secure and (given.ca or given.cert or given.server_name):
            raise ValueError(f"ca, cert and server_name are for https, and the URL is {self._url}")
        secret = given.token is not None or given.hmac is not None
        if secret and not self._secure and self._host != "localhost" and not is_local(self._host):
            raise ValueError(
                f"{self._url}: a token or signature would go over the network in the clear; use https"
            )

    def _tls(self) -> ssl.SSLContext:
        from flowcore.http import ClientTlsSettings, client_context

        given = self._connection
        names = {
            name: None if path is None else str(path)
            for name, path in (("ca", given.ca), ("cert", given.cert), ("key", given.key))
        }
        try:
            return client_context(ClientTlsSettings(**names), pathlib.Path())
        except AssemblyError as error:
            raise ValueError(str(error)) from None

    def get(self, path: str, of: type[T]) -> tuple[Any, T]:
        """GET a path: the answer as plain data, and what of it is used, checked."""
        return self._ask("GET", path, None, of)

    def post(self, path: str, body: dict[str, Any], of: type[T]) -> tuple[Any, T]:
        """POST a path, likewise. Raises Refused unless it succeeded."""
        return self._ask("POST", path, body, of)

    def download(self, path: str, body: dict[str, Any], to: BinaryIO) -> int:
        """POST a path, and write what it answers into a file; how many bytes."""
        connection, data = self._opened(), json.dumps(body).encode()
        headers = {"content-type": "application/json", **self._credentials("POST", path, data)}
        count = 0
        with closing(connection):
            with self._heard():
                connection.request("POST", path, data, headers)
                response = connection.getresponse()
                if response.status >= 300:
                    self._refused(path, response.status, response.read())
            while True:
                with self._heard():
                    piece = response.read(_PIECE)
                if not piece:
                    return count
                count += to.write(piece)

    def events(
        self, path: str, begun: Callable[[], None] = lambda: None
    ) -> Iterator[dict[str, Any]]:
        """GET a path that answers with server-sent events: each as plain data, as long as they come.

        `begun` is called once the node has said that they will. Raises Refused, Unreachable.
        """
        from flowcore.http import EventTooLarge, SseDecoder

        connection, decoder = self._opened(), SseDecoder(limit=_PIECE)
        with closing(connection):
            with self._heard():
                connection.request("GET", path, None, self._credentials("GET", path, b""))
                response = connection.getresponse()
                if response.status >= 300:
                    self._refused(path, response.status, response.read())
            begun()
            while True:
                with self._heard():
                    piece = response.read1(_PIECE)
                if not piece:
                    return
                try:
                    for event in decoder.feed(piece):
                        yield msgspec.convert(json.loads(event.data), dict[str, Any])
                except (EventTooLarge, ValueError, RecursionError, msgspec.ValidationError):
                    raise Unreachable(
                        f"what answers at {self._url} is no api edge of a node"
                    ) from None

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None, of: type[T]
    ) -> tuple[Any, T]:
        status, content = self._exchange(method, path, body)
        if status >= 300:
            self._refused(path, status, content)
        try:
            answer = json.loads(content)
            return answer, msgspec.convert(answer, of)
        except (ValueError, RecursionError, msgspec.ValidationError):
            raise Unreachable(f"what answers at {self._url} is no api edge of a node") from None

    def _refused(self, path: str, status: int, content: bytes) -> NoReturn:
        try:
            error = msgspec.convert(json.loads(content), Failure).error
        except (ValueError, RecursionError, msgspec.ValidationError):
            raise Unreachable(f"what answers at {self._url} is no api edge of a node") from None
        if status == 404 and path.count("/") == 1:  # a path that every node has
            raise Unreachable(f"what answers at {self._url} is no api edge of a node")
        raise Refused(status, self._explained(status, error))

    def _explained(self, status: int, error: dict[str, Any]) -> dict[str, Any]:
        """With what to do, where nothing was brought that says who asks."""
        given = self._connection
        if status != 401 or given.token or given.hmac or given.cert:
            return error
        how = "flowctl brought no credentials: --profile, --token-file, --hmac or --cert"
        return {**error, "message": f"{error.get('message', 'who asks is not known')} ({how})"}

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        data = b"" if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        headers |= self._credentials(method, path, data)
        connection = self._opened()
        with closing(connection), self._heard():
            connection.request(method, path, data or None, headers)
            response = connection.getresponse()
            return response.status, response.read()

    @contextmanager
    def _heard(self) -> Generator[None]:
        """What goes wrong while a node is asked is told as `Unreachable`."""
        try:
            yield
        except TimeoutError:
            raise Unreachable(f"{self._url} did not answer within {self._timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no node at {self._url}: {self._reason(error)}") from None

    def _credentials(self, method: str, path: str, body: bytes) -> dict[str, str]:
        given = self._connection
        if given.token is not None:
            return {"authorization": f"Bearer {given.token.reveal()}"}
        if given.hmac is None:
            return {}
        from flowcore.secrets import read_private
        from flowcore.signing import Signer, read_ring

        try:
            signer = Signer(
                read_ring(read_private(given.hmac)), given.receiver or self._origin + "/"
            )
            signed = signer.authorization(method, self._origin + path, body)
        except (ValueError, LookupError) as error:
            raise ValueError(f"the key ring {str(given.hmac)!r}: {error}") from None
        return {"authorization": signed}

    def _opened(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        name = self._connection.server_name or self._host
        return _Secured(self._host, self._port, name, self._context, self._timeout)

    def _reason(self, error: Exception) -> str:
        """Why there was no answer, for a person who can do something about it."""
        shown = self._connection.cert is not None
        if isinstance(error, ssl.SSLCertVerificationError):
            return _refusal(error)
        if isinstance(error, ssl.SSLError):
            return _ALERTS.get(error.reason or "", error.reason or str(error))
        if isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError)):
            if not self._secure:
                return "it closed the connection without an answer; does it want https?"
            known = "does not admit the certificate that was shown" if shown else "wants --cert"
            return f"it closed the connection without an answer: perhaps it {known}"
        return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Secured(http.client.HTTPSConnection):
    """A connection whose certificate may be of another name than the host."""

    def __init__(
        self, host: str, port: int, name: str, context: ssl.SSLContext, timeout: float
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._name = name
        self._tls = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


_REFUSALS = {
    9: "its certificate is not valid yet: look at both clocks",
    10: "its certificate has expired: rotate it there",
    18: "its certificate is of a CA that is not trusted here: name that one with --ca",
    19: "its certificate is of a CA that is not trusted here: name that one with --ca",
    20: "its certificate is of a CA that is not trusted here: name that one with --ca",
    21: "its certificate is of a CA that is not trusted here: name that one with --ca",
    26: "its certificate is not for servers",
}
"""By X509_V_ERR_ of OpenSSL (x509_vfy.h)."""

_ALERTS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS; does it want http?",
    "RECORD_LAYER_FAILURE": "it does not speak TLS; does it want http?",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.3",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client's certificate: --cert and --key",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the CA of the certificate that was shown",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the certificate that was shown has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not take the certificate that was shown",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the certificate that was shown is not for clients",
}
"""By OpenSSL's reason."""


def _refusal(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in (62, 64):  # host name, IP address
        return (
            f"its certificate is for another name: {error.verify_message.rstrip('.')}"
            " (--server-name says by which name it is known)"
        )
    return _REFUSALS.get(error.verify_code, f"its certificate: {error.verify_message}")


class Failure(msgspec.Struct):
    """An answer that is a refusal."""

    error: dict[str, Any]
