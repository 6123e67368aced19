"""A secret that is wherever a secret can be, and is said nowhere, whatever is done to the node."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import signal
from collections.abc import Iterator

import pytest

from support import canary, node
from support import fortress as site
from support.certificates import Authority
from support.fortress import SHARED, STAFF, Fortress

MORE = """
[agent.remote]
type = "http"
url = "http://127.0.0.1:9"
[agent.remote.headers]
Authorization = { env = "CANARY_HEADER" }
X-Api-Key = { file = "secret.txt" }
[agent.remote.tools.get]
method = "GET"
path = "/{word}"
description = "Get a word."
"""
AUTHORITY = Authority()


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    folder = tmp_path_factory.mktemp("canary")
    path = canary.keeps(folder / "secret.txt")
    path.touch(0o600)
    path.write_text(canary.CANARY + "-file\n")
    environment = {"CANARY_HEADER": f"Bearer {canary.CANARY}-header"}
    with site.standing(folder, more=MORE, environment=environment) as one:
        yield one


def said_by(fortress: Fortress, *arguments: str) -> str:
    """What flowserve says of the same configuration."""
    environment = {
        "FORTRESS_SHARED": SHARED,
        "FORTRESS_AUDIT": canary.CANARY + "-audit",
        "FORTRESS_CALLS": str(fortress.folder / "calls"),
        "CANARY_HEADER": f"Bearer {canary.CANARY}-header",
        "PYTHONPATH": str(site.TESTS),
    }
    old = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        done = node.run(
            "flowserve",
            "--config",
            str(fortress.folder / "flow.toml"),
            *arguments,
            cwd=fortress.folder,
        )
    finally:
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    return done.stdout + done.stderr


def test_the_canary_is_found_in_whatever_form_it_is_said() -> None:
    """Else the rest of this file would show nothing."""
    secret = canary.CANARY.encode() + b"-ring"
    for form in (
        secret,
        secret.hex().encode(),
        base64.b64encode(secret),
        base64.urlsafe_b64encode(secret),
        b"Bearer " + secret,
    ):
        assert canary.is_in(b"before " + form + b" after")
    assert not canary.is_in(b"FLOW_CANARY canary-")


@pytest.mark.parametrize("command", ["config", "graph", "check"])
def test_what_is_shown_of_a_configuration_masks_it(fortress: Fortress, command: str) -> None:
    arguments = {"config": ["config", "show"], "graph": ["graph"], "check": ["--check-config"]}
    said = said_by(fortress, *arguments[command])
    canary.check(said, command)
    assert "Traceback" not in said
    assert "idp" in said or "no problems" in said, said


def test_what_is_wrong_is_told_without_it(fortress: Fortress) -> None:
    for setting in (
        "auth.shared.algorithms=['EdDSA']",
        "auth.shared.secret=5",
        "auth.shared.issuer=5",
        "guard.audit.key=5",
        "agent.remote.headers=5",
        "agent.remote.nothing=1",
        "auth.partners.keys='keys/server.key'",
        "edge.mcp.tls.key='secret.txt'",
    ):
        said = said_by(fortress, "--set", setting, "--check-config")
        canary.check(said, setting)


def test_no_answer_has_it(fortress: Fortress) -> None:
    """Each route by who may see all, and each kind of failure; answers are looked through."""
    from flow_edges import api

    for route in api.ROUTES:
        if route.path == "/events":
            continue  # it has no end; its events are looked at in tests/telemetry
        if route.path == "/drain":
            continue  # it would be the end of all that follows; it says two words, and no more
        path = route.path.replace("NAME", "vault").replace("ACTION", "resume")
        body = b"{}" if route.method == "POST" else b""
        fortress.ask("bare", route.method, path, bearer=STAFF, body=body)
        fortress.ask("bare", route.method, path, body=body)
    for tool, arguments in (
        ("vault.explode", {"text": "boom"}),
        ("vault.complain", {"text": "no"}),
        ("vault.open_safe", {"wrong": "x"}),
        ("remote.get", {"word": "x"}),
        ("nobody.nothing", {"a": "b"}),
        ("flow.status", {"a": "b"}),
    ):
        for edge in ("plain", "bare"):
            body = site.call(edge, tool, **arguments)
            fortress.ask(edge, bearer=STAFF, body=body, headers={"Mcp-Name": tool})


def test_wrong_credentials_that_hold_it_are_not_said_again(fortress: Fortress) -> None:
    """What somebody mistypes is nearly a secret: the log has not even that."""
    signer = fortress.signer("plain")
    signed = signer.authorization("POST", fortress.base("plain") + "/mcp", b"other")
    fortress.audited()
    for value in (
        f"Bearer {STAFF}x",
        f"Bearer {SHARED}",
        f"Bearer {SHARED}.{SHARED}.{SHARED}",
        f"Basic {base64.b64encode(canary.CANARY.encode()).decode()}",
        f"FLOW-HMAC-SHA256 {SHARED}",
        f"Bearer {STAFF} {STAFF}",
        signed,
    ):
        for edge in ("plain", "bare"):
            assert fortress.ask(edge, headers={"Authorization": value}).status == 401
    canary.check(json.dumps(fortress.audited()), "the audit log")


def test_neither_the_task_tree_nor_a_reload_nor_a_failure_shows_it(fortress: Fortress) -> None:
    process = fortress.node.process
    process.send_signal(signal.SIGUSR1)
    fortress.node.wait_for("task")
    process.send_signal(signal.SIGHUP)
    fortress.node.wait_for("reloaded")
    with (fortress.folder / "flow.toml").open("a") as file:
        file.write("\n[nothing]\nx = 1\n")
    process.send_signal(signal.SIGHUP)
    fortress.node.wait_for("nothing")
    # what it said until here, and says until its end, is looked through when it has ended
    canary.check("\n".join(fortress.node.said), "what the node said")


def test_a_node_that_cannot_start_says_nothing_of_it(
    fortress: Fortress, tmp_path: pathlib.Path
) -> None:
    said = said_by(fortress, "--set", "agent.vault.target='support.nothing'", "--set", "nothing=1")
    canary.check(said, "what a node said that could not start")
    ring = canary.keeps(tmp_path / "ring.toml")
    ring.touch(0o600)
    for text in (
        site.ring_toml(k1="") * 2,
        site.ring_toml(k1="").replace('id = "k1"', "id = 1"),
        site.ring_toml(k1="").replace('secret = "', 'secret = "*'),
        f"{canary.CANARY} is no TOML",
        f'secret = "{canary.CANARY}"',
    ):
        ring.write_text(text)
        site.refused(tmp_path, {"partners": {"type": "hmac", "keys": "ring.toml"}})
