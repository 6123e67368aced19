"""A private CA: what it issues holds in real handshakes and before OpenSSL, and can be exchanged."""

from __future__ import annotations

import datetime
import json
import pathlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable

import pytest
from cryptography import x509

from flowcore.certs import CertFolder, CertsError, Kind, Wanted, describe, issue, make_authority
from flowcore.cli import flowctl

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module", params=["p256", "ed25519"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder as `flowctl certs init` makes it, and a node's certificate."""
    folder = tmp_path_factory.mktemp("made") / "certs"
    words = ["--dir", str(folder), "--algorithm", request.param]
    assert flowctl.run(["certs", "init", *words]) == 0
    assert flowctl.run(["certs", "issue", "node", "alpha", "--dns", "alpha.example", *words]) == 0
    return folder


@pytest.fixture
def folder(made: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of it to change."""
    shutil.copytree(made, tmp_path / "certs")
    return tmp_path / "certs"


def handshake(
    server: pathlib.Path, name: str, client: pathlib.Path, shown: str, host: str = "localhost"
) -> bytes:
    """What the server says in a mutual TLS 1.3 handshake over a real socket pair; raises SSLError."""
    ours, theirs = socket.socketpair()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server / f"{name}.pem", server / f"{name}.key")
    serving.load_verify_locations(server / "ca.pem")
    serving.verify_mode = ssl.CERT_REQUIRED
    failed: list[ssl.SSLError] = []

    def serve() -> None:
        try:
            with serving.wrap_socket(theirs, server_side=True) as stream:
                stream.sendall(b"hello")
        except ssl.SSLError as error:
            failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        asking = ssl.create_default_context(cafile=client / "ca.pem")
        asking.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
        asking.minimum_version = ssl.TLSVersion.TLSv1_3
        asking.load_cert_chain(client / f"{shown}.pem", client / f"{shown}.key")
        with asking.wrap_socket(ours, server_hostname=host) as stream:
            data = stream.recv(10)
    finally:
        ours.close()
        thread.join()
        theirs.close()
    if failed:
        raise failed[0]
    return data


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_servers_and_clients_believe_each_other(made: pathlib.Path, host: str) -> None:
    assert handshake(made, "server", made, "operator", host) == b"hello"


def test_a_node_is_server_and_client(made: pathlib.Path) -> None:
    assert handshake(made, "alpha", made, "alpha", "alpha.example") == b"hello"


@pytest.mark.parametrize(
    ("server", "client", "host", "says"),
    [
        ("server", "operator", "other.example", "Hostname mismatch"),
        ("server", "operator", "127.0.0.2", "IP address mismatch"),
        ("server", "server", "localhost", "unsupported certificate|unsuitable certificate purpose"),
        ("operator", "operator", "localhost", "unsuitable certificate purpose"),
    ],
)
def test_each_is_good_for_what_it_was_made_for_only(
    made: pathlib.Path, server: str, client: str, host: str, says: str
) -> None:
    with pytest.raises(ssl.SSLError, match=says):
        handshake(made, server, made, client, host)


def test_openssl_finds_nothing_wrong_with_it(made: pathlib.Path) -> None:
    for name, purpose in (
        ("server", "sslserver"),
        ("operator", "sslclient"),
        ("alpha", "sslserver"),
    ):
        words = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile"]
        done = subprocess.run(
            [*words, made / "ca.pem", made / f"{name}.pem"], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_modes_are_those_of_secrets(made: pathlib.Path) -> None:
    modes = {one.name: one.stat().st_mode & 0o777 for one in made.iterdir()}
    assert made.stat().st_mode & 0o777 == 0o700
    assert modes.pop("ca.pem") == modes.pop("server.pem") == 0o644
    assert {modes[one] for one in modes if not one.endswith(".pem")} == {0o600}


def test_the_ca_signs_no_ca_and_speaks_for_its_own_identities_only() -> None:
    authority = make_authority(NOW, domains=("example.com",))
    extensions = authority.certificate.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    for host in ("flow.example.com", "example.com", "*.example.com", "localhost", "127.0.0.9"):
        issue(authority, Wanted(kind=Kind.SERVER, name="a", hosts=(host,)), NOW)
    for host in ("example.org", "badexample.com", "10.0.0.1"):
        with pytest.raises(CertsError, match=r"made for example.com, localhost only"):
            issue(authority, Wanted(kind=Kind.SERVER, name="a", hosts=(host,)), NOW)


def test_nothing_outlives_its_ca_and_an_expired_one_signs_nothing() -> None:
    authority = make_authority(NOW, days=30)
    leaf = describe(issue(authority, Wanted(kind=Kind.CLIENT, name="a"), NOW).certificate)
    assert leaf.ends == authority.certificate.not_valid_after_utc
    with pytest.raises(CertsError, match="expired; make a new one with: flowctl certs rotate ca"):
        issue(authority, Wanted(kind=Kind.CLIENT, name="a"), NOW + 31 * DAY)


WRONG: dict[str, tuple[Callable[[], Wanted], str]] = {
    "no name": (lambda: Wanted(kind=Kind.CLIENT, name=""), "expected a name of small letters"),
    "a path": (lambda: Wanted(kind=Kind.CLIENT, name="../x"), "expected a name"),
    "the CA's": (lambda: Wanted(kind=Kind.CLIENT, name="ca"), "other than ca"),
    "no hosts": (lambda: Wanted(kind=Kind.SERVER, name="a"), "needs a host name"),
    "hosts": (lambda: Wanted(kind=Kind.CLIENT, name="a", hosts=("b",)), "a name, and no hosts"),
    "a URL": (lambda: Wanted(kind=Kind.SERVER, name="a", hosts=("http://b",)), "a DNS name or an"),
    "no IP": (lambda: Wanted(kind=Kind.SERVER, name="a", hosts=("1.2.3",)), "a DNS name or an"),
    "no days": (lambda: Wanted(kind=Kind.CLIENT, name="a", days=0), "expected more than 0"),
    "no number": (lambda: Wanted(kind=Kind.CLIENT, name="a", days=float("nan")), "more than 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_issued_is_said(case: str) -> None:
    wanted, says = WRONG[case]
    with pytest.raises(CertsError, match=says):
        wanted()


# ---- exchanging


def test_a_rotated_certificate_says_the_same_and_is_another(folder: pathlib.Path) -> None:
    certs = CertFolder(folder)
    for name in ("server", "operator", "alpha"):
        [old] = [one.described for one in certs.leaves() if one.name == name]
        new = certs.rotate(name, NOW)
        assert new.fingerprint != old.fingerprint
        assert new.certificate.public_key() != old.certificate.public_key()
        assert (new.kind, new.uri, new.hosts) == (old.kind, old.uri, old.hosts)
        assert abs(new.days - old.days) < 1e-3
    assert handshake(folder, "server", folder, "operator") == b"hello"


def test_a_ca_is_exchanged_without_a_moment_in_which_anybody_is_not_believed(
    folder: pathlib.Path, made: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    certs = CertFolder(folder)
    peer = tmp_path / "peer"  # of the old CA, and gets the new bundle late
    shutil.copytree(folder, peer)

    certs.rotate_authority(NOW)
    with pytest.raises(CertsError, match="first retire the older one"):
        certs.rotate_authority(NOW)
    assert handshake(folder, "server", peer, "operator") == b"hello"
    assert handshake(peer, "server", folder, "operator") == b"hello"
    with pytest.raises(CertsError, match="alpha, operator, server: still of the older CA"):
        certs.retire()

    shutil.copy(folder / "ca.pem", peer)
    for name in ("server", "operator", "alpha"):
        certs.rotate(name, NOW)
    assert handshake(folder, "server", peer, "operator") == b"hello"
    assert handshake(peer, "server", folder, "operator") == b"hello"
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        handshake(folder, "server", made, "operator")  # who never got the bundle

    certs.retire()
    with pytest.raises(ssl.SSLError, match="certificate verify failed|unknown ca"):
        handshake(folder, "server", peer, "operator")  # the old CA's are out
    assert handshake(folder, "server", folder, "operator") == b"hello"
    with pytest.raises(CertsError, match="nothing to retire"):
        certs.retire()


# ---- the command


def ctl(*words: str) -> int:
    try:
        return flowctl.run(["certs", *words])
    except SystemExit as ended:
        return int(str(ended.code))


def test_nothing_is_written_over_unless_that_is_said(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    where = ("--dir", str(folder))
    assert ctl("init", *where) == 1
    assert "would be written over" in capsys.readouterr().err
    for name in ("operator.token", "tokens.toml", "hmac.toml", "audit.key", "flowctl.toml"):
        (folder / name).unlink()
    assert ctl("init", *where) == 1
    assert ctl("issue", "client", "operator", *where) == 1
    assert "to exchange certificates: flowctl certs rotate" in capsys.readouterr().err
    assert all(before[one.name] == one.read_bytes() for one in folder.iterdir())
    assert ctl("issue", "client", "operator", "--force", *where) == 0
    assert (folder / "operator.key").read_bytes() != before["operator.key"]
    assert ctl("init", "--force", *where) == 0
    assert {one.name for one in folder.iterdir()} == before.keys()


def test_show_tells_what_is_due_and_what_cannot_be_used(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--dir", str(folder))
    certs = CertFolder(folder)

    def shown() -> dict[str, dict[str, object]]:
        capsys.readouterr()
        ctl("show", "--json", *where)
        listed = json.loads(capsys.readouterr().out)["certificates"]
        return {one["name"]: one for one in listed}

    assert ctl("show", *where) == 0
    assert capsys.readouterr().err == ""
    assert shown()["alpha"]["names"] == ["spiffe://flow/node/alpha", "alpha.example"]

    certs.rotate("alpha", NOW - 70 * DAY, days=90)
    assert "less than a third" in str(shown()["alpha"]["warning"])
    assert ctl("rotate", "--due", *where) == 0
    assert "alpha" in capsys.readouterr().out
    assert shown()["alpha"]["warning"] == ""
    assert ctl("rotate", "--due", *where) == 0
    assert "nothing is due" in capsys.readouterr().out

    certs.rotate("alpha", NOW - 5 * DAY, days=1)
    (folder / "operator.key").chmod(0o640)
    shutil.copy(folder / "ca.key", folder / "server.key")
    folder.chmod(0o755)
    assert ctl("show", *where) == 1
    said = capsys.readouterr().err
    for text in (
        "can be entered by others (mode 0755)",
        "alpha: has expired",
        "operator.key can be read by others (mode 0640); chmod it to 600",
        "server.key is not its key: rotate it",
    ):
        assert text in said


def test_what_is_missing_or_broken_is_said_with_what_to_do(
    folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--dir", str(folder))
    for words, says in (
        (("show", "--dir", str(tmp_path / "none")), "made with: flowctl certs init --dir"),
        (("rotate", "beta", *where), "no certificate 'beta' in"),
        (("rotate", *where), "rotate needs names, or --all, or --due"),
        (("rotate", "server", "--retire", *where), "--retire is for the CA"),
        (("issue", "client", "Ann", *where), "expected a name of small letters"),
        (("issue", "server", "x", "--dns", "a b", *where), "expected a DNS name"),
        (("issue", "client", "x", "--days", "0", *where), "expected more than 0"),
    ):
        assert ctl(*words) in (1, 2), words
        assert says in capsys.readouterr().err
    (folder / "ca.key").unlink()
    assert ctl("issue", "client", "x", *where) == 1
    assert "ca.key cannot be read: No such file" in capsys.readouterr().err
    (folder / "ca.pem").write_text("nothing")
    assert ctl("show", *where) == 1
    assert "holds no certificate" in capsys.readouterr().err


def test_a_cluster_is_one_command_and_may_grow(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "certs"
    words = ["--dir", str(folder)]
    assert flowctl.run(["certs", "cluster", "alpha", "beta", "gamma", *words]) == 0
    said = capsys.readouterr().out
    assert "beta: " in said
    assert 'tls = { cert = "alpha.pem", key = "alpha.key", ca = "ca.pem" }' in said
    modes = {one.name: one.stat().st_mode & 0o777 for one in folder.iterdir()}
    assert modes == {"ca.key": 0o600, "ca.pem": 0o644} | {
        f"{name}.{kind}": mode
        for name in ("alpha", "beta", "gamma")
        for kind, mode in (("key", 0o600), ("pem", 0o644))
    }
    for found in CertFolder(folder).leaves():
        assert (found.described.kind, found.described.algorithm) == (Kind.NODE, "ed25519")
        assert found.described.uri == f"spiffe://flow/node/{found.name}"
    before = (folder / "alpha.pem").read_bytes()
    assert flowctl.run(["certs", "cluster", "alpha", "delta", "--dns", "d.example", *words]) == 0
    assert "were there already: alpha\n" in capsys.readouterr().out
    assert (folder / "alpha.pem").read_bytes() == before
    assert handshake(folder, "delta", folder, "alpha", "d.example") == b"hello"
    assert flowctl.run(["certs", "cluster", "alpha", "--force", "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["certificates"][0]["name"] == "alpha"
    assert (folder / "alpha.pem").read_bytes() != before


def test_a_cluster_takes_no_certificate_that_is_for_something_else(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dir", str(folder)]
    assert flowctl.run(["certs", "cluster", "beta", "server", *words]) == 1
    assert "server.pem is for a server" in capsys.readouterr().err
    (folder / "beta.key").unlink()
    assert flowctl.run(["certs", "cluster", "beta", *words]) == 1
    assert "beta.key" in capsys.readouterr().err
    assert flowctl.run(["certs", "cluster", "beta", "--force", *words]) == 0
