"""What bad input costs: CPU of a running flowserve for each wrong request to its MCP edge, one by one.

Each is sent on a connection of its own and must get its status; the figure is the median of some rounds, from
the accepting of the connection to its end, reading what was sent included.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
from collections.abc import Iterator

import attrs

from benchmarks.load import HANDSHAKE, MODERN, LoadError, request_of, wait_ready
from benchmarks.report import Figure
from benchmarks.servers import Server, free_port
from benchmarks.start import node

ROUNDS = 5
BAR = 50.0
"""Milliseconds of CPU."""
DEEP = 100_000
FULL = 16 << 20
"""Bytes of a body that is as large as may be."""
RICH = b'a,\\"[{\\\\\\n]} %b' % (b"nutrfb/" * 7)
"""Some of each mark, three escapes, and letters that can be escaped."""
CONFIG = """
[agent.talk]
type = "python"
target = "benchmarks.agents:echo"
names = "bare"
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{port}"
"""


@attrs.frozen
class Bad:
    """A wrong request."""

    name: str
    status: int
    request: bytes
    code: int | None = None
    """Of the JSON-RPC error, where the body could be read that far."""
    drops: bytes = b""
    """What follows, byte by byte, each in a packet of its own; then there is the end."""


def run() -> list[Figure]:
    """One figure for each, the dearest first. Raises LoadError if one is not answered as it should be."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with node(CONFIG.format(port=port)) as (server, _):
        wait_ready(url, MODERN, "echo")
        costs = {bad.name: _usual(server, url, port, bad) for bad in bad_requests()}
    dearest = sorted(costs.items(), key=lambda one: -one[1])
    return [Figure(name=name, value=value, unit="ms", bar=BAR) for name, value in dearest]


def setup() -> dict[str, str]:
    """How it is measured."""
    return {
        "server": "flowserve with a python agent and an MCP edge as it is by default",
        "figure": f"CPU of the server process for one request, the median of {ROUNDS}",
    }


def _usual(server: Server, url: str, port: int, bad: Bad) -> float:
    costs = []
    for _ in range(ROUNDS):
        server.wait_idle()
        before = server.cpu()
        answer = exchange(port, bad.request, bad.drops)
        server.wait_idle()
        costs.append((server.cpu() - before) * 1000)
        status = answer.partition(b" ")[2][:3]
        right = bad.code is None or b'"code":%d,' % bad.code in answer
        if status != b"%d" % bad.status or not right:
            raise LoadError(f"{bad.name}: expected {bad.status} {bad.code}, not {answer[:300]!r}")
        wait_ready(url, HANDSHAKE, "echo")
    return statistics.median(costs)


def exchange(port: int, request: bytes, drops: bytes = b"") -> bytes:
    """Send all that the server takes, and read until it closes."""
    parts = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(request)
            if drops:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for drop in drops:
                    one.send(b"%c" % drop)
                one.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while data := one.recv(65536):
                parts.append(data)
    return b"".join(parts)


# ---- what is sent


def _http(body: bytes, era: str = MODERN, **changed: str) -> bytes:
    """A right request but for what is changed; underscores in a header's name stand for dashes."""
    headers = {**request_of(era, "echo")[0], "Host": "localhost", "Connection": "close"}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /mcp HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _chunked(body: bytes, each: int) -> bytes:
    head = _http(b"").partition(b"Content-Length")[0]
    pieces = (body[start : start + each] for start in range(0, len(body), each))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (head, chunks)


def _around(value: bytes, method: bytes = b"tools/call") -> bytes:
    """A message that holds a value deep within."""
    return b'{"jsonrpc":"2.0","id":1,"method":"%b","params":{"a":%b}}' % (method, value)


def _deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def bad_requests() -> Iterator[Bad]:
    """All of them."""
    yield from _framing()
    yield from _drops()
    yield from _wrong_json()
    yield from _large_json()
    yield from _wrong_requests()


