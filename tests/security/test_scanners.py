"""What attackers' own tools find at a running flowserve: testssl, sslscan, slowhttptest in three modes."""

from __future__ import annotations

import csv
import http.client
import json
import os
import pathlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit
from xml.etree import ElementTree

import attrs
import pytest

from support import needs
from support.certificates import Authority
from support.node import Node, serving

TESTS = pathlib.Path(__file__).parents[1]
AUTHORITY = Authority()
CONFIG = """
[node]
name = "test"
[agent.echo]
type = "python"
target = "support.talkative:Talkative"
names = "bare"
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:0"
[edge.api]
type = "api"
bind = "127.0.0.1:0"
"""
TLS = """
[edge.mcp.tls]
cert = "server.pem"
key = "server.key"
"""
SUITES = {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}


def served(folder: pathlib.Path, config: str) -> Iterator[Node]:
    """A flowserve with a certificate beside its configuration, which must end as it should."""
    AUTHORITY.issue("127.0.0.1").write(folder, "server")
    (folder / "flow.toml").write_text(config)
    with serving(folder / "flow.toml", env={**os.environ, "PYTHONPATH": str(TESTS)}) as node:
        yield node
        assert node.end() == 0
        assert not any("Traceback" in line or "crashed" in line for line in node.said)


# ---- TLS


