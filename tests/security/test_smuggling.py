"""Requests that a proxy in front may read otherwise, and clients that are too slow, at every edge."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator

import pytest

from support import fortress as site
from support.fortress import STAFF, Fortress, rest_of, strict
from support.http_attacks import CASES

EDGES = ("plain", "mcp", "bare", "api")
DEADLINE = "2s"
LIMITS = (
    f"head_timeout = '{DEADLINE}', body_timeout = '{DEADLINE}', write_timeout = '{DEADLINE}',"
    " body = '1MiB'"
)
SECRET = b"opened"


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    with site.standing(tmp_path_factory.mktemp("fortress"), limits=LIMITS) as one:
        yield one


def exchange(fortress: Fortress, edge: str, *attacks: bytes) -> list[list[int]]:
    """Send each on a connection of its own; the statuses that come until the node closes.

    All are sent before one is read: where TLS cannot tell its end, the node lets each linger for a second.
    """
    with contextlib.ExitStack() as stack:
        made = []
        for data in attacks:
            made.append(one := stack.enter_context(fortress.connect(edge)))
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                one.sendall(data)
        return [strict(rest_of(one)) for one in made]


def call(edge: str, host: str = "127.0.0.1", bearer: str = "", more: str = "") -> bytes:
    """A right call, as bytes."""
    target = "/call" if edge in ("bare", "api") else "/mcp"
    body = site.call(edge)
    told = {"Host": host, **site.usual(edge), "Content-Length": str(len(body))}
    if bearer:
        told["Authorization"] = f"Bearer {bearer}"
    lines = [f"POST {target} HTTP/1.1", *(f"{k}: {v}" for k, v in told.items())]
    return ("\r\n".join(lines) + "\r\n" + more + "\r\n").encode() + body


@pytest.mark.parametrize("edge", EDGES)
def test_each_ambiguous_or_excessive_request_is_refused_and_the_connection_closed(
    fortress: Fortress, edge: str
) -> None:
    """What follows it is a right call with right credentials: it must not be seen as a second request."""
    before = fortress.calls()
    wrong = []
    follow = call(edge, bearer=STAFF)
    found = exchange(fortress, edge, *(attack + follow for _, attack in CASES.values()))
    for (name, (status, _)), statuses in zip(CASES.items(), found, strict=True):
        # what is not whole before the follower takes it for its own, and may then be wrong otherwise
        if statuses and statuses[-1] not in (status, 400, 413, 414, 431, 501):
            wrong.append((name, statuses))
        if len(statuses) > 1:
            wrong.append((name, statuses))
    assert wrong == []
    assert fortress.calls() == before


@pytest.mark.parametrize("edge", EDGES)
def test_each_gets_the_status_that_says_why(fortress: Fortress, edge: str) -> None:
    found = exchange(fortress, edge, *(attack for _, attack in CASES.values()))
    wrong = [
        (name, status, statuses)
        for (name, (status, attack)), statuses in zip(CASES.items(), found, strict=True)
        if statuses != [status] and not (statuses == [] and len(attack) > 60_000)
    ]
    assert wrong == []


PREFIXES = {
    "CL.TE": "Content-Length: {all}\r\nTransfer-Encoding: chunked\r\n",
    "TE.CL": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "TE.TE": "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    "TE obfuscated": "Transfer-Encoding: \x0bchunked\r\nContent-Length: {all}\r\n",
    "TE with a space": "Transfer-Encoding : chunked\r\nContent-Length: {all}\r\n",
    "TE folded": "Transfer-Encoding:\r\n chunked\r\nContent-Length: {all}\r\n",
    "TE by LF": "X: y\nTransfer-Encoding: chunked\r\nContent-Length: {all}\r\n",
    "two lengths": "Content-Length: 0\r\nContent-Length: {all}\r\n",
    "a list of lengths": "Content-Length: 0, {all}\r\n",
    "CL.0 by case": "content-length: 0\r\nCONTENT-LENGTH: {all}\r\n",
    "upgrade": "Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
}


@pytest.mark.parametrize("edge", EDGES)
def test_a_smuggled_request_is_never_served_nor_takes_anothers_credentials(
    fortress: Fortress, edge: str
) -> None:
    """An attacker's request with another one within it, then a victim's on the same connection, as behind
    a proxy that keeps one for all. The attacker has no credentials; the victim has."""
    before = fortress.calls()
    wrong = []
    target = "/call" if edge in ("bare", "api") else "/mcp"
    attacks = {}
    for name, framing in PREFIXES.items():
        for number, inner in enumerate(
            (
                b"0\r\n\r\nPOST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Swallow: " % target.encode(),
                b"0\r\n\r\n" + call(edge),
                b"0\r\n\r\nGET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
            )
        ):
            head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n"
            attack = head.replace("{all}", str(len(inner))).encode("latin-1") + inner
            attacks[name, number] = attack + call(edge, bearer=STAFF)
    for which, statuses in zip(attacks, exchange(fortress, edge, *attacks.values()), strict=True):
        if len(statuses) != 1 or statuses[0] not in (400, 501):
            wrong.append((which, statuses))
    assert wrong == []
    assert fortress.calls() == before


@pytest.mark.parametrize("edge", EDGES)
def test_each_request_of_a_pipeline_shows_its_own_credentials(
    fortress: Fortress, edge: str
) -> None:
    """Credentials are a request's, not its connection's."""
    before = len(fortress.calls())
    good, bad = call(edge, bearer=STAFF), call(edge)
    wrong = call(edge, bearer="flow_wrong")
    end = call(edge, more="Connection: close\r\n")
    pipeline = good + bad + good + wrong + bad + end
    assert exchange(fortress, edge, pipeline) == [[200, 401, 200, 401, 401, 401]]
    assert len(fortress.calls()) == before + 2


@pytest.mark.parametrize("edge", EDGES)
def test_a_body_that_looks_like_a_request_is_a_body(fortress: Fortress, edge: str) -> None:
    before = len(fortress.calls())
    inner = call(edge, bearer=STAFF)
    target = "/call" if edge in ("bare", "api") else "/mcp"
    for framing, body in (
        (f"Content-Length: {len(inner)}", inner),
        ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)),
    ):
        head = (
            f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\nConnection: close\r\n\r\n"
        )
        assert exchange(fortress, edge, head.encode() + body) == [[401]]
    assert len(fortress.calls()) == before


@pytest.mark.parametrize("edge", EDGES)
def test_endless_chunks_end_at_the_cap(fortress: Fortress, edge: str) -> None:
    target = "/call" if edge in ("bare", "api") else "/mcp"
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    assert exchange(fortress, edge, head.encode() + chunk * 40) == [[413]]


def test_who_is_slow_is_closed_at_the_deadline_and_others_are_served_meanwhile(
    fortress: Fortress,
) -> None:
    """A head and a body that stop coming, at all edges at once; how long it took is printed."""
    began = time.monotonic()
    slow = {}
    for edge in EDGES:
        for name, data in (
            ("head", b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "),
            ("nothing", b""),
            ("body", b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"),
            (
                "chunk",
                b"POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            ),
        ):
            slow[edge, name] = fortress.connect(edge)
            slow[edge, name].sendall(data)
    for edge in EDGES:
        assert fortress.ask(edge, bearer=STAFF).status == 200
    for (edge, name), one in slow.items():
        with one:
            statuses = strict(rest_of(one))
            assert statuses == ([] if name == "nothing" else [408]), (edge, name)
    print(f"closed after {time.monotonic() - began:.1f} s, the deadline being {DEADLINE}")


def test_who_drips_is_closed_at_the_deadline_too(fortress: Fortress) -> None:
    """A byte now and then does not make the deadline later."""
    with fortress.connect("plain") as one:
        one.settimeout(0.1)
        one.sendall(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        answer, sent = b"", 0
        while not answer:
            one.sendall(b"X-%d: y\r\n" % sent)
            sent += 1
            assert sent < 90
            try:
                answer = one.recv(65536)
            except TimeoutError:
                continue
        assert strict(answer) == [408]


@pytest.mark.parametrize("edge", ["plain", "bare", "mcp"])
def test_who_does_not_read_is_closed_at_the_deadline(fortress: Fortress, edge: str) -> None:
    """Requests without end, and no answer taken: it is given up, with what it held."""
    one = fortress.connect(edge)
    one.settimeout(20)
    data = call(edge, bearer=STAFF) * 50
    with one, pytest.raises((ConnectionError, ssl.SSLError)):
        for _ in range(10_000):
            one.sendall(data)
        pytest.fail("it takes without end what it cannot answer")
    assert fortress.ask(edge, bearer=STAFF).status == 200
