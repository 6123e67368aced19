"""Configured TLS over real sockets: who may come in, and certificates that are exchanged while it serves."""

from __future__ import annotations

import pathlib
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from flowcore.config import Address
from flowcore.errors import AssemblyError
from flowcore.http import (
    Certificates,
    ClientTlsSettings,
    Request,
    Response,
    Server,
    TlsSettings,
    client_context,
    open_client,
    open_http_server,
)
from support.certificates import CLIENT, DAY, Authority, Pair
from support.http_peer import GET, LOCAL, Peer

AUTHORITY, OTHER = Authority(), Authority("another")
NODE = "spiffe://flow/node/alpha"


@attrs.define
class Place:
    """A server with the certificates of a folder, and what it has been asked."""

    folder: pathlib.Path
    server: Server
    address: Address
    certificates: Certificates
    seen: list[Request]


@asynccontextmanager
async def serving(folder: pathlib.Path, **settings: Any) -> AsyncGenerator[Place]:
    cert, key = AUTHORITY.issue("127.0.0.1").write(folder, "server")
    (folder / "ca.pem").write_bytes(AUTHORITY.pem)
    certificates = Certificates(TlsSettings(cert=cert, key=key, **settings), folder)
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(200, (), b"hello")

    async with open_http_server(
        handler, LOCAL, context=certificates, admits=certificates.admits
    ) as server:
        with trio.fail_after(30):
            yield Place(folder, server, server.addresses[0], certificates, seen)


async def ask(place: Place, context: ssl.SSLContext) -> bytes:
    """What comes on a new connection for a request: nothing, if the server closed it."""
    async with connected(place, context) as peer:
        await peer.send(GET)
        return await peer.rest_of_one()


class _Peer(Peer):
    async def rest_of_one(self) -> bytes:
        try:
            return (await self.reply()).body
        except Exception:
            return b""


@asynccontextmanager
async def connected(place: Place, context: ssl.SSLContext) -> AsyncGenerator[_Peer]:
    plain = await trio.open_tcp_stream(place.address.host, place.address.port)
    stream = trio.SSLStream(plain, context, server_hostname=place.address.host)
    try:
        yield _Peer(stream)
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


MUTUAL = {"client_auth": "required", "client_ca": "ca.pem"}


async def test_only_tls_1_3_with_its_three_suites(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path) as place:
        assert await ask(place, AUTHORITY.trusting(tmp_path)) == b"hello"
        old = AUTHORITY.trusting(tmp_path)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(trio.BrokenResourceError):
            async with connected(place, old) as peer:
                assert isinstance(peer.stream, trio.SSLStream)
                await peer.stream.do_handshake()
        suites = [one["name"] for one in place.certificates().get_ciphers()]
        offered = {name for name in suites if name.startswith("TLS_")}
        assert offered == {
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_AES_128_GCM_SHA256",
        }
        assert place.seen[0].tls is not None
        assert place.seen[0].tls.cipher in offered
        assert place.seen[0].peer_certificate is None


async def test_a_clients_certificate_and_its_uris_are_known(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path, **MUTUAL) as place:
        pair = AUTHORITY.issue(NODE, "localhost", usage=CLIENT)
        assert await ask(place, AUTHORITY.trusting(tmp_path, pair)) == b"hello"
        request = place.seen[0]
        assert request.peer_certificate == ssl.PEM_cert_to_DER_cert(pair.cert.decode())
        assert request.tls is not None
        assert request.tls.uris == (NODE,)


WRONG: dict[str, Pair | None] = {
    "none": None,
    "of another CA": OTHER.issue(NODE, usage=CLIENT),
    "expired": AUTHORITY.issue(NODE, usage=CLIENT, begins=-3 * DAY, ends=-DAY),
    "of the future": AUTHORITY.issue(NODE, usage=CLIENT, begins=DAY, ends=3 * DAY),
    "for servers": AUTHORITY.issue(NODE),
    "another's name": AUTHORITY.issue("spiffe://flow/node/alpha/x", usage=CLIENT),
    "no name": AUTHORITY.issue("localhost", usage=CLIENT),
    "two names": AUTHORITY.issue(NODE, "spiffe://flow/node/beta", usage=CLIENT),
}


@pytest.mark.parametrize("shown", WRONG.values(), ids=WRONG)
async def test_a_wrong_certificate_gets_not_one_byte(
    tmp_path: pathlib.Path, shown: Pair | None
) -> None:
    uris = (NODE, "spiffe://other/*")
    async with serving(tmp_path, **MUTUAL, client_uris=uris) as place:
        assert await ask(place, AUTHORITY.trusting(tmp_path, shown)) == b""
        assert place.seen == []
        assert place.server.statistics().refused == {0: 1}
        for uri in (NODE, "spiffe://other/x"):
            right = AUTHORITY.issue(uri, usage=CLIENT)
            assert await ask(place, AUTHORITY.trusting(tmp_path, right)) == b"hello"
        folder = AUTHORITY.issue("spiffe://other/x/y", usage=CLIENT)
        assert await ask(place, AUTHORITY.trusting(tmp_path, folder)) == b""