@pytest.fixture(scope="module")
def tls_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The port of an edge with TLS."""
    for node in served(tmp_path_factory.mktemp("tls"), CONFIG + TLS):
        [line] = [one for one in node.said if one.endswith("/mcp") and " https://" in one]
        yield str(urlsplit(line.split()[-1]).port)


def test_sslscan_finds_tls_1_3_alone_with_its_suites_and_three_groups(
    tls_port: str, tmp_path: pathlib.Path
) -> None:
    found = tmp_path / "found.xml"
    command = [needs.program("sslscan"), f"--xml={found}", f"127.0.0.1:{tls_port}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    tree = ElementTree.parse(found).getroot()

    def all_of(name: str) -> list[dict[str, str]]:
        return [dict(one.attrib) for one in tree.iter(name)]

    enabled = [(one["type"], one["version"]) for one in all_of("protocol") if one["enabled"] == "1"]
    assert enabled == [("tls", "1.3")]
    assert {one["cipher"] for one in all_of("cipher")} == SUITES
    assert all(one["strength"] in ("strong", "acceptable") for one in all_of("cipher"))
    assert {one["name"].split()[0] for one in all_of("group")} == {
        "secp256r1",
        "secp384r1",
        "x25519",
    }
    assert all(one["vulnerable"] == "0" for one in all_of("heartbleed"))
    assert [one["supported"] for one in all_of("renegotiation")] == ["0"]
    [compression] = all_of("compression") or [{"supported": "0"}]
    assert compression["supported"] == "0"


OF_THE_TESTS_CA = {
    "engine_problem",  # of the scanner's own OpenSSL
    "cert_chain_of_trust",
    "cert_expirationStatus",
    "cert_notAfter",
    "cert_revocation",
    "DNS_CAArecord",
}
"""What is found of a certificate that a test has issued to itself for two days, and nothing else."""


HOLES = """heartbleed CCS ticketbleed ROBOT secure_renego secure_client_renego CRIME_TLS BREACH POODLE_SSL
    fallback_SCSV FREAK DROWN LOGJAM BEAST LUCKY13 RC4"""
OPTIONS = "--quiet --color 0 --warnings off -p -s -f -P -S -U --openssl"


def test_testssl_finds_nothing_but_the_tests_own_certificate(
    tls_port: str, tmp_path: pathlib.Path
) -> None:
    found = tmp_path / "found.json"
    command = [needs.program("testssl"), *OPTIONS.split(), needs.program("openssl")]
    done = subprocess.run(
        [*command, "--jsonfile", str(found), f"https://127.0.0.1:{tls_port}"],
        check=False,  # its code counts the findings
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.exists(), done.stdout + done.stderr
    findings = json.loads(found.read_text())
    severe = [one for one in findings if one["severity"] not in ("OK", "INFO")]
    assert {one["id"] for one in severe} <= OF_THE_TESTS_CA, severe
    said: dict[str, str] = {one["id"]: one["finding"] for one in findings}
    for old in ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2"):
        assert said[old] == "not offered"
    assert said["TLS1_3"].startswith("offered")
    assert set(said["PFS_ciphers"].split()) == SUITES
    assert set(said["PFS_ECDHE_curves"].split()) == {"prime256v1", "secp384r1", "X25519"}
    assert "DH_groups" not in said
    for kind in ("NULL", "aNULL", "EXPORT", "LOW", "3DES_IDEA", "AVERAGE"):
        assert said[f"cipherlist_{kind}"] == "not offered"
    assert said.keys() >= set(HOLES.split())  # each was looked for, and found sound above


# ---- slow clients


@attrs.define(eq=False)
class Client:
    """Somebody else, who calls a tool again and again while the attack lasts."""

    url: str
    address: str
    keeps: bool
    """Whether it keeps its connection, which may not end then, or comes anew for each call."""
    calls: int = 0
    wrong: list[str] = attrs.field(factory=list)

    def call(self, over: threading.Event) -> None:
        """Call until it is over."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        connection = None
        while not over.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(
                        parts.hostname, parts.port, timeout=30, source_address=(self.address, 0)
                    )
                    connection.connect()
                self._call_once(connection)
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                break
            self.calls += 1
            if not self.keeps:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _call_once(self, connection: http.client.HTTPConnection) -> None:
        call = {"name": "echo", "arguments": {"text": str(self.calls)}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        connection.request("POST", "/mcp", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200 or f'"text":"{self.calls}"' not in text:
            self.wrong.append(f"{answer.status} {text}")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node without TLS, so that the attack is all in what comes over it."""
    yield from served(tmp_path_factory.mktemp("plain"), CONFIG)


MODES: dict[str, tuple[Callable[[Node], str], list[str]]] = {
    "slow headers": (lambda node: node.mcp, ["-H", "-i", "1"]),
    "slow bodies": (
        lambda node: node.mcp,
        ["-B", "-i", "1", "-s", "8192", "-f", "application/json"],
    ),
    "slow reading": (
        lambda node: node.api + "/agents",
        ["-X", "-k", "10", "-w", "10", "-y", "20", "-n", "1", "-z", "5"],
    ),
}


def attack(plain: Node, mode: str, folder: pathlib.Path, seconds: int) -> int:
    """A thousand slow connections, while others call: all the calls of other addresses succeed.

    Gives how many it came to: on a busy machine the attacker has not made all of them in time.
    """
    where, options = MODES[mode]
    tool = needs.program("slowhttptest")
    # the attack comes from 127.0.0.1 as well: the last of these shares its address with the attacker
    others = [
        Client(plain.mcp, "127.0.0.2", keeps=True),
        Client(plain.mcp, "127.0.0.3", keeps=False),
        Client(plain.mcp, "127.0.0.1", keeps=False),
    ]
    over = threading.Event()
    threads = [threading.Thread(target=one.call, args=(over,)) for one in others]
    for thread in threads:
        thread.start()
    prefix = folder / "attack"
    how = f"-c 1000 -r 500 -p 30 -l {seconds} -v 0 -g -o".split()
    try:
        command = [tool, *options, *how, str(prefix), "-u", where(plain)]
        subprocess.run(command, check=True, capture_output=True, timeout=seconds + 60)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert [one.wrong for one in others[:2]] == [[], []]
    # of one address there may be too many: that is said, at once, and not for long
    assert set(others[2].wrong) <= {"503 too many connections\n"}
    assert all(one.calls - len(one.wrong) >= 3 for one in others)
    with prefix.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(int(one["Service Available"]) > 0 for one in rows), rows
    return max(int(one["Closed"]) + int(one["Connected"]) for one in rows)


@pytest.mark.parametrize("mode", MODES)
def test_a_thousand_slow_connections_shut_nobody_out(
    plain: Node, mode: str, tmp_path: pathlib.Path
) -> None:
    seconds = 4
    while attack(plain, mode, tmp_path, seconds) < 1000:
        seconds *= 2
        assert seconds < 100, "the attacker makes no thousand connections"


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_they_do_not_for_a_minute_either(plain: Node, mode: str, tmp_path: pathlib.Path) -> None:
    assert attack(plain, mode, tmp_path, seconds=60) >= 1000
