"""configs/secure.toml after one `flowctl certs init`, and flowctl over TLS: who comes in, what is said."""

from __future__ import annotations

import json
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator

import pytest
import trio

from flowcore.audit import verify_files
from flowcore.http import ClientTlsSettings, client_context, open_client
from support.node import ROOT, Node, free_ports, run, serving

PLACE = ("--dir", "certs")


def laid_out(folder: pathlib.Path) -> pathlib.Path:
    """The folder of somebody who has the configurations and examples, and has run one command."""
    for name in ("configs", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    done = run("flowctl", "certs", "init", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return laid_out(tmp_path_factory.mktemp("secure"))


@pytest.fixture(scope="module")
def node(place: pathlib.Path) -> Generator[Node]:
    path = pathlib.Path("configs/secure.toml")
    with serving(path, *free_ports("mcp", "api"), cwd=place) as running:
        while not running.said[-1].startswith("text "):
            running.wait_for("")
        yield running


def ctl(
    place: pathlib.Path, node: Node, *words: str, url: str = ""
) -> subprocess.CompletedProcess[str]:
    return run("flowctl", *words, "--url", url or node.api, cwd=place)


PROFILE = ("--profile", "certs/flowctl.toml")
CA = ("--ca", "certs/ca.pem")


def test_the_operator_comes_in_by_the_profile_that_was_made(
    place: pathlib.Path, node: Node
) -> None:
    done = ctl(place, node, "call", "text.compare", "left=a", "right=b", *PROFILE)
    assert (done.returncode, done.stdout[:8]) == (0, "--- left"), done.stderr
    assert ctl(place, node, "status", *PROFILE).returncode == 0
    assert ctl(place, node, "agents", "pause", "notes", *PROFILE).returncode == 0
    assert ctl(place, node, "agents", "resume", "notes", *PROFILE).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--token-file", "certs/operator.token"),
        ("--hmac", "certs/hmac.toml"),
        ("--cert", "certs/operator.pem", "--key", "certs/operator.key"),
        ("--token-file", "certs/operator.token", "--server-name", "localhost"),
    ],
)
def test_each_way_to_come_is_one(place: pathlib.Path, node: Node, words: tuple[str, ...]) -> None:
    done = ctl(place, node, "call", "text.compare", "left=a", "right=b", *CA, *words)
    assert done.returncode == 0, done.stderr


