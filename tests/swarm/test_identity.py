"""A node's identity: whose certificates count, whose signatures, and what becomes of it when files change."""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flowcore.certs import CertFolder, Kind, Wanted
from flowcore.config import Secret
from flowcore.errors import AssemblyError
from flowcore.swarm import NodeTlsSettings
from flowcore.swarm.authorities import Authorities, NotVouchedFor
from flowcore.swarm.identity import Identity
from support.linked import certificates, identity, make_certificates

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
Names = list[x509.GeneralName]
Builder = x509.CertificateBuilder


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> CertFolder:
    return CertFolder(make_certificates(tmp_path / "certs", "alpha", "beta"))


def der(folder: pathlib.Path, name: str) -> bytes:
    pem = (folder / f"{name}.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


# ---- signatures


def test_a_signature_counts_for_whose_it_is_once_that_one_is_known() -> None:
    alpha, beta = identity("alpha"), identity("beta")
    signature = beta.sign(b"data")
    assert len(signature) == 64
    assert not alpha.verify("beta", b"data", signature)  # nobody has told of beta
    assert alpha.learn(der(certificates(), "beta")) == "beta"
    assert alpha.verify("beta", b"data", signature)
    assert not alpha.verify("beta", b"other data", signature)
    assert not alpha.verify("alpha", b"data", signature)
    assert not alpha.verify("gamma", b"data", signature)
    assert not alpha.verify("beta", b"data", signature[:-1] + b"x")
    assert not alpha.verify("beta", b"data", b"")
    assert alpha.verify("alpha", b"x", alpha.sign(b"x"))


def test_ones_own_certificate_is_known() -> None:
    alpha = identity("alpha")
    assert alpha.name == "alpha"
    assert alpha.certificate("alpha") == der(certificates(), "alpha")
    assert alpha.certificate("beta") is None
    assert alpha.learn(der(certificates(), "beta")) == "beta"
    assert alpha.certificate("beta") == der(certificates(), "beta")


def test_a_new_key_counts_beside_the_one_before(folder: CertFolder) -> None:
    alpha, old = identity("alpha", folder.path), identity("beta", folder.path)
    assert alpha.learn(der(folder.path, "beta"))
    folder.rotate("beta", datetime.datetime.now(datetime.UTC))
    new = identity("beta", folder.path)
    assert alpha.learn(der(folder.path, "beta")) == "beta"
    for one in (old, new):
        assert alpha.verify("beta", b"x", one.sign(b"x"))
    assert alpha.certificate("beta") == der(folder.path, "beta")


def test_what_expires_counts_no_more(folder: CertFolder) -> None:
    now = [datetime.datetime.now(datetime.UTC)]
    from flowcore.swarm.identity import Identity
    from flowcore.swarm.tls import NodeTlsSettings

    files = NodeTlsSettings(cert="alpha.pem", key="alpha.key", ca="ca.pem")
    alpha, beta = Identity(files, folder.path, lambda: now[0]), identity("beta", folder.path)
    assert alpha.learn(der(folder.path, "beta")) == "beta"
    signature = beta.sign(b"x")
    assert alpha.verify("beta", b"x", signature)
    now[0] += 91 * DAY
    assert not alpha.verify("beta", b"x", signature)
    assert alpha.learn(der(folder.path, "beta")) is None


# ---- certificates that do not count


class Ca:
    """A CA of which anything can be had."""

    def __init__(self, *constraints: x509.NameConstraints, usable: bool = True) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
        builder = self._builder(self.name, self.key).add_extension(
            x509.BasicConstraints(ca=usable, path_length=None), critical=True
        )
        for one in constraints:
            builder = builder.add_extension(one, critical=True)
        self.certificate = builder.sign(self.key, None)

    def _builder(self, name: x509.Name, key: Ed25519PrivateKey) -> Builder:
        return (
            Builder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + DAY)
        )

    def issue(
        self,
        names: Names,
        usages: list[x509.ObjectIdentifier] | None = None,
        change: Callable[[Builder], Builder] = lambda builder: builder,
    ) -> bytes:
        builder = self._builder(self.name, Ed25519PrivateKey.generate()).add_extension(
            x509.ExtendedKeyUsage(BOTH if usages is None else usages), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return change(builder).sign(self.key, None).public_bytes(Encoding.DER)

    def check(self, der: bytes, now: datetime.datetime = NOW) -> str:
        return Authorities([self.certificate]).check(der, now).name


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


NODE = uri("spiffe://flow/node/beta")


def basic(ca: bool) -> Callable[[Builder], Builder]:
    return lambda one: one.add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)


