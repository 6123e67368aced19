"""TLS over any wire: two buffers of OpenSSL's between plain and sealed bytes.

trio's own SSLStream drops the alert of a handshake that failed, so that the other side never learns why; and
takes locks on each call, which one reader and one writer do not need.
"""

from __future__ import annotations

import contextlib
import ssl

import trio

from flowcore.errors import LinkFailed
from flowcore.http.wire import SocketWire, StreamWire, Wire, plain_socket

_UNSENT = 1 << 16
"""Bytes that TLS itself may have to say while nothing is sent: more, and the peer means harm."""
_RECORD = 16384
_MUCH = 8192
_NOT_SENT = 16 * 1024
_TCP_NOTSENT_LOWAT = 25
_OF_ANOTHER_TIME = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED: by the clock here."""


class HandshakeFailed(LinkFailed):
    """No TLS with the other side, and why."""


def wire_of(stream: trio.abc.Stream) -> Wire:
    """A stream as a wire; of a TCP socket the kernel holds little that has not been sent, so that what is
    urgent is soon on its way."""
    if isinstance(stream, trio.SocketStream):
        connected = plain_socket(stream)
        wire = SocketWire(connected)
        connected.setsockopt(6, _TCP_NOTSENT_LOWAT, _NOT_SENT)
        return wire
    return StreamWire(stream)


class SecureWire:
    """TLS 1.3 over a wire, which it owns. One task may receive while another sends."""

    def __init__(self, wire: Wire, context: ssl.SSLContext, *, server: bool) -> None:
        self._wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        self._ended = self._much = False
        self._unsent = b""

    async def handshake(self) -> bytes:
        """Do it: the peer's certificate (DER). Raises HandshakeFailed.

        A client's is done before the server has looked at its certificate: what the server says to it shows
        at the first `receive`.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._receive_raw()
                if not data:
                    raise HandshakeFailed("the other side hung up during the handshake") from None
                self._incoming.write(data)
            except ssl.SSLError as error:
                await self._flush()  # the alert, which says why
                raise HandshakeFailed(said(error)) from None
            else:
                await self._flush()
                break
        certificate = self._tls.getpeercert(binary_form=True)
        if certificate is None:
            raise HandshakeFailed("the other side has shown no certificate")
        return certificate

    async def send(self, data: bytes) -> bool:
        """Send all of it; no checkpoint if that takes no waiting. Raises trio.BrokenResourceError.

        True if it surely took none.
        """
        if data:
            self._seal(data)
        return await self._wire.send(self._sealed())

    @property
    def prompt(self) -> bool:
        """Whether `send_now` may be asked, while no task sends."""
        return isinstance(self._wire, SocketWire) and not self._unsent

    def send_now(self, data: bytes) -> bool:
        """Send without waiting. False: the next `send`, of b"" perhaps, sends the rest before its own.

        Raises trio.BrokenResourceError.
        """
        assert isinstance(self._wire, SocketWire)
        self._seal(data)
        sealed = self._sealed()
        self._unsent = sealed[self._wire.send_now(sealed) :]
        return not self._unsent

    def _seal(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(said(error)) from error

    def _sealed(self) -> bytes:
        """What is sealed, and was not sent."""
        unsent, self._unsent = self._unsent, b""
        return unsent + self._outgoing.read()

    async def receive(self) -> bytes:
        """Some bytes, as many as have come; b"" at the end. Raises as `records` does."""
        return b"".join(await self.records())

    async def records(self) -> list[bytes]:
        """The records that have come; none at the end. Raises trio.BrokenResourceError, HandshakeFailed.

        HandshakeFailed is a server's refusal of the certificate that was shown.
        """
        while not (found := self._read()):
            if self._ended:
                return found
            if self._outgoing.pending > _UNSENT:
                raise trio.BrokenResourceError("the other side exchanges keys without end")
            # where much comes, more will be there after a turn of the others
            data = await self._wire.receive(soon=self._much)
            self._much = len(data) >= _MUCH
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
        return found

    def _read(self) -> list[bytes]:
        """What can be read without waiting."""
        found: list[bytes] = []
        try:
            while record := self._tls.read(_RECORD):
                found.append(record)
            self._ended = True  # the other side has closed it properly
        except ssl.SSLWantReadError:
            return found
        except ssl.SSLEOFError:
            if not found:
                raise trio.BrokenResourceError("the connection ended in the middle") from None
        except ssl.SSLError as error:
            if found:
                return found  # and the same once more when these are done with
            words = said(error)
            if "alert" in words:
                raise HandshakeFailed(words) from None
            raise trio.BrokenResourceError(words) from error
        return found

    async def close(self, *, polite: bool) -> None:
        """Close; politely is with a word that it was meant."""
        try:
            if polite:
                with contextlib.suppress(ssl.SSLError, ValueError):  # no answer is waited for
                    self._tls.unwrap()
                await self._flush()
        finally:
            await self._wire.close(polite=False)

    async def _receive_raw(self) -> bytes:
        try:
            return await self._wire.receive()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise HandshakeFailed(
                f"the connection was lost during the handshake: {error}"
            ) from None

    async def _flush(self) -> None:
        if self._outgoing.pending or self._unsent:
            try:
                await self._wire.send(self._sealed())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # it is gone; whoever reads next is told


def said(error: ssl.SSLError) -> str:
    """What OpenSSL says, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "; look at the clocks" if error.verify_code in _OF_ANOTHER_TIME else ""
        return f"the certificate cannot be verified: {error.verify_message}{hint}"
    return (error.reason or str(error)).lower().replace("_", " ")