def test_the_environment_says_it_as_well(
    place: pathlib.Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCTL_CA", "certs/ca.pem")
    monkeypatch.setenv("FLOWCTL_TOKEN", (place / "certs" / "operator.token").read_text().strip())
    assert ctl(place, node, "status").returncode == 0
    # an option goes before the environment: now it is the service, which may not
    done = ctl(place, node, "agents", "--hmac", "certs/hmac.toml")
    assert (done.returncode, done.stderr) == (1, "flowctl: 'service' may not do 'agents'\n")


def test_what_goes_wrong_is_said_so_that_it_can_be_mended(
    place: pathlib.Path, node: Node, tmp_path: pathlib.Path
) -> None:
    assert run("flowctl", "certs", "init", "--dir", str(tmp_path / "other")).returncode == 0
    foreign = tmp_path / "other"
    cases: list[tuple[tuple[str, ...], int, str]] = [
        ((), 1, "certificate is of a CA that is not trusted here: name that one with --ca"),
        (("--ca", str(foreign / "ca.pem")), 1, "of a CA that is not trusted here"),
        (CA, 1, "credentials are needed (flowctl brought no credentials"),
        ((*CA, "--server-name", "flow.example"), 1, "is for another name: Hostname mismatch"),
        ((*CA, "--token-file", str(foreign / "operator.token")), 1, "the token is not known"),
        ((*CA, "--hmac", str(foreign / "hmac.toml")), 1, "the signature is wrong"),
        (
            (*CA, "--cert", str(foreign / "operator.pem"), "--key", str(foreign / "operator.key")),
            1,
            "it closed the connection without an answer: perhaps it does not admit the certificate",
        ),
        ((*CA, "--cert", "certs/operator.pem"), 2, "expected cert and key together"),
        (("--ca", "none.pem"), 2, "the CA file 'none.pem': No such file"),
        (("--token-file", "certs/ca.pem"), 2, "can be read by others (mode 0644)"),
        (("--token-file", "certs/audit.ky"), 2, "cannot be read: No such file"),
        (("--profile", "configs/secure.toml"), 2, "unknown key"),
        ((*CA, *("--token-file", "certs/operator.token", "--hmac", "x")), 2, "not both"),
    ]
    for words, code, says in cases:
        done = ctl(place, node, "status", *words)
        assert (done.returncode, says in done.stderr) == (code, True), (words, done.stderr)
        assert "Traceback" not in done.stderr
    plain = node.api.replace("https", "http")
    done = ctl(place, node, "status", url=plain)
    assert "it closed the connection without an answer; does it want https?" in done.stderr
    for url in ("http://192.0.2.1:7301", "http://flow.example"):
        done = ctl(place, node, "status", "--token-file", "certs/operator.token", url=url)
        assert (done.returncode, "in the clear; use https" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("days", "says"),
    [("0.0000001", "its certificate has expired: rotate it there"), ("90", "")],
)
def test_a_rotated_certificate_is_shown_at_once_and_after_hup(
    place: pathlib.Path, node: Node, days: str, says: str
) -> None:
    before = (place / "certs" / "server.pem").read_bytes()
    assert run("flowctl", "certs", "rotate", "server", "--days", days, cwd=place).returncode == 0
    assert (place / "certs" / "server.pem").read_bytes() != before
    for hup in (False, True):
        if hup:
            node.process.send_signal(signal.SIGHUP)
        done = ctl(place, node, "status", *PROFILE)
        assert (done.returncode, says in done.stderr) == (1 if says else 0, True), done.stderr


async def test_an_mcp_client_over_tls_keeps_its_connection_while_all_is_exchanged(
    place: pathlib.Path, node: Node
) -> None:
    settings = ClientTlsSettings(ca="ca.pem", cert="operator.pem", key="operator.key")
    certs = place / "certs"
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
    ]

    async def rotate(*words: str) -> None:
        done = await trio.to_thread.run_sync(
            lambda: run("flowctl", "certs", "rotate", *words, cwd=place)
        )
        assert done.returncode == 0, done.stderr

    old = client_context(settings, certs)
    async with open_client(context=old) as kept:

        async def ask() -> None:
            answer = await kept.request("POST", node.mcp, headers=headers, body=body)
            assert answer.status == 200, answer.body
            tools = {one["name"] for one in json.loads(answer.body)["result"]["tools"]}
            assert {"text.compare", "notes.write"} <= tools

        await ask()
        for words in (("ca",), ("--all",), ("ca", "--retire")):
            await rotate(*words)
            await ask()
            async with open_client(context=client_context(settings, certs)) as fresh:
                assert (
                    await fresh.request("POST", node.mcp, headers=headers, body=body)
                ).status == 200
    done = await trio.to_thread.run_sync(lambda: ctl(place, node, "status", *PROFILE))
    assert done.returncode == 0, done.stderr


def test_all_of_it_is_in_the_audit_log(place: pathlib.Path, node: Node) -> None:
    assert ctl(place, node, "agents", "--hmac", "certs/hmac.toml", *CA).returncode == 1
    log = place / "data" / "secure" / "audit.jsonl"
    done = run("flowctl", "audit", "verify", str(log), "--key", "certs/audit.key", cwd=place)
    assert done.returncode == 0, done.stderr
    key = (place / "certs" / "audit.key").read_text().strip()
    assert verify_files([log], key.encode()).whole
    text = log.read_text()
    for name in ("operator.token", "audit.key"):
        assert (place / "certs" / name).read_text().strip() not in text


def test_without_certificates_it_does_not_start_and_says_what_is_missing(
    tmp_path: pathlib.Path,
) -> None:
    for name in ("configs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    words = [sys.executable, "-m", "flowcore.cli.flowserve", "--config", "configs/secure.toml"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "certs/audit.key' cannot be read: No such file" in done.stderr
