"""An edge that lets in those who bring nothing, and who comes there with something, on a running node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowcore.secrets import STATIC_PREFIX
from support import fortress as site
from support.fortress import STAFF, Fortress

OPEN = site.EDGE.format(name="open", type="mcp", auth=site.EVERY, more="anonymous = true")


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    folder = tmp_path_factory.mktemp("fortress")
    with site.standing(folder, more=OPEN) as one:
        yield one


WRONG: dict[str, dict[str, str]] = {
    "another scheme": {"Authorization": "Basic YW5uOnNlc2FtZQ=="},
    "a scheme without credentials": {"Authorization": "Bearer"},
    "a token of nobody": {"Authorization": f"Bearer {STATIC_PREFIX}nobody"},
    "a token of no kind": {"Authorization": "Bearer nobody"},
    "a key of some service": {"Authorization": "Bearer sk-nobody"},
    "a word": {"Authorization": "nobody"},
    "an unsigned JWT": {"Authorization": "Bearer e30.e30."},
    "a signature": {"Signature": "sig=:AAAA:"},
    "what a signature would cover": {"Signature-Input": 'sig=("@method")'},
    "the compact form": {"Authorization": 'FLOW-HMAC-SHA256 keyid="k1"'},
    "nearly the compact form": {"Authorization": "FLOW-HMAC-SHA512 abc"},
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_credentials_are_not_taken_for_none(fortress: Fortress, case: str) -> None:
    fortress.denials()
    before = len(fortress.calls())
    reply = fortress.ask("open", headers=WRONG[case])
    assert reply.status == 401
    assert "www-authenticate" in dict(reply.headers)
    assert len(fortress.denials()) == 1
    assert len(fortress.calls()) == before


def test_who_brings_nothing_comes_in_and_who_brings_the_right_thing_is_known(
    fortress: Fortress,
) -> None:
    fortress.audited()
    assert fortress.ask("open").status == 403  # as anonymous, for whom the rules allow nothing
    assert fortress.ask("open", bearer=STAFF).status == 200
    assert [one["principal"] for one in fortress.audited() if "principal" in one] == [
        "anonymous",
        "staff",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=203.0.113.9"},
        {"Via": "1.1 proxy"},
        {"X-Real-IP": "203.0.113.9"},
    ],
    ids=lambda headers: " ".join(f"{k} {v}" for k, v in headers.items()),
)
def test_whom_an_unknown_proxy_passes_on_is_not_here(
    fortress: Fortress, headers: dict[str, str]
) -> None:
    """A proxy on this machine that nobody told us about must not make a stranger somebody on loopback."""
    assert fortress.ask("open", headers=headers).status == 401
    assert fortress.ask("open", bearer=STAFF, headers=headers).status == 200
    assert fortress.ask("open").status == 403


def test_they_are_counted(fortress: Fortress) -> None:
    def failed() -> int:
        reply = fortress.ask("bare", "GET", "/status", bearer=STAFF, body=b"")
        count: int = reply.json["access"]["open"]["failed_logins"]
        return count

    before = failed()
    assert fortress.ask("open", headers=WRONG["another scheme"]).status == 401
    assert failed() == before + 1
