"""Who may not have a link is refused before it has heard or said anything, and it is told and audited."""

from __future__ import annotations

import datetime
import gc
import pathlib
import re
import ssl
import tracemalloc

import pytest
import trio

from flowcore.certs import CertFolder, Issued, Kind, Wanted, issue, read_bundle
from flowcore.errors import LinkFailed
from flowcore.swarm.identity import Identity
from flowcore.swarm.links import LinkSettings
from support.linked import Peer, certificates, identity, make_certificates, open_peer

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def client_context(cert: pathlib.Path | None, ca: pathlib.Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(ca)
    if cert is not None:
        context.load_cert_chain(cert, cert.with_suffix(".key"))
    return context


async def heard_from(address: str, context: ssl.SSLContext, say: bytes = b"") -> tuple[bytes, str]:
    """All that a node says to whoever dials it with this context, and how it ends."""
    host, _, port = address.rpartition(":")
    stream = trio.SSLStream(await trio.open_tcp_stream(host, int(port)), context)
    heard = b""
    try:
        with trio.fail_after(20):
            await stream.do_handshake()
            if say:
                await stream.send_all(say)
            while data := await stream.receive_some():
                heard += data
    except trio.BrokenResourceError as error:
        return heard, str(error.__cause__)
    finally:
        await trio.aclose_forcefully(stream)
    return heard, ""


def issued(folder: CertFolder, wanted: Wanted, now: datetime.datetime) -> pathlib.Path:
    """A certificate of a CA's, made at another time than now."""
    authority = Issued(read_bundle((folder.path / "ca.pem").read_bytes())[0], folder._key("ca"))
    made = issue(authority, wanted, now)
    path = folder.path / f"{wanted.name}.pem"
    path.write_bytes(made.cert_pem)
    path.with_suffix(".key").write_bytes(made.key_pem)
    path.with_suffix(".key").chmod(0o600)
    return path


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> CertFolder:
    return CertFolder(make_certificates(tmp_path / "certs", "alpha", "beta", "gamma"))


def no_certificate(folder: CertFolder, other: pathlib.Path) -> pathlib.Path | None:
    return None


def of_another_ca(folder: CertFolder, other: pathlib.Path) -> pathlib.Path | None:
    return make_certificates(other / "other", "beta") / "beta.pem"


def expired(folder: CertFolder, other: pathlib.Path) -> pathlib.Path | None:
    wanted = Wanted(kind=Kind.NODE, name="old", days=1, algorithm="ed25519")
    return issued(folder, wanted, NOW - 3 * DAY)


def of_the_future(folder: CertFolder, other: pathlib.Path) -> pathlib.Path | None:
    wanted = Wanted(kind=Kind.NODE, name="early", algorithm="ed25519")
    return issued(folder, wanted, NOW + 3 * DAY)


def a_client(folder: CertFolder, other: pathlib.Path) -> pathlib.Path | None:
    folder.issue(Wanted(kind=Kind.CLIENT, name="ann", algorithm="ed25519"), NOW)
    return folder.path / "ann.pem"


def a_server(folder: CertFolder, other: pathlib.Path) -> pathlib.Path | None:
    wanted = Wanted(kind=Kind.SERVER, name="web", hosts=("127.0.0.1",), algorithm="ed25519")
    folder.issue(wanted, NOW)
    return folder.path / "web.pem"


def with_another_key(folder: CertFolder, other: pathlib.Path) -> pathlib.Path | None:
    folder.issue(Wanted(kind=Kind.NODE, name="p", algorithm="p256"), NOW)
    return folder.path / "p.pem"


@pytest.mark.parametrize(
    ("shown", "code", "says"),
    [
        (no_certificate, "tls", "peer did not return a certificate"),
        (of_another_ca, "tls", "unable to get local issuer certificate|certificate signature"),
        (expired, "tls", "certificate has expired; look at the clocks"),
        (of_the_future, "tls", "certificate is not yet valid; look at the clocks"),
        (a_client, "certificate", "not good for both server and client"),
        (a_server, "tls", "unsuitable certificate purpose|unsupported certificate purpose"),
        (with_another_key, "certificate", "the key of 'p' is not of Ed25519"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
async def test_a_certificate_that_does_not_count_hears_nothing(
    shown: object, code: str, says: str, folder: CertFolder, tmp_path: pathlib.Path
) -> None:
    cert = shown(folder, tmp_path)  # type: ignore[operator]
    who = identity("alpha", folder.path)
    async with open_peer("alpha", who=who) as alpha:
        context = client_context(cert, folder.path / "ca.pem")
        heard, _ = await heard_from(alpha.address, context, b"\0\0\0\1x")
        assert heard == b""
        assert alpha.links.refusals.counts == {code: 1}
        [reason] = alpha.refusals()
        assert re.search(says, reason), reason
        assert alpha.user.events == []


async def test_an_old_version_of_tls_is_no_handshake(folder: CertFolder) -> None:
    async with open_peer("alpha", who=identity("alpha", folder.path)) as alpha:
        context = client_context(folder.path / "beta.pem", folder.path / "ca.pem")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        heard, how = await heard_from(alpha.address, context)
        assert heard == b""
        assert "alert protocol version" in how.lower()
        assert alpha.links.refusals.counts == {"tls": 1}


async def until_refused(peer: Peer, number: int = 1) -> None:
    """Wait until a node has refused so many connections."""
    with trio.fail_after(20):
        while sum(peer.links.refusals.counts.values()) < number:
            await trio.lowlevel.checkpoint()


async def test_who_dials_another_ca_is_told_so_on_both_sides(
    folder: CertFolder, tmp_path: pathlib.Path
) -> None:
    other = make_certificates(tmp_path / "other", "beta")
    async with (
        open_peer("alpha", who=identity("alpha", folder.path)) as alpha,
        open_peer("beta", who=identity("beta", other)) as beta,
    ):
        with pytest.raises(LinkFailed, match="the certificate cannot be verified"):
            await beta.links.dial(alpha.address)
        await until_refused(alpha)
        assert "alert" in alpha.refusals()[0]  # the dialler has said why it hung up


async def test_a_dialler_hears_why_its_certificate_was_refused(folder: CertFolder) -> None:
    """The server's CA file believes nobody but a newer CA."""
    (folder.path / "both.pem").write_bytes((folder.path / "ca.pem").read_bytes())
    who = identity("beta", folder.path, ca="both.pem")
    folder.rotate_authority(NOW)
    (folder.path / "both.pem").write_bytes((folder.path / "ca.pem").read_bytes())
    folder.rotate("alpha", NOW)
    folder.retire(force=True)
    async with (
        open_peer("alpha", who=identity("alpha", folder.path)) as alpha,
        open_peer("beta", who=who) as beta,
    ):
        with pytest.raises(LinkFailed, match="tls.* alert unknown ca"):
            await beta.links.dial(alpha.address)
        assert alpha.links.refusals.counts == {"tls": 1}


async def test_another_name_than_was_dialled_is_refused_before_a_word_is_said() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta") as beta:
        alpha.links.want({"gamma": beta.address})
        with trio.fail_after(20):
            while not alpha.refusals():
                await trio.lowlevel.checkpoint()
        assert alpha.refusals()[0] == "'beta' is there, and 'gamma' was dialled"
        assert "gamma" in alpha.links.status()["wanted"]
        assert "was dialled" in alpha.links.status()["wanted"]["gamma"]["reason"]
        assert alpha.user.events == beta.user.events == []


async def test_nodes_of_another_cluster_are_refused_and_both_say_so() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta", cluster="other") as beta:
        with pytest.raises(LinkFailed, match="cluster"):
            await alpha.links.dial(beta.address)
        await until_refused(beta)
        assert alpha.links.refusals.counts == beta.links.refusals.counts == {"cluster": 1}


async def test_nodes_without_a_common_version_are_refused_with_both_ranges() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta", oldest=2, newest=3) as beta:
        with pytest.raises(LinkFailed, match="speaks versions 2 to 3 of the protocol, this node 1"):
            await alpha.links.dial(beta.address)
        await until_refused(beta)
        assert alpha.links.refusals.counts == beta.links.refusals.counts == {"version": 1}


async def test_a_handshake_that_hangs_is_ended_and_others_do_not_notice() -> None:
    quick = LinkSettings(handshake_timeout=3.0)
    async with open_peer("alpha", settings=quick) as alpha, open_peer("beta") as beta:
        host, _, port = alpha.address.rpartition(":")
        stalled = [await trio.open_tcp_stream(host, int(port)) for _ in range(20)]
        await beta.links.dial(alpha.address)
        with trio.fail_after(20):
            for one in stalled:
                assert await one.receive_some() == b""
                await one.aclose()
        await until_refused(alpha, 20)
        assert alpha.links.refusals.counts == {"timeout": 20}


async def test_who_is_slow_goes_when_too_many_come_and_nodes_still_get_in() -> None:
    few = LinkSettings(handshakes=4, handshake_timeout=60)  # two of one address
    async with open_peer("alpha", settings=few) as alpha, open_peer("beta") as beta:
        host, _, port = alpha.address.rpartition(":")
        stalled = [await trio.open_tcp_stream(host, int(port)) for _ in range(8)]
        await until_refused(alpha, 6)
        await beta.links.dial(alpha.address)
        assert set(alpha.links.up()) == {"beta"}
        for one in stalled:
            await one.aclose()
        assert alpha.links.refusals.counts["busy"] == 7


async def test_many_strangers_leave_nothing_behind() -> None:
    """Garbage, hang-ups, wrong certificates, by the hundred: counted, and memory is as before."""
    folder = certificates()
    context = client_context(folder / "beta.pem", folder / "ca.pem")
    async with open_peer("alpha") as alpha:
        host, _, port = alpha.address.rpartition(":")

        async def strangers(count: int) -> None:
            before = sum(alpha.links.refusals.counts.values())
            for number in range(count):
                if number % 3:
                    stream = await trio.open_tcp_stream(host, int(port))
                    await stream.send_all(b"\x16\x03\x01" + bytes([number % 256]) * 40)
                    await stream.aclose()
                else:
                    await heard_from(alpha.address, context, b"\xff" * 50)
            await until_refused(alpha, before + count)
            alpha.audited.clear()
            gc.collect()

        await strangers(60)
        tracemalloc.start()
        try:
            await strangers(30)
            small, _ = tracemalloc.get_traced_memory()
            await strangers(150)
            large, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert large - small < 100_000
        assert alpha.links.status()["greeting"] == 0
        assert sum(alpha.links.refusals.counts.values()) == 240


@pytest.mark.parametrize("say", [b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", bytes(10_000)])
async def test_garbage_instead_of_a_hello_ends_the_connection(say: bytes) -> None:
    folder = certificates()
    async with open_peer("alpha") as alpha:
        context = client_context(folder / "beta.pem", folder / "ca.pem")
        await heard_from(alpha.address, context, say)
        assert alpha.links.refusals.counts == {"protocol": 1}


async def test_who_says_another_name_than_its_certificate_is_refused() -> None:
    """A node with a right certificate that lies about its name in its hello."""

    class Liar(Identity):
        name = "gamma"

    liar = identity("beta")
    liar.__class__ = Liar
    async with open_peer("alpha") as alpha, open_peer("beta", who=liar) as beta:
        with pytest.raises(LinkFailed):
            await beta.links.dial(alpha.address)
        await until_refused(alpha)
        assert alpha.refusals() == ["the other side says to be 'gamma', its certificate 'beta'"]


async def test_a_ca_that_is_taken_out_ends_the_links_of_its_nodes(folder: CertFolder) -> None:
    """The old CA's files are exchanged: links of who is not of the new one go, without a restart."""
    async with (
        open_peer("alpha", who=identity("alpha", folder.path)) as alpha,
        open_peer("beta", who=identity("beta", folder.path)) as beta,
    ):
        await beta.links.dial(alpha.address)
        assert set(alpha.links.up()) == {"beta"}
        folder.rotate_authority(NOW)
        folder.rotate("alpha", NOW)
        folder.retire(force=True)
        await alpha.user.until(lambda: ("down", "beta") in alpha.user.events)
        assert "its certificate counts no more" in alpha.refusals()
