"""TLS on both sides; certificates made by trustme."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio
import trustme
from trio.testing import MockClock

from flowcore.http import ConnectFailed, Limits, Request, Response, Send, Stream, open_client
from support.http_peer import GET, echo, open_peer, serving

AUTHORITY = trustme.CA()
OTHER = trustme.CA()


def server_context(*names: str, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    authority.issue_cert(*names).configure_cert(context)
    return context


SERVER = server_context("127.0.0.1", "localhost", "flow.test")


def client_context(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    authority.configure_trust(context)
    return context


async def test_requests_go_over_tls() -> None:
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return await echo(request)

    async with serving(handler, context=lambda: SERVER) as (server, address):
        async with open_client(context=client_context()) as client:
            for number in range(3):
                url = f"https://{address}/{number}"
                response = await client.request("POST", url, body=b"x" * 100_000)
                assert response.body == b"POST /%d " % number + b"x" * 100_000
            assert server.statistics().connections == 1
    tls = seen[0].tls
    assert tls is not None
    assert (tls.version, tls.protocol, tls.certificate) == ("TLSv1.3", "http/1.1", None)
    assert tls.cipher.startswith("TLS_")
    assert seen[0].secure
    assert seen[0].client == "127.0.0.1"


async def test_a_clients_certificate_is_told() -> None:
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(204)

    demanding = server_context("127.0.0.1")
    demanding.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(demanding)
    presenting = client_context()
    AUTHORITY.issue_cert("client@flow.test").configure_cert(presenting)
    async with serving(handler, context=lambda: demanding) as (server, address):
        async with open_client(context=presenting) as client:
            assert (await client.request("GET", f"https://{address}/")).status == 204
        async with open_client(context=client_context()) as client:
            # in TLS 1.3 a client learns with its first read that its certificate was missed
            with pytest.raises(Exception, match="lost|ended|no connection"):
                await client.request("GET", f"https://{address}/")
        assert (server.statistics().requests, server.statistics().refused) == (1, {0: 1})
    assert seen[0].tls is not None
    assert seen[0].tls.certificate is not None
    assert ssl.DER_cert_to_PEM_cert(seen[0].tls.certificate).startswith("-----BEGIN")


async def test_each_connection_takes_the_context_of_its_moment() -> None:
    current = [SERVER]
    async with serving(context=lambda: current[0]) as (_, address):
        url = f"https://{address}/"
        async with open_client(context=client_context()) as before:
            assert (await before.request("GET", url)).status == 200
            current[0] = server_context("127.0.0.1", authority=OTHER)
            assert (await before.request("GET", url)).status == 200  # on its kept connection
            async with open_client(context=client_context(OTHER)) as after:
                assert (await after.request("GET", url)).status == 200


@pytest.mark.parametrize(
    ("context", "says"),
    [
        (server_context("127.0.0.1", authority=OTHER), "unable to get local issuer certificate"),
        (server_context("elsewhere.test"), "IP address mismatch"),
    ],
)
async def test_a_certificate_that_does_not_fit_is_refused(
    context: ssl.SSLContext, says: str
) -> None:
    async with serving(context=lambda: context) as (_, address):
        async with open_client(context=client_context()) as client:
            with pytest.raises(ConnectFailed, match=says):
                await client.request("GET", f"https://{address}/")


async def test_without_a_context_the_systems_certificates_are_asked() -> None:
    async with serving(context=lambda: SERVER) as (_, address), open_client() as client:
        for _ in range(2):
            with pytest.raises(ConnectFailed, match="certificate"):
                await client.request("GET", f"https://{address}/")


async def test_old_versions_are_refused_by_default() -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(old)
    async with serving(context=lambda: old) as (_, address), open_client() as client:
        with pytest.raises(ConnectFailed, match="ended the TLS handshake"):
            await client.request("GET", f"https://{address}/")


async def test_plain_http_to_a_tls_port_is_closed() -> None:
    async with serving(context=lambda: SERVER) as (server, address):
        async with open_peer(address) as peer:
            await peer.send(GET)
            assert b"HTTP" not in await peer.rest()
        async with open_peer(address, client_context()) as peer:
            assert (await peer.ask(GET)).status == 200
        assert server.statistics().refused == {0: 1}


async def test_https_to_a_plain_port_is_told() -> None:
    async with serving() as (_, address), open_client(context=client_context()) as client:
        with pytest.raises(ConnectFailed, match="no connection to"):
            await client.request("GET", f"https://{address}/")


async def test_a_context_that_cannot_be_made_fails_its_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = 0

    def context() -> ssl.SSLContext:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise FileNotFoundError("the key is not there")
        return SERVER

    async with serving(context=context) as (server, address):
        async with open_peer(address) as peer:
            assert await peer.rest() == b""
        async with open_peer(address, client_context()) as peer:
            assert (await peer.ask(GET)).status == 200
        assert server.statistics().failures == 1
    assert "the key is not there" in caplog.text


async def test_a_stalled_handshake_ends_and_costs_nobody_else(autojump_clock: MockClock) -> None:
    async with serving(context=lambda: SERVER) as (server, address):
        async with open_peer(address) as silent, open_peer(address) as halfway:
            began = trio.current_time()
            await halfway.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            async with open_peer(address, client_context()) as peer:
                assert (await peer.ask(GET)).status == 200
                assert trio.current_time() - began < 1
            assert await silent.rest() == b""
            assert await halfway.rest() == b""
            assert 5 <= trio.current_time() - began < 6
        assert server.statistics().timeouts == 2


async def test_handshakes_are_bounded_apart_from_connections() -> None:
    limits = Limits(handshakes=2, connections=1)
    async with serving(limits=limits, context=lambda: SERVER) as (server, address):
        async with open_peer(address) as first, open_peer(address) as second:
            await trio.testing.wait_all_tasks_blocked(0.01)
            async with open_peer(address, client_context()) as peer:
                assert await first.rest() == b""  # the oldest is given up
                assert (await peer.ask(GET)).status == 200
                statistics = server.statistics()
                assert (statistics.open, statistics.evicted) == (2, 1)
                assert statistics.refused == {0: 1}
            await trio.aclose_forcefully(second.stream)


async def test_a_thousand_stalled_handshakes_shut_nobody_out() -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    async with serving(limits=Limits(handshakes=100), context=lambda: SERVER) as (server, address):
        stalled = []
        try:
            for number in range(1000):
                one = socket.create_connection((address.host, address.port))
                one.sendall(hello[: number % len(hello)])
                stalled.append(one)
                if number % 100 == 99:
                    async with open_peer(address, client_context()) as peer:
                        assert (await peer.ask(GET)).status == 200
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert server.statistics().open <= 100
            assert server.statistics().evicted >= 900
        finally:
            for one in stalled:
                one.close()


async def test_a_full_server_says_so_over_tls() -> None:
    async def handler(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    limits = Limits(connections=1)
    async with serving(handler, limits, context=lambda: SERVER) as (_, address):
        async with open_peer(address, client_context()) as busy:
            await busy.send(GET)
            await trio.testing.wait_all_tasks_blocked(0.02)
            async with open_peer(address, client_context()) as second:
                reply = await second.ask(GET)
                assert (reply.status, reply.headers[b"connection"]) == (503, b"close")


async def test_the_end_is_told_by_tls() -> None:
    async def handler(request: Request) -> Stream:
        async def run(send: Send) -> None:
            await send(b"all")

        return Stream(200, (), run)

    async with serving(handler, context=lambda: SERVER) as (_, address):
        async with open_peer(address, client_context()) as peer:
            await peer.send(b"GET / HTTP/1.0\r\n\r\n")
            raw = b""
            while data := await peer.stream.receive_some():  # raises without a close_notify
                raw += data
            assert raw.endswith(b"\r\n\r\nall")


async def test_a_client_that_goes_away_cancels_its_handler() -> None:
    cancelled = trio.Event()

    async def handler(request: Request) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async with serving(handler, context=lambda: SERVER) as (server, address):
        async with open_peer(address, client_context()) as peer:
            await peer.send(GET)
            await trio.testing.wait_all_tasks_blocked(0.02)
        await cancelled.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert server.statistics().disconnects == 1


async def test_draining_and_refusing_over_tls() -> None:
    async with serving(context=lambda: SERVER) as (server, address):
        async with open_peer(address, client_context()) as peer:
            assert (await peer.ask(b"garbage\r\n\r\n")).status == 400
        async with open_peer(address, client_context()) as idle:
            assert (await idle.ask(GET)).status == 200
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.drain, 30)
                assert await idle.rest() == b""
        assert server.statistics().open == 0


async def test_an_answer_larger_than_the_sockets_room_passes() -> None:
    body = bytes(range(256)) * 8192

    async def handler(request: Request) -> Response:
        return Response(200, (), body)

    async with serving(handler, context=lambda: SERVER) as (_, address):
        async with open_client(context=client_context()) as client:
            assert (await client.request("GET", f"https://localhost:{address.port}/")).body == body
