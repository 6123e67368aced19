"""Pages that lure a browser here: whatever Origin and Host say, only what is meant for this machine comes in.

Each request has right credentials, as those of a lured browser might: nothing but the names keeps it out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from support import fortress as site
from support.fortress import STAFF, Fortress

EVIL = "evil.example"
HOSTS = [
    EVIL,
    f"{EVIL}:{{port}}",
    f"localhost.{EVIL}",
    f"{EVIL}.localhost",
    f"127.0.0.1.{EVIL}",
    "127.0.0.1.",
    "127.0.0.1.nip.io",
    "localhost.",
    "localhostx",
    "xlocalhost",
    "local host",
    "localhost@evil.example",
    "evil.example@localhost",
    "user:password@127.0.0.1",
    "localhost,evil.example",
    "localhost;evil.example",
    "localhost/evil.example",
    "localhost#evil.example",
    "localhost?evil.example",
    "localhost\\evil.example",
    "0.0.0.0",
    "0",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "[::]",
    "[::ffff:10.0.0.1]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[2001:db8::1]",
    "::1",
    "[::1",
    "::1]",
    "[::1]evil.example",
    "[::1].evil.example",
    "localhost:",
    "localhost:evil",
    "localhost:80:80",
    "localhost:-1",
    "*",
    ".",
    "",
    "\u212aocalhost".encode().decode("latin-1"),  # the sign for kelvin, which is a k in lower case
]
# what stands for the same as the name without it, by RFC 9110 section 4.2.3
HARMLESS = {"localhost:"}
OWN = [
    "127.0.0.1",
    "127.0.0.1:{port}",
    "localhost",
    "LOCALHOST",
    "LocalHost:{port}",
    "[::1]:{port}",
]
ORIGINS = [
    "http://evil.example",
    "https://evil.example",
    "null",
    "NULL",
    "",
    "http://localhost.evil.example",
    "http://evil.example.localhost:1@evil.example",
    "http://127.0.0.1.evil.example",
    "http://localhost@evil.example",
    "http://evil.example@localhost",
    "http://evil.example#localhost",
    "http://evil.example?localhost",
    "http://evil.example/localhost",
    "http://localhost/",
    "http://localhost/path",
    "http://localhost evil.example",
    "http://localhost, http://evil.example",
    "http://evil.example, http://localhost",
    "http://localhost.",
    "http://127.1",
    "http://0.0.0.0",
    "http://[::]",
    "http://[::ffff:10.0.0.1]",
    "http://[::1].evil.example",
    "http://[::1",
    "http://10.0.0.1",
    "file://",
    "file://localhost",
    "chrome-extension://abcdefgh",
    "moz-extension://localhost",
    "ftp://localhost",
    "javascript:alert(1)",
    "data:text/html,x",
    "about:blank",
    "localhost",
    "//localhost",
    "http:localhost",
    "http:///localhost",
    "http://localhost:evil",
    "http://localhost:1:2",
    "http://",
    "*",
    "https://app.example.evil.example",
    "https://evilapp.example",
    "https://app.example:8443",
    "http://app.example",
    "https://app.example.",
    "https://user@app.example",
]
ALLOWED = ["https://app.example", "https://APP.example", "http://localhost:3000", "http://[::1]:1"]
EDGES = ("plain", "mcp", "bare", "api")


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    origins = 'allowed_origins = ["https://app.example"]'
    with site.standing(tmp_path_factory.mktemp("fortress"), mcp=origins) as one:
        yield one


@pytest.mark.parametrize("edge", EDGES)
def test_a_host_that_is_not_ours_is_refused_whoever_asks(fortress: Fortress, edge: str) -> None:
    before, port = fortress.calls(), fortress.port(edge)
    wrong = []
    for host in HOSTS:
        reply = fortress.ask(edge, bearer=STAFF, headers={"Host": host.format(port=port)})
        if reply.status not in (400, 421) and host not in HARMLESS:
            wrong.append((host, reply))
    assert wrong == []
    assert all(one == "open_safe mine" for one in fortress.calls()[len(before) :])
    assert len(fortress.calls()) <= len(before) + len(HARMLESS)
    for host in OWN:
        told = {"Host": host.format(port=port)}
        assert fortress.ask(edge, bearer=STAFF, headers=told).status == 200, host


@pytest.mark.parametrize("edge", EDGES)
def test_an_evil_host_is_told_that_nobody_of_that_name_is_here(
    fortress: Fortress, edge: str
) -> None:
    for host in (EVIL, f"{EVIL}:80", f"localhost.{EVIL}", "127.0.0.1.nip.io", "10.0.0.1"):
        reply = fortress.ask(edge, bearer=STAFF, headers={"Host": host})
        assert reply.status == 421
        assert reply.get("www-authenticate") == ""


@pytest.mark.parametrize("edge", EDGES)
def test_a_page_of_another_origin_is_refused_whoever_it_lures(
    fortress: Fortress, edge: str
) -> None:
    before = fortress.calls()
    wrong = []
    for origin, method in itertools.product(ORIGINS, ("POST", "GET", "OPTIONS", "DELETE")):
        kept = fortress.keep(edge)
        target = "/call" if edge in ("api", "bare") else "/mcp"
        lines = {"Access-Control-Request-Method": "POST"}
        body = site.call(edge)
        head = [
            f"{method} {target} HTTP/1.1",
            f"Host: 127.0.0.1:{fortress.port(edge)}",
            f"Origin: {origin}",
            f"Authorization: Bearer {STAFF}",
            *(f"{k}: {v}" for k, v in {**site.usual(edge), **lines}.items()),
            f"Content-Length: {len(body)}",
            "",
            "",
        ]
        reply = kept.send("\r\n".join(head).encode("latin-1") + body, method)
        kept.close()
        if reply.status != 403 or reply.get("access-control-allow-origin"):
            wrong.append((origin, method, reply))
    assert wrong == []
    assert fortress.calls() == before


@pytest.mark.parametrize("edge", ["plain", "mcp"])
def test_a_page_of_an_allowed_origin_still_needs_credentials(fortress: Fortress, edge: str) -> None:
    for origin in ALLOWED:
        reply = fortress.ask(edge, headers={"Origin": origin})
        assert reply.status == 401
        assert reply.get("access-control-allow-origin") == origin
        assert reply.get("access-control-allow-credentials") == ""
        assert fortress.ask(edge, bearer=STAFF, headers={"Origin": origin}).status == 200


@pytest.mark.parametrize("edge", ["plain", "mcp"])
def test_two_origins_are_refused_in_either_order(fortress: Fortress, edge: str) -> None:
    good, evil = "http://localhost", "http://evil.example"
    for first, second in ((good, evil), (evil, good), (good, good)):
        told = {"Origin": first, "origin": second}
        assert fortress.ask(edge, bearer=STAFF, headers=told).status == 403
        assert fortress.ask(edge, bearer=STAFF, headers={"Origin": good}).status == 200