def strange(builder: Builder) -> Builder:
    oid = x509.ObjectIdentifier("1.2.3.4")
    return builder.add_extension(x509.UnrecognizedExtension(oid, b"\5\0"), critical=True)


WRONG: dict[str, tuple[Callable[[Ca], bytes], str]] = {
    "no name": (lambda ca: ca.issue([]), r"no node: its URIs are \[\]"),
    "two names": (
        lambda ca: ca.issue([NODE, uri("spiffe://flow/node/gamma")]),
        "a certificate of no node",
    ),
    "a client's": (lambda ca: ca.issue([uri("spiffe://flow/client/beta")]), "of no node"),
    "another domain": (lambda ca: ca.issue([uri("spiffe://other/node/beta")]), "of no node"),
    "a path": (lambda ca: ca.issue([uri("spiffe://flow/node/beta/x")]), "of no node"),
    "large letters": (lambda ca: ca.issue([uri("spiffe://flow/node/Beta")]), "of no node"),
    "for clients only": (lambda ca: ca.issue([NODE], BOTH[1:]), "not good for both"),
    "for servers only": (lambda ca: ca.issue([NODE], BOTH[:1]), "not good for both"),
    "a CA's": (lambda ca: ca.issue([NODE], change=basic(True)), "a CA's certificate"),
    "something critical": (lambda ca: ca.issue([NODE], change=strange), "unknown: 1.2.3.4"),
    "of another CA": (lambda ca: Ca().issue([NODE]), "a certificate of another CA"),
    "no certificate": (lambda ca: b"x", "cannot be read"),
    "cut off": (lambda ca: ca.issue([NODE])[:-1], "cannot be read"),
    "too long": (lambda ca: ca.issue([NODE]) + bytes(9000), "more than 8192 bytes"),
}


@pytest.mark.parametrize(("made", "says"), WRONG.values(), ids=WRONG)
def test_what_is_no_certificate_of_a_node_is_refused(
    made: Callable[[Ca], bytes], says: str
) -> None:
    ca = Ca()
    assert ca.check(ca.issue([NODE])) == ca.check(ca.issue([NODE], change=basic(False))) == "beta"
    with pytest.raises(NotVouchedFor, match=says):
        ca.check(made(ca))


@pytest.mark.parametrize(
    ("days", "says"),
    [
        (
            2,
            r"'beta' has expired: it ended [\d-]{10} [\d:]{8}Z, and here it is [\d-]{10} [\d:]{8}Z",
        ),
        (
            -2,
            r"'beta' is of the future: it begins .*, and by the clock here it is .*; look at the clocks",
        ),
    ],
)
def test_dates_count(days: int, says: str) -> None:
    ca = Ca()
    with pytest.raises(NotVouchedFor, match=says):
        ca.check(ca.issue([NODE]), NOW + days * DAY)


def test_a_ca_that_is_none_vouches_for_nobody() -> None:
    ca = Ca(usable=False)
    with pytest.raises(NotVouchedFor, match="another CA"):
        ca.check(ca.issue([NODE]))


FLOW, OTHER = uri("flow"), uri("other")
EXAMPLE = x509.DNSName("example.com")
NETWORK = x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))