async def test_where_a_certificate_is_optional_a_wrong_one_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    settings = {**MUTUAL, "client_auth": "optional", "client_uris": (NODE,)}
    async with serving(tmp_path, **settings) as place:
        assert await ask(place, AUTHORITY.trusting(tmp_path)) == b"hello"
        assert place.seen[0].peer_certificate is None
        for wrong in ("of another CA", "another's name"):
            assert await ask(place, AUTHORITY.trusting(tmp_path, WRONG[wrong])) == b""


async def test_certificates_change_and_no_connection_ends(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path) as place:
        async with connected(place, AUTHORITY.trusting(tmp_path)) as kept:
            assert (await kept.ask(GET)).body == b"hello"
            for authority in (OTHER, AUTHORITY, OTHER):
                authority.issue("127.0.0.1").write(tmp_path, "server")
                assert await ask(place, authority.trusting(tmp_path)) == b"hello"
                assert (await kept.ask(GET)).body == b"hello"
        assert place.certificates.changes == 3


async def test_what_cannot_be_used_does_not_take_the_place_of_what_can(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as place:
        (tmp_path / "server.pem").write_bytes(OTHER.issue("127.0.0.1").cert)
        assert await ask(place, AUTHORITY.trusting(tmp_path)) == b"hello"
        assert "is not that of" in caplog.text
        (tmp_path / "server.pem").unlink()
        assert await ask(place, AUTHORITY.trusting(tmp_path)) == b"hello"
        OTHER.issue("127.0.0.1").write(tmp_path, "server")
        assert await ask(place, OTHER.trusting(tmp_path)) == b"hello"


async def test_a_removed_ca_is_gone_and_nothing_is_resumed(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path, **MUTUAL) as place:
        client = AUTHORITY.trusting(tmp_path, AUTHORITY.issue(NODE, usage=CLIENT))
        assert await ask(place, client) == b"hello"
        assert client.session_stats()["hits"] == 0
        (tmp_path / "ca.pem").write_bytes(OTHER.pem)
        assert await ask(place, client) == b""
        other = AUTHORITY.trusting(tmp_path, OTHER.issue(NODE, usage=CLIENT))
        assert await ask(place, other) == b"hello"
        assert place.certificates().num_tickets == 0


async def test_a_client_is_configured_likewise(tmp_path: pathlib.Path) -> None:
    cert, key = AUTHORITY.issue(NODE, usage=CLIENT).write(tmp_path, "client")
    settings = ClientTlsSettings(ca="ca.pem", cert=cert, key=key)
    async with serving(tmp_path, **MUTUAL) as place:
        async with open_client(context=client_context(settings, tmp_path)) as client:
            response = await client.request("GET", f"https://{place.address}/")
            assert response.body == b"hello"


def files(folder: pathlib.Path) -> TlsSettings:
    cert, key = AUTHORITY.issue("127.0.0.1").write(folder, "server")
    (folder / "ca.pem").write_bytes(AUTHORITY.pem)
    return TlsSettings(cert=cert, key=key, client_auth="required", client_ca="ca.pem")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_that_others_can_read_is_refused(tmp_path: pathlib.Path, mode: int) -> None:
    settings = files(tmp_path)
    (tmp_path / "server.key").chmod(mode)
    with pytest.raises(AssemblyError, match=rf"mode {mode:04o}\); chmod it to 600"):
        Certificates(settings, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("server.key", None, r"the key .*server\.key': No such file"),
        ("server.pem", None, r"the certificate .*server\.pem': No such file"),
        ("ca.pem", None, r"the CA file .*ca\.pem': No such file"),
        ("server.key", b"no key", "cannot be used"),
        ("server.pem", b"", "cannot be used"),
        ("ca.pem", b"no certificate", "cannot be used"),
        ("server.key", OTHER.issue("x").key, "is not that of"),
        ("server.pem", b"x" * (2 << 20), "no regular file of at most"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    tmp_path: pathlib.Path, name: str, content: bytes | None, says: str
) -> None:
    settings = files(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    with pytest.raises(AssemblyError, match=says):
        Certificates(settings, tmp_path)


def test_an_encrypted_key_is_not_asked_for_at_the_terminal(tmp_path: pathlib.Path) -> None:
    from cryptography.hazmat.primitives import serialization as form

    settings = files(tmp_path)
    path = tmp_path / "server.key"
    key = form.load_pem_private_key(path.read_bytes(), None)
    secret = form.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, secret))
    with pytest.raises(AssemblyError, match="cannot be used"):
        Certificates(settings, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_auth": "required"},
        {"client_ca": "ca.pem"},
        {"client_uris": (NODE,)},
        {**MUTUAL, "client_uris": ("spiffe://*/node",)},
        {**MUTUAL, "client_uris": ("spiffe://flow/node*",)},
    ],
)
def test_settings_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        TlsSettings(cert="a", key="b", **wrong)


def test_a_client_shows_a_certificate_with_its_key_or_none() -> None:
    with pytest.raises(ValueError, match="together"):
        ClientTlsSettings(cert="a")
