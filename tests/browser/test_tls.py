"""The dashboard over TLS 1.3 in a browser; and where its certificate says who looks."""

from __future__ import annotations

import base64
import hashlib
import pathlib
import ssl
from collections.abc import Generator
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flowcore.secrets import new_token
from support.browser import chromium, needs_chromium, nothing_wrong_in, until_is
from support.certificates import CLIENT, Authority, Pair
from support.node import ROOT, Node, started

pytestmark = needs_chromium

CONFIG = f"""
[agent.echo]
type = "python"
target = "{ROOT}/tests/support/agents.py"
[edge.asked]
type = "dashboard"
bind = "127.0.0.1:0"
tls = {{ cert = "node.pem", key = "node.key" }}
auth = ["staff"]
[edge.shown]
type = "dashboard"
bind = "127.0.0.1:0"
tls = {{ cert = "node.pem", key = "node.key", client_auth = "required", client_ca = "ca.pem", \
client_uris = ["spiffe://flow/client/*"] }}
auth = ["certificates"]
guards = ["permissions"]
[auth.staff]
type = "token"
tokens = [{{ name = "ann", sha256 = "DIGEST" }}]
[auth.certificates]
type = "mtls"
peers = [
  {{ uri = "spiffe://flow/client/ann", name = "ann", roles = ["operator"] }},
  {{ uri = "spiffe://flow/client/vic", name = "vic", roles = ["viewer"] }},
]
[guard.permissions]
type = "permissions"
rules = [
  {{ admin = ["*"], roles = ["operator"] }},
  {{ admin = ["status", "agents"], roles = ["viewer"] }},
]
"""


@attrs.define(eq=False)
class Secured:
    """A node, whom it trusts, and how its certificate is known."""

    node: Node
    authority: Authority
    token: str
    pin: str

    def url(self, edge: str) -> str:
        (line,) = [one for one in self.node.said if f" {edge} " in f" {one} "]
        return line.split()[-1]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Generator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.pem)
    own = authority.issue("127.0.0.1", "localhost")
    own.write(folder, "node")
    key = x509.load_pem_x509_certificate(own.cert).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    token, digest = new_token()
    (folder / "flow.toml").write_text(CONFIG.replace("DIGEST", digest))
    with started(folder / "flow.toml") as node:
        node.wait_for("ready in ")
        node.wait_for("agent ")
        yield Secured(node, authority, token, pin)


def test_signed_in_over_tls_it_is_live(secured: Secured, tmp_path: pathlib.Path) -> None:
    # the browser takes this one key, and no other that its own authorities do not know
    pinned = [f"--ignore-certificate-errors-spki-list={secured.pin}"]
    with chromium(tmp_path, more=pinned) as browser:
        with nothing_wrong_in(browser, but=("401 (Unauthorized)",)):
            page = browser.open(secured.url("asked"))
            page.wait_for_selector("h1:has-text('Sign in')")
            page.get_by_label("Token").fill(secured.token)
            page.keyboard.press("Enter")
            page.wait_for_selector("#connection.live")
            page.wait_for_selector("[data-figure=well]:has-text('2 of 2')")
            assert page.evaluate("[isSecureContext, location.protocol]") == [True, "https:"]
            assert page.evaluate("document.cookie") == ""


@pytest.mark.long
def test_a_browser_that_does_not_know_the_certificate_shows_nothing(
    secured: Secured, tmp_path: pathlib.Path
) -> None:
    from playwright.sync_api import Error

    with chromium(tmp_path) as browser, pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        browser.open(secured.url("asked"))


def _brought(secured: Secured, folder: pathlib.Path, pair: Pair) -> dict[str, Any]:
    cert, key = pair.write(folder, "person")
    origin = secured.url("shown").rstrip("/")
    shown = {"origin": origin, "certPath": str(folder / cert), "keyPath": str(folder / key)}
    return {"client_certificates": [shown], "ignore_https_errors": True}


@pytest.mark.parametrize(
    ("name", "views"),
    [
        ("ann", ["Overview", "Agents", "Requests", "Consensus", "Audit"]),
        pytest.param("vic", ["Overview", "Agents"], marks=pytest.mark.long),
    ],
)
def test_the_certificate_of_a_browser_says_who_looks(
    secured: Secured, tmp_path: pathlib.Path, name: str, views: list[str]
) -> None:
    pair = secured.authority.issue(f"spiffe://flow/client/{name}", usage=CLIENT)
    with chromium(tmp_path, **_brought(secured, tmp_path, pair)) as browser:
        with nothing_wrong_in(browser):
            page = browser.open(secured.url("shown"))
            page.wait_for_selector("#connection.live")
            page.wait_for_selector("[data-figure=well]:has-text('2 of 2')")
            assert page.locator("#who").inner_text().startswith(name)
            until_is(page.locator("nav li").all_inner_texts, views)
            drains = page.get_by_role("button", name="Drain this node").count()
            assert drains == (name == "ann")


@pytest.mark.long
def test_a_certificate_of_somebody_elses_lets_nobody_in(
    secured: Secured, tmp_path: pathlib.Path
) -> None:
    from playwright.sync_api import Error

    stranger = Authority("another").issue("spiffe://flow/client/ann", usage=CLIENT)
    with (
        chromium(tmp_path, **_brought(secured, tmp_path, stranger)) as browser,
        pytest.raises(Error, match="ERR_|closed|refused"),
    ):
        browser.open(secured.url("shown"))
    # and that is not the browser's doing: a plain client is not let in either
    import http.client

    context = secured.authority.trusting(tmp_path)
    host = secured.url("shown").rstrip("/").removeprefix("https://")
    connection = http.client.HTTPSConnection(host, context=context, timeout=30)
    with pytest.raises((ssl.SSLError, OSError)):
        connection.request("GET", "/session", headers={"x-flow-dashboard": "1"})
        connection.getresponse()