def _framing() -> Iterator[Bad]:
    usual = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    chunked = usual + b"Transfer-Encoding: chunked\r\n\r\n"
    yield Bad(
        "Content-Length and Transfer-Encoding", 400, chunked[:-2] + b"Content-Length: 2\r\n\r\n{}"
    )
    yield Bad("bare LF", 400, usual.replace(b"\r", b"") + b"\n")
    yield Bad("header of 100 kB", 431, usual + b"a: " + b"b" * 100_000 + b"\r\n\r\n")
    yield Bad("10,000 headers", 431, usual + b"a: b\r\n" * 10_000 + b"\r\n")
    yield Bad("target of 100 kB", 414, b"POST /" + b"a" * 100_000)
    yield Bad("announced body of 17 MB", 413, usual + b"Content-Length: 17000000\r\n\r\n")
    yield Bad("16 MiB in chunks of one byte", 400, _chunked(b"{" * FULL, 1))
    yield Bad("16 MiB in chunks of 1 kB", 400, _chunked(b"{" * FULL, 1000))
    yield Bad("16 MiB in chunks of 1 MB", 400, _chunked(b"{" * FULL, 1_000_000))
    rich = _around(b'["%b\xff",%b]' % (_filled(RICH, FULL - 1000), _deep(100)))
    yield Bad(
        "16 MiB in chunks of 1,030 bytes: rich text, then bad UTF-8", 400, _chunked(rich, 1030)
    )
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    yield Bad("endless chunks", 413, chunked + chunk * 17)
    yield Bad("flood of tiny chunks", 400, chunked + b"1\r\n \r\n" * 20_000)
    yield Bad("flood of chunk extensions", 400, chunked + (b"1;" + b"a" * 500 + b"\r\n \r\n") * 100)


def _drops() -> Iterator[Bad]:
    """Requests that come byte by byte, as fast as that goes, and end before they are whole."""
    head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    letters = b"a" * 200_000
    yield Bad("a head of 16 kB, byte by byte", 400, b"", drops=head + b"a: " + letters[:16_000])
    yield Bad("200 kB of a body, byte by byte", 400, _http(b"{" * FULL)[:-FULL], drops=letters)
    yield Bad("200 kB of a chunk, byte by byte", 400, chunked + b"100000\r\n", drops=letters)
    yield Bad("80 kB of chunks of a byte, byte by byte", 400, chunked, drops=b"1\r\na\r\n" * 13_000)
    yield Bad("half a head, then the end", 400, b"", drops=head)


def _wrong_json() -> Iterator[Bad]:
    for name, body, code in (
        ("empty body", b"", -32700),
        ("no JSON", b"not json", -32700),
        ("half a message", b'{"jsonrpc":"2.0","id":1,"method":', -32700),
        ("bad UTF-8", _around(b'"\xff\xfe"'), -32700),
        (f"{DEEP:,} levels of arrays", _deep(DEEP), -32600),
        (f"{DEEP:,} levels of objects", b'{"a":' * DEEP + b"1" + b"}" * DEEP, -32700),
        (f"{DEEP:,} levels within params", _around(_deep(DEEP)), -32700),
        ("200 levels within params", _around(_deep(200)), -32700),
        ("200 levels behind 6 MB of brackets", _around(_deep_behind(b"{},", 6 << 20)), -32700),
        ("id of 100 kB", b'{"jsonrpc":"2.0","id":%b,"method":"x"}' % (b"9" * DEEP), -32600),
        ("batch", b"[" + _around(b"1") + b"]", -32600),
        ("empty object", b"{}", -32600),
        ("wrong version of JSON-RPC", b'{"jsonrpc":"1.0","id":1,"method":"x"}', -32600),
    ):
        yield Bad(name, 400, _http(body), code)


