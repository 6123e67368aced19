"""`[agent.X.tls]`: upstreams over mutual TLS 1.3, with certificates that are exchanged meanwhile."""

from __future__ import annotations

import pathlib
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowcore import open_flow
from flowcore.config import ConfigError
from flowcore.http import (
    Certificates,
    ClientCertificates,
    ClientTlsSettings,
    Request,
    Response,
    TlsSettings,
    open_client,
    open_http_server,
)
from flowcore.secrets import new_seal_key, read_seal_keys, seal
from support.certificates import CLIENT, Authority
from support.http_peer import LOCAL

AUTHORITY, OTHER = Authority(), Authority("another")
ME = "spiffe://flow/client/me"
NAME = "docs.internal"


@asynccontextmanager
async def upstream(folder: pathlib.Path) -> AsyncGenerator[tuple[str, list[str]]]:
    """A server that wants certificates, whose own is of another name than its address; and who came."""
    (folder / "server").mkdir()
    cert, key = AUTHORITY.issue(NAME).write(folder / "server", "server")
    (folder / "server" / "ca.pem").write_bytes(AUTHORITY.pem)
    (folder / "ca.pem").write_bytes(AUTHORITY.pem)
    AUTHORITY.issue(ME, usage=CLIENT).write(folder, "me")
    settings = TlsSettings(cert=cert, key=key, client_auth="required", client_ca="ca.pem")
    certificates = Certificates(settings, folder / "server")
    came: list[str] = []

    async def answer(request: Request) -> Response:
        assert request.tls is not None
        came.append(request.tls.uris[0])
        return Response(200, ((b"content-type", b"text/plain"),), b"hello")

    async with open_http_server(answer, LOCAL, context=certificates) as server:
        yield f"https://{server.addresses[0]}", came


def agent(url: str, **tls: Any) -> dict[str, Any]:
    settings = {"ca": "ca.pem", "cert": "me.pem", "key": "me.key", "server_name": NAME, **tls}
    return {"type": "http", "url": url, "tls": settings, "tools": {"get": {"description": "Get."}}}


def written(folder: pathlib.Path, url: str, node: str = "", key: str = '"me.key"') -> pathlib.Path:
    path = folder / "flow.toml"
    path.write_text(f"""
[node]
{node}
[agent.docs]
type = "http"
url = "{url}"
tls = {{ ca = "ca.pem", cert = "me.pem", key = {key}, server_name = "{NAME}" }}
[agent.docs.tools.get]
description = "Get."
""")
    return path


async def test_an_agent_shows_its_certificate_and_knows_its_upstream_by_name(
    tmp_path: pathlib.Path,
) -> None:
    async with upstream(tmp_path) as (url, came), open_flow(written(tmp_path, url)) as flow:
        await flow.wait_settled()
        assert (await flow.call("docs.get")).text == "hello"
        assert came == [ME]


async def test_its_key_may_be_sealed_in_the_configuration(tmp_path: pathlib.Path) -> None:
    async with upstream(tmp_path) as (url, came):
        text = new_seal_key()
        (tmp_path / "seal.key").write_text(text)
        (tmp_path / "seal.key").chmod(0o600)
        pem = (tmp_path / "me.key").read_text()
        (tmp_path / "me.key").unlink()
        sealed = seal(pem, "agent.docs.tls.key", read_seal_keys(text))
        path = written(
            tmp_path, url, 'seal_key = { file = "seal.key" }', f'{{ sealed = "{sealed}" }}'
        )
        async with open_flow(path) as flow:
            await flow.wait_settled()
            assert (await flow.call("docs.get")).text == "hello"
            assert came == [ME]


async def test_what_was_exchanged_holds_for_the_next_connection_and_kept_ones_are_left(
    tmp_path: pathlib.Path,
) -> None:
    async with upstream(tmp_path) as (url, came):
        settings = ClientTlsSettings(ca="ca.pem", cert="me.pem", key="me.key", server_name=NAME)
        given = ClientCertificates(settings, tmp_path)
        async with open_client(context=given, server_name=NAME) as client:
            assert (await client.request("GET", url)).status == 200
            AUTHORITY.issue("spiffe://flow/client/new", usage=CLIENT).write(tmp_path, "me")
            async with client.stream(
                "GET", url
            ) as kept:  # a second one at a time is a new connection
                assert (await client.request("GET", url)).status == 200
                assert await kept.read(10) == b"hello"
            assert came == [ME, ME, "spiffe://flow/client/new"]
            before = given()
            (tmp_path / "me.pem").write_bytes(OTHER.issue(ME, usage=CLIENT).cert)
            assert (
                given() is before
            )  # what does not fit its key does not take the place of what does
            assert (await client.request("GET", url)).status == 200


@pytest.mark.parametrize(
    ("tls", "says"),
    [
        ({"ca": "other.pem"}, "self-signed certificate in|unable to get local issuer"),
        ({"server_name": "127.0.0.1"}, "IP address mismatch"),
        ({"cert": "none.pem"}, "the certificate .*none.pem': No such file"),
    ],
)
async def test_an_upstream_that_is_not_believed_is_unavailable_with_the_reason(
    tmp_path: pathlib.Path, tls: dict[str, str], says: str
) -> None:
    async with upstream(tmp_path) as (url, came):
        (tmp_path / "other.pem").write_bytes(OTHER.pem)
        settings = ClientTlsSettings(
            **{"ca": "ca.pem", "cert": "me.pem", "key": "me.key", "server_name": NAME, **tls}
        )
        with pytest.raises(Exception, match=says):
            given = ClientCertificates(settings, tmp_path)
            async with open_client(context=given, server_name=given.server_name) as client:
                await client.request("GET", url)
        assert came == []


@pytest.mark.parametrize(
    "wrong",
    [
        agent("http://127.0.0.1:1"),
        {"type": "mcp", "url": "http://127.0.0.1:1", "tls": {"ca": "ca.pem"}},
        {"type": "mcp", "command": ["x"], "tls": {"ca": "ca.pem"}},
    ],
)
async def test_tls_towards_what_does_not_speak_it_is_a_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected `tls` only beside an https `url`"):
        async with open_flow({"agent": {"docs": wrong}}):
            pass


def test_a_certificate_whose_key_was_published_is_refused(tmp_path: pathlib.Path) -> None:
    """RFC 7515 appendix A.3 has this key."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    number = "8e9b109e719098bf980487df1f5d77e9" + "cb29606ebed2263b5f57c213df84f4b2"
    key = ec.derive_private_key(int(number, 16), ec.SECP256R1())
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sample")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=9))
        .sign(key, SHA256())
    )
    (tmp_path / "a.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "a.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (tmp_path / "a.key").chmod(0o600)
    with pytest.raises(Exception, match="a sample whose private key everybody has"):
        Certificates(TlsSettings(cert="a.pem", key="a.key"), tmp_path)


def test_nothing_but_tls_1_3_is_spoken(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    context = ClientCertificates(ClientTlsSettings(ca="ca.pem"), tmp_path)()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