def address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("permitted", "excluded", "names", "good"),
    [
        ([FLOW], None, [NODE], True),
        ([OTHER], None, [NODE], False),
        ([uri(".flow")], None, [NODE], False),
        (None, [FLOW], [NODE], False),
        (None, [OTHER], [NODE], True),
        ([FLOW, EXAMPLE], None, [NODE, x509.DNSName("a.example.com")], True),
        ([FLOW, EXAMPLE], None, [NODE, x509.DNSName("badexample.com")], False),
        ([EXAMPLE], None, [NODE], True),  # says nothing of URIs
        ([NETWORK], None, [NODE, address("10.1.2.3")], True),
        ([NETWORK], None, [NODE, address("11.1.2.3")], False),
        ([NETWORK], None, [NODE, address("::1")], False),
        (None, [NETWORK], [NODE, address("10.1.2.3")], False),
        ([x509.RFC822Name("example.com")], None, [NODE], False),  # a form not known here
    ],
)
def test_constraints_of_the_ca_count(
    permitted: Names | None, excluded: Names | None, names: Names, good: bool
) -> None:
    ca = Ca(x509.NameConstraints(permitted, excluded))
    made = ca.issue(names)
    if good:
        assert ca.check(made) == "beta"
    else:
        with pytest.raises(NotVouchedFor, match="the CA"):
            ca.check(made)


# ---- files


def test_files_that_are_no_identity_are_refused_with_what_to_do(folder: CertFolder) -> None:
    folder.issue(Wanted(kind=Kind.NODE, name="p", algorithm="p256"), NOW)
    folder.issue(Wanted(kind=Kind.CLIENT, name="ann", algorithm="ed25519"), NOW)
    for name, says in (
        ("p", "is not of Ed25519; make one with: flowctl certs issue node NAME"),
        ("ann", "not good for both server and client"),
        ("missing", "No such file"),
    ):
        with pytest.raises(AssemblyError, match=says):
            identity(name, folder.path)
    with pytest.raises(AssemblyError, match="is not that of"):
        identity("alpha", folder.path, key="beta.key")
    (folder.path / "alpha.key").chmod(0o644)
    with pytest.raises(AssemblyError, match="can be read by others"):
        identity("alpha", folder.path)


def test_a_new_certificate_is_taken_over_and_another_nodes_is_not(
    folder: CertFolder, caplog: pytest.LogCaptureFixture
) -> None:
    alpha = identity("alpha", folder.path)
    before = alpha.certificate("alpha")
    assert not alpha.refresh()
    folder.rotate("alpha", NOW)
    assert alpha.refresh()
    assert (after := alpha.certificate("alpha")) == der(folder.path, "alpha") != before
    assert alpha.verify("alpha", b"x", alpha.sign(b"x"))
    for suffix in (".key", ".pem"):
        other = folder.path / f"beta{suffix}"
        other.replace(folder.path / f"alpha{suffix}")
    assert not alpha.refresh()
    assert "is the certificate of 'beta' now, and this node is 'alpha'" in caplog.text
    assert alpha.certificate("alpha") == after


def test_who_is_of_a_ca_that_was_taken_out_is_forgotten(folder: CertFolder) -> None:
    alpha, beta = identity("alpha", folder.path), identity("beta", folder.path)
    assert alpha.learn(der(folder.path, "beta")) == "beta"
    folder.rotate_authority(NOW)
    folder.rotate("alpha", NOW)
    assert alpha.refresh()
    assert alpha.verify("beta", b"x", beta.sign(b"x"))  # both CAs count meanwhile
    folder.retire(force=True)
    assert alpha.refresh()
    assert not alpha.verify("beta", b"x", beta.sign(b"x"))
    assert alpha.certificate("beta") is None


def test_a_key_may_be_given_as_a_secret(folder: CertFolder) -> None:
    key = Secret((folder.path / "alpha.key").read_text())
    files = NodeTlsSettings(cert="alpha.pem", key=key, ca="ca.pem")
    alpha, beta = Identity(files, folder.path), identity("beta", folder.path)
    assert beta.learn(der(folder.path, "alpha")) == "alpha"
    assert beta.verify("alpha", b"x", alpha.sign(b"x"))
    alpha.context(server=True)
    alpha.context(server=False)
    with pytest.raises(AssemblyError, match="the key given"):
        Identity(NodeTlsSettings(cert="alpha.pem", key=Secret("x"), ca="ca.pem"), folder.path)