def _large_json() -> Iterator[Bad]:
    """Bodies of 16 MiB, which the server must read."""
    yield Bad("6 MB of arrays", 400, _http(_around(_deep(3_000_000))), -32700)
    for name, body, code in (
        ("spaces", b" " * FULL, -32700),
        ("zero bytes", b"\0" * FULL, -32700),
        ("digits", b"9" * FULL, -32700),
        ("opening brackets", b"[" * FULL, -32700),
        ("an array of arrays within each other", _deep(FULL // 2), None),
        ("arrays within each other in params", _around(_deep(FULL // 2 - 50)), -32700),
        ("small arrays, then 200 levels", _around(_deep_behind(b"[],", FULL - 1000)), -32700),
        ("short texts, then 200 levels", _around(_deep_behind(b'"",', FULL - 1000)), -32700),
        (
            "longer texts, then 200 levels",
            _around(_deep_behind(b'"a longer one",', FULL - 1000)),
            -32700,
        ),
        (
            "small objects, then 200 levels",
            _around(_deep_behind(b'{"a":"b"},', FULL - 1000)),
            -32700,
        ),
        ("numbers without an end", _around(b"[" + b"1," * (FULL // 2 - 50) + b"1]")[:-1], -32700),
        ("a text without an end", _around(b'"' + b"a" * (FULL - 100)), -32700),
        ("a text with bad UTF-8 at its end", _around(b'"%b\xff"' % (b"a" * (FULL - 100))), -32700),
        (
            "short texts with commas",
            _around(b"[" + b'"a,b",' * 160_000 + b"1" * (15 << 20) + b"]"),
            -32700,
        ),
        ("a million members of params", _around(b"0,%b" % _members()[1:-1]), -32700),
        ("a million arguments of wrong names", _around(_members()), -32700),
        ("opening objects", b'{"a":' * (FULL // 5), -32700),
        ("white space within", b'{"jsonrpc":"2.0","id":1%b}' % (b" " * (FULL - 50)), -32600),
        ("zero bytes within", b"{%b}" % (b"\0" * (FULL - 2)), -32700),
        ("quotes within", b"{%b}" % (b'"' * (FULL - 2)), -32700),
        ("backslashes within", b"{%b}" % (b"\\" * (FULL - 2)), -32700),
        ("a version that is said a million times", _said(FULL // 16 - 4), -32700),
        ("a version that is said 49,000 times", _said(49_000), -32600),
        ("49,000 members of params", _around(b"0,%b" % _members(49_000)[1:-1]), -32602),
        ("49,000 members of params, longer", _around(b"0,%b" % _members(49_000, 60)[1:-1]), -32602),
        ("49,000 members of params, long", _around(b"0,%b" % _members(49_000, 150)[1:-1]), -32602),
        ("49,000 arguments, long", _around(_members(49_000, 150)), -32602),
        ("a batch of empty objects", b"[" + b"{}," * (FULL // 3 - 2) + b"{}]", None),
    ):
        yield Bad(f"16 MiB: {name}", 400, _http(body), code)
    yield from _large_texts()
    yield from _mixtures()
    batch = b"[" + b"1," * (FULL // 2 - 2) + b"1]"
    old = _http(batch, HANDSHAKE, MCP_Protocol_Version="2025-03-26")
    yield Bad("16 MiB: a batch of numbers (2025-03-26)", 400, old, -32700)
    one = _around(b'"%b"' % (b"a" * (FULL // 100 - 100)))
    batch = b"[" + b",".join([one] * 100) + b"]"
    old = _http(batch, HANDSHAKE, MCP_Protocol_Version="2025-03-26")
    yield Bad("16 MiB: a batch of calls without a name (2025-03-26)", 200, old, -32602)
    one = _around(b'"%b"' % _filled(RICH, FULL // 100 - 100))
    old = _http(b"[" + b",".join([one] * 100) + b"]", HANDSHAKE, MCP_Protocol_Version="2025-03-26")
    yield Bad("16 MiB: a batch of rich calls without a name (2025-03-26)", 200, old, -32602)


def _large_texts() -> Iterator[Bad]:
    """Texts of 16 MiB, and other things as long, in every place of a message."""
    call = request_of(MODERN, "echo")[1]
    for name, unit, refused in (
        ("letters", b"a", False),
        ("commas", b",", False),
        ("escaped quotes", b'\\"', True),
        ("escaped backslashes", b"\\\\", True),
        ("escaped line breaks", b"\\n", True),
        ("escaped zeros", b"\\u0000", True),
        ("lone surrogates", b"\\ud800", True),
        ("quotes among letters", b'\\"nutrfb/', False),
        ("rich text", RICH, False),
        ("Cyrillic", "я".encode(), False),
        ("emoji", "😀".encode(), False),
        ("rich text and emoji", RICH[:12] + "😀".encode() * 500, False),
    ):
        text = b'"%b"' % _filled(unit, FULL - 1000)
        wrong, none, other = (-32700, -32700, -32700) if refused else (-32602, -32600, -32020)
        deep = b"[%b,%b]" % (text, _deep(200))
        for place, body, code in (
            ("in params", _around(text), wrong),
            ("without an end", _around(text[:-1]), -32700),
            ("with bad UTF-8 at the end", _around(text[:-1] + b'\xff"'), -32700),
            ("then 200 levels", _around(deep), -32700),
            ("as the id", b'{"jsonrpc":"2.0","id":%b,"method":"x"}' % text, none),
            ("as the method", b'{"jsonrpc":"2.0","id":1,"method":%b}' % text, none),
            ("as the version", b'{"jsonrpc":%b,"id":1,"method":"x"}' % text, none),
            ("as a member's name", b'{"jsonrpc":"2.0","id":1,"method":"x",%b:1}' % text, -32700),
            ("as a param's name", _around(b"1,%b:1" % text), -32700),
            ("as the tool's name", call.replace(b'"echo"', text), other),
            ("as an error's message", _failing(text), none),
        ):
            yield Bad(f"16 MiB: {name} {place}", 400, _http(body), code)
        arguments = call.replace(b'"text": "hello"', b'"wrong": %b' % text)
        place = "as an argument of a wrong name"
        if refused:
            yield Bad(f"16 MiB: {name} {place}", 400, _http(arguments), -32700)
        else:
            yield Bad(f"16 MiB: {name} {place}", 200, _http(arguments))
    for name, value in (
        ("a number", b"9" * (FULL - 1000)),
        ("a fraction", b"0." + b"9" * (FULL - 1000)),
        ("an exponent", b"1e" + b"9" * (FULL - 1000)),
        ("99,000 fractions", b"[%b1]" % (b"0.123456789," * 99_000)),
        ("99,000 long integers", b"[%b1]" % (b"%b," % (b"9" * 160) * 99_000)),
        ("99,000 exponents", b"[%b1]" % (b"%be-999," % (b"9" * 150) * 99_000)),
        ("99,000 texts", b"[%b1]" % (b'"%b",' % (b"a" * 160) * 99_000)),
        ("33,000 objects", b"[%b1]" % (b'{"a":"b"},' * 33_000)),
    ):
        arguments = call.replace(b'"hello"', value)
        yield Bad(f"16 MiB: {name} as an argument that is a text", 200, _http(arguments))


def _mixtures() -> Iterator[Bad]:
    """Some of all that costs something, up to what is allowed of it, and what is wrong at the end."""
    deep = _deep(200)
    pieces = _filled(b'\\"' * 200 + b"," + b"a" * 3000, FULL - 1000)
    texts = b'"a,\\"b":"c,\\"d",' * 49_000
    rich = _filled(RICH + "😀".encode() * 50, FULL - len(texts) - 1000)
    emoji = "😀".encode() * 500_000
    for name, body, code in (
        (
            "quotes and 5,000 commas, then 200 levels",
            _around(b'["%b",%b]' % (pieces, deep)),
            -32700,
        ),
        (
            "33,000 commas among quotes, then 200 levels",
            _around(b'["%b",%b]' % (_filled(b'\\"' * 50 + b"," + b"a" * 380, FULL - 1000), deep)),
            -32700,
        ),
        (
            "99,000 escaped texts with 900,000 commas, then 200 levels",
            _around(b"[%b%b]" % (b'"%b",' % (b"a\\n,b" * 9 + b"a" * 100) * 98_000, deep)),
            -32700,
        ),
        (
            "49,000 names and texts, rich text, bad UTF-8 in 100 levels",
            _around(b'[{%b"a":%b"%b\xff"%b}]' % (texts, b"[" * 100, rich, b"]" * 100)),
            -32700,
        ),
        (
            "rich texts of 3 kB each, then 200 levels",
            _around(b"[%b%b]" % (_filled(b'"%b",' % (RICH * 50), FULL - 1000), deep)),
            -32700,
        ),
        ("texts without commas between", _around(b"[%b]" % (b'",,,,[[" ' * (FULL // 10))), -32700),
        (
            "letters and emoji as a param's name",
            _around(b'1,"%b":1' % (b"a" * 14_000_000 + emoji)),
            -32700,
        ),
        (
            "49,000 members of params, Cyrillic",
            _around(b"0,%b" % _members(49_000, 20, "я".encode() * 22)[1:-1]),
            -32602,
        ),
        (
            "a param that is said 49,000 times",
            _around(b"0" + b',"a":"%b"' % (b"a" * 300) * 49_000),
            -32602,
        ),
    ):
        yield Bad(f"16 MiB: {name}", 400, _http(body), code)


def _filled(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


def _failing(message: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":%b}}' % message


def _members(count: int = 1_000_000, size: int = 0, before: bytes = b"") -> bytes:
    """An object with so many members, whose names have so many characters at least."""
    return b"{" + b",".join(b'"%b%0*x":%d' % (before, size, n, n) for n in range(count)) + b"}"


def _said(times: int) -> bytes:
    return b"{%b}" % b",".join([b'"jsonrpc":"2.0"'] * times)


def _deep_behind(piece: bytes, size: int) -> bytes:
    return b"[" + piece * (size // len(piece)) + _deep(200) + b"]"


def _wrong_requests() -> Iterator[Bad]:
    body = request_of(MODERN, "echo")[1]
    newer = body.replace(MODERN.encode(), b"2027-01-01")
    yield Bad("evil Origin", 403, _http(body, Origin="https://evil.example"))
    yield Bad("evil Host", 421, _http(body, Host="evil.example"))
    yield Bad("wrong path", 404, _http(body).replace(b"/mcp", b"//mcp", 1))
    yield Bad("GET", 405, _http(body).replace(b"POST", b"GET", 1))
    yield Bad("wrong type", 415, _http(body, Content_Type="text/plain"))
    yield Bad("unknown version", 400, _http(newer, MCP_Protocol_Version="2027-01-01"), -32022)
    yield Bad("header and body that differ", 400, _http(body, Mcp_Name="other"), -32020)
    unknown = body.replace(b"tools/call", b"no/such")
    yield Bad("unknown method", 404, _http(unknown, Mcp_Method="no/such"), -32601)
    nobody = body.replace(b'"echo"', b'"nobody"')
    yield Bad("unknown tool", 400, _http(nobody, Mcp_Name="nobody"), -32602)
    many, long = _members(49_900), _members(49_900, 300)
    for name, arguments in (
        ("arguments against the schema", b'{"text": 5}'),
        ("49,900 arguments of wrong names", many),
        ("49,900 arguments of long wrong names", long),
    ):
        # for a model to read, as the protocol has it: a result that is an error
        yield Bad(name, 200, _http(body.replace(b'{"text": "hello"}', arguments)))
