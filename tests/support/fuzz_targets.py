"""Every parser that reads bytes from outside, with seeds that are right, and what must hold for any bytes.

A target takes bytes, and either returns or raises one of its own errors; anything else is a finding.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import tempfile
from collections.abc import Callable, Coroutine
from io import BytesIO
from typing import Any, TypeVar

import attrs
import trio

from flow_auth.hmac import HmacConfig, HmacScheme
from flow_auth.jwt.keys import read_keys
from flow_auth.jwt.settings import JwtConfig
from flow_auth.jwt.verify import KeySet, Verifier
from flow_edges.mcp.guard import accepts
from flow_edges.mcp.parameters import check_progress_token, patience, priority, reference
from flow_edges.mcp_stdio.lines import Lines, LineTooLong
from flow_edges.resource import host_of
from flow_membership.swim.wire import Malformed as NoClaim
from flowcore.assembly.discovery import discover
from flowcore.assembly.read import read_config
from flowcore.audit.chain import Broken, Chain
from flowcore.audit.verify import verify_files
from flowcore.config import ConfigError
from flowcore.config.document import load
from flowcore.config.values import (
    parse_address,
    parse_duration,
    parse_size,
    show_duration,
    show_size,
)
from flowcore.errors import CallError, FlowError, InvalidArguments, InvalidRequest, Unauthenticated
from flowcore.http import HeaderMap, Limits, Request
from flowcore.http.answers import HeadReader
from flowcore.http.body import BodyReader
from flowcore.http.fields import BadMessage, parse_fields
from flowcore.http.forwarded import Forwarding
from flowcore.http.head import CHUNKED
from flowcore.http.incoming import Incoming, RequestReader
from flowcore.http.sse import EventTooLarge, ServerEvent, SseDecoder, encode_event
from flowcore.http.url import split_url
from flowcore.mcp import jsonrpc
from flowcore.mcp.codes import ParseError
from flowcore.mcp.headers import decode_value, encode_value, param_headers
from flowcore.mcp.meta import DEADLINE, PRIORITY, PROGRESS_TOKEN, split_meta
from flowcore.processes.launcher_program.frames import frame, take_frames
from flowcore.signing import Malformed, read_header, read_ring
from flowcore.swarm.authorities import NotVouchedFor
from flowcore.swarm.links.frames import BrokenProtocol
from flowcore.swarm.links.greeting import Refused
from support import fuzz_links, fuzz_swim, tokens

_T = TypeVar("_T")


@attrs.frozen
class Target:
    """One parser."""

    name: str
    run: Callable[[bytes], object]
    raises: tuple[type[Exception], ...]
    """What it may raise; everything else is a finding."""
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    """What mutations put in."""


def at_once(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as ended:
        value: _T = ended.value
        return value
    finally:
        work.close()
    raise AssertionError("it waits for something")


def halves(data: bytes) -> tuple[bytes, ...]:
    """The bytes cut at a place that depends on them."""
    at = sum(data[:64]) % (len(data) + 1)
    return data[:at], data[at:]


# ---- HTTP

_LIMITS = Limits(head=2000, target=500, headers=20, body=5000)


def _requests(*parts: bytes) -> list[tuple[str, str, bytes] | str]:
    reader = RequestReader(_LIMITS)
    found: list[tuple[str, str, bytes] | str] = []
    try:
        for part in parts:
            reader.feed(part)
            while (one := reader.next()) is not None:
                assert isinstance(one, Incoming)
                found.append((one.head.method, one.head.target, bytes(one.body)))
    except BadMessage:  # which of two faults is seen first may depend on what has come
        found.append("refused")
    return found


def http_requests(data: bytes) -> None:
    """The same requests, however the bytes come."""
    assert _requests(data) == _requests(*halves(data))


def http_answers(data: bytes) -> None:
    reader = HeadReader("GET", most=2000, most_headers=20)
    for part in halves(data):
        if (head := reader.feed(part)) is not None:
            assert 200 <= head.status <= 999
            return


def _body(*parts: bytes) -> tuple[bytes, bool]:
    reader = BodyReader(CHUNKED, 5000)
    got = BytesIO()
    for part in parts:
        if not reader.complete:
            reader.feed(part, got.write)
    assert reader.size == len(got.getvalue()) <= 5000
    return got.getvalue(), reader.complete


def chunked_bodies(data: bytes) -> None:
    assert _body(data) == _body(*halves(data))


def _events(*parts: bytes) -> list[ServerEvent]:
    decoder = SseDecoder(limit=1000)
    return [event for part in parts for event in decoder.feed(part)]


def server_events(data: bytes) -> None:
    """The same events, however the bytes come; and what is written from them says the same."""
    events = _events(data)
    assert events == _events(*halves(data))
    for one in events:
        again = _events(encode_event(one.data, event=one.event, id_=one.id, retry=one.retry))
        assert again == [one]


def _headers(data: bytes) -> HeaderMap:
    headers = parse_fields(data.split(b"\r\n"))
    return HeaderMap() if headers is None else headers


def forwarding(data: bytes) -> None:
    import ipaddress

    headers = _headers(data)
    for name in ("x-forwarded-for", "forwarded"):
        found = Forwarding(("127.0.0.1", "10.0.0.0/8", "2001:db8::/32"), name).client(
            "127.0.0.1", headers
        )
        ipaddress.ip_address(found)
        assert Forwarding((), name).client("127.0.0.1", headers) == "127.0.0.1"


def urls(data: bytes) -> None:
    origin, target = split_url(data.decode("latin-1"))
    assert target.startswith("/")
    assert split_url(f"{'https' if origin.secure else 'http'}://{origin}{target}") == (
        origin,
        target,
    )


def accepting(data: bytes) -> None:
    accepts(data, b"application/json", b"text/event-stream")
    _host(data)


def _host(data: bytes) -> None:
    host_of(_request(_headers(data)))


def _request(headers: HeaderMap, body: bytes = b"{}") -> Request:
    return Request("POST", "/mcp", headers, body, "127.0.0.1", 1, _EVENT)


_EVENT = trio.Event()

# ---- MCP


def messages(data: bytes) -> None:
    """A message of either era: taken apart, and put together again the same."""
    jsonrpc.failed_id(data)
    message = jsonrpc.decode(data)
    if isinstance(message, jsonrpc.Request):
        again = jsonrpc.decode(jsonrpc.encode_request(message.id, message.method, message.params))
        assert again == message
    params = getattr(message, "params", None)
    if params is not None:
        for read in (split_meta, reference):
            _read(read, dict(params))
        meta = _read(split_meta, dict(params)) or {}
        for key, check in (
            (PROGRESS_TOKEN, check_progress_token),
            (DEADLINE, patience),
            (PRIORITY, priority),
        ):
            if key in meta:
                _read(check, meta)


def _read(read: Callable[[dict[str, Any]], _T], members: dict[str, Any]) -> _T | None:
    try:
        return read(members)
    except (InvalidArguments, KeyError):  # KeyError: asked for what is not there
        return None


def batches(data: bytes) -> None:
    assert 0 < len(jsonrpc.decode_batch(data, limit=20)) <= 20


def stdio_lines(data: bytes) -> None:
    left = [b"", *reversed(halves(data))]
    found: list[bytes | None] = []

    async def receive() -> bytes:
        while left:
            if (part := left.pop()) or not left:
                return part
        return b""

    async def read() -> None:
        lines = Lines(receive, 1000)
        while True:
            try:
                line = await lines.next()
            except LineTooLong:
                found.append(None)
                continue
            if line is None:
                return
            found.append(line)

    at_once(read())
    kept = [one if len(one) <= 1000 else None for one in data.split(b"\n")]
    if kept and kept[-1] == b"":
        kept.pop()
    assert [one for one in found if one] == [one for one in kept if one]


def mirrored_headers(data: bytes) -> None:
    text = decode_value(data.decode("latin-1"))
    if text is not None:
        assert decode_value(encode_value(text)) == text


def tool_schemas(data: bytes) -> None:
    try:
        schema = json.loads(data)
    except (ValueError, RecursionError):
        return
    param_headers(schema)


# ---- identity

_KEY = tokens.SigningKey("EdDSA")
_VERIFIER = Verifier(JwtConfig(issuer=tokens.ISSUER, secret=None, keys=pathlib.Path("k")), "jwt")
_KEYS: KeySet = read_keys(tokens.jwks(_KEY), ("EdDSA", "ES256", "RS256"))


def web_tokens(data: bytes) -> None:
    _VERIFIER.verify(data, _KEYS, tokens.AUDIENCE, 0.0)


def signed_claims(data: bytes) -> None:
    """The payload is the attacker's, the signature right: what comes after it must hold, too."""
    _VERIFIER.verify(tokens.token(_KEY, data), _KEYS, tokens.AUDIENCE, 0.0)


def token_headers(data: bytes) -> None:
    _VERIFIER.verify(tokens.token(_KEY, None, data), _KEYS, tokens.AUDIENCE, 0.0)


def key_sets(data: bytes) -> None:
    assert len(read_keys(data, ("EdDSA", "ES256", "RS256"))) > 0


_RING = b"""[[key]]
id = "2026-11"
principal = "billing"
secret = "%b"
not_before = 2026-11-01T00:00:00Z
not_after = 2036-12-08T00:00:00+02:00
roles = ["ops"]
""" % base64.b64encode(hashlib.sha256(b"the same in each run, and written nowhere").digest())


def key_rings(data: bytes) -> None:
    assert len(read_ring(data)) > 0


def signatures(data: bytes) -> None:
    """The compact form: what is read is written the same."""
    text = data.decode("latin-1")
    assert read_header(text).header() == text


_SCHEME = HmacScheme(HmacConfig(keys=pathlib.Path("k")), "hmac", lambda: read_ring(_RING))
_WHERE = "https://flow.example/mcp"


def message_signatures(data: bytes) -> None:
    """RFC 9421, and the compact form, as the scheme reads them: nobody gets in without the key."""
    headers = _headers(data)
    principal = at_once(_SCHEME.identify(_request(headers), _WHERE))
    assert principal is None


# ---- files

_QUICK = b"""[node]
name = "alpha"
[agent.time]
type = "python"
target = "benchmarks.agents:work"
pool = { min = 1, max = 4, idle_timeout = "30s" }
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:7300"
http = { body = "1MiB" }
"""
_PLUGINS = discover()


def configurations(data: bytes) -> None:
    read_config(data.decode(), _PLUGINS)


def documents(data: bytes) -> None:
    load(data.decode() + "\n")


def durations_and_sizes(data: bytes) -> None:
    text = data.decode("latin-1")
    for parse, show in ((parse_duration, show_duration), (parse_size, show_size)):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert parse(show(value)) == value  # type: ignore[arg-type]
    parse_address(text)


def _audit_log() -> bytes:
    chain = Chain()
    return b"".join(chain.line({"what": "call", "number": number}) for number in range(5))


def audit_logs(data: bytes) -> None:
    """Only what hangs together is believed, and then whatever is taken from its end is missed."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        verdict = verify_files([pathlib.Path(file.name)])
    assert verdict.lines == data.count(b"\n")


def launcher_frames(data: bytes) -> None:
    """What is taken from any bytes is written so that the same is taken again."""
    found = list(take_frames(bytearray(data)))
    assert list(take_frames(bytearray(b"".join(frame(*one) for one in found)))) == found


_POST = (
    b"POST /mcp?a=%2e HTTP/1.1\r\nHost: x:1\r\nContent-Type: application/json\r\nContent-Length: 3\r\n"
    b"\r\nabc"
)
_CHUNKS = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nt: u\r\n\r\n"
_HTTP = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b": ",
        b",",
        b"\xff",
        b"0",
        b"+3",
        b"-1",
        b"0x3",
    ),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
    *(
        b"Connection: close\r\n",
        b" HTTP/1.0\r\n",
        b"Host: y\r\n",
        b"GET",
        b"*",
        b"ffffffffffffffff\r\n",
    ),
)
_JSON = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"\xff",
        b"null",
        b"true",
        b"-0",
        b"1e999",
    ),
    *(
        b"9" * 30,
        b"[" * 200,
        b'{"a":' * 200,
        b",",
        b":",
        b" ",
        b'"jsonrpc":"2.0",',
        b'"id":1,',
        b"\0",
    ),
)
_TEXT = (
    *(
        b"\0",
        b"\xff",
        b"\xc3\xa9",
        b" ",
        b"\t",
        b"\n",
        b'"',
        b"'",
        b"\\",
        b"%00",
        b"%2e%2e/",
        b"/",
        b":",
        b"@",
    ),
    *(
        b"=",
        b",",
        b";",
        b"[",
        b"]",
        b"#",
        b"-",
        b"+",
        b".",
        b"9" * 25,
        b"9" * 5000,
        b"e",
        b"1",
        b"{",
        b"}",
    ),
)
_TOML = (
    *_TEXT,
    b"0001-01-01T00:00:00+23:59",
    b"9999-12-31T23:59:59-23:59",
    b"[" * 300,
    b"nan",
    b"\n[a]\n",
)
_CALL = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":[1,"x"]},'
    b'"_meta":{"progressToken":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent":"00-0"}}}'
)
_CALL = _CALL.replace(
    b"traceparent", DEADLINE.encode() + b'":1.5,"' + PRIORITY.encode() + b'":"low","traceparent'
)
_INITIALIZE = (
    b'{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-11-25",'
    b'"capabilities":{},"clientInfo":{"name":"x","version":"1"}}}'
)
_COMPLETE = (
    b'{"jsonrpc":"2.0","id":2,"method":"completion/complete","params":{"ref":{"type":"ref/prompt",'
    b'"name":"p"},"argument":{"name":"n","value":"v"}}}'
)
_RFC9421 = (
    b"host: flow.example\r\ncontent-digest: sha-256=:" + b"A" * 43 + b"=:\r\n"
    b'signature-input: sig=("@method" "@authority" "@path" "@query" "content-digest");created=1;'
    b'keyid="2026-11";nonce="0123456789abcdef";alg="hmac-sha256";tag="https://flow.example/mcp"\r\n'
    b"signature: sig=:" + b"A" * 43 + b"=:"
)
_COMPACT = (
    b'FLOW-HMAC-SHA256 keyid="2026-11", created=1795000000, nonce="0123456789abcdef",'
    b' receiver="https://flow.example/mcp", signature="' + b"A" * 43 + b'"'
)
_PACKED = (
    b"\0\0\0\2\x91\x11",
    b"\x80\0\0\2\x91\x7f",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\0\0@\0",
    b"\x91" * 99,
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xcf" + b"\xff" * 8,
    b"\xa2\xff\xfe",
)

TARGETS = (
    Target("http requests", http_requests, (), (_POST, _CHUNKS, _POST + _CHUNKS), _HTTP),
    Target(
        "http answers",
        http_answers,
        (BadMessage,),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",),
        _HTTP,
    ),
    Target(
        "chunked bodies", chunked_bodies, (BadMessage,), (_CHUNKS[_CHUNKS.index(b"3;") :],), _HTTP
    ),
    Target(
        "server-sent events",
        server_events,
        (EventTooLarge,),
        (b"\xef\xbb\xbfid: 1\nevent: e\nretry: 10\ndata: a\ndata: b\n\n: c\r\ndata\r\r",),
        (
            b"\n",
            b"\r",
            b"\r\n",
            b"data:",
            b"id:",
            b"\0",
            b"retry: 9",
            b"\xff",
            b":",
            b" ",
            b"x" * 999,
        ),
    ),
    Target(
        "forwarding headers",
        forwarding,
        (),
        (
            b"x-forwarded-for: 192.0.2.1, 10.0.0.1:80, [2001:db8::1]:443",
            b'forwarded: for="[2001:db8::1]:80";proto=http, for=10.0.0.2;by=_x, For="\\1"',
        ),
        (*_TEXT, b"for=", b'"', b"::ffff:1.2.3.4", b"%eth0", b"unknown", b"\r\nforwarded: "),
    ),
    Target(
        "URLs",
        urls,
        (ValueError,),
        (b"https://flow.example:8443/a/%2e%2e?b=c", b"http://[::1]/", b"http://x?y"),
        (*_TEXT, b"//", b"?", b"[::1%25e]", b"user:pw@"),
    ),
    Target(
        "Accept and Host",
        accepting,
        (),
        (
            b"application/json, text/event-stream;q=0.5",
            b"host: [::1]:80",
            b"*/*;q=0",
            b"host: x:80",
        ),
        _TEXT,
    ),
    Target(
        "JSON-RPC messages",
        messages,
        (ParseError, InvalidRequest, InvalidArguments),
        (
            _CALL,
            _INITIALIZE,
            _COMPLETE,
            b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"m"}}',
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
        ),
        _JSON,
    ),
    Target(
        "JSON-RPC batches",
        batches,
        (ParseError, InvalidRequest),
        (b"[" + _CALL + b"," + _INITIALIZE + b"]", b"[1]"),
        _JSON,
    ),
    Target("stdio lines", stdio_lines, (), (_CALL + b"\r\n" + _CALL + b"\n",), (b"\n", b"x" * 999)),
    Target(
        "mirrored headers",
        mirrored_headers,
        (),
        (b"plain", b"=?base64?Zm9v?=", b"=?base64?w6k=?="),
        _TEXT,
    ),
    Target(
        "schemas of tools",
        tool_schemas,
        (ValueError,),
        (
            b'{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"object",'
            b'"properties":{"c":{"type":"integer","x-mcp-header":"C"}}}}}',
        ),
        (*_JSON, b'"x-mcp-header":', b'"properties":', b'"type":'),
    ),
    Target(
        "JWT",
        web_tokens,
        (Unauthenticated,),
        (tokens.token(_KEY), b"e30.e30.e30"),
        (b".", b"=", b"e30"),
    ),
    Target(
        "claims of JWT",
        signed_claims,
        (CallError,),
        (json.dumps(tokens.claims(scope="a b", roles=["r"], jti="j", nbf=0)).encode(),),
        _JSON,
    ),
    Target(
        "headers of JWT",
        token_headers,
        (Unauthenticated,),
        (b'{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}', b'{"alg":"none","crit":["b64"]}'),
        _JSON,
    ),
    Target(
        "JWK Sets",
        key_sets,
        (ValueError,),
        (
            tokens.jwks(_KEY, tokens.SigningKey("ES256", "k2")),
            tokens.jwks(tokens.SigningKey("RS256")),
            b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
        ),
        (*_JSON, b'"kid":', b'"kty":', b"AA", b'"x":"",', b'"n":"AQAB"'),
    ),
    Target(
        "key rings", key_rings, (ValueError,), (_RING,), (*_TOML, b"[[key]]\n", b"revoked = true\n")
    ),
    Target("signatures", signatures, (Malformed,), (_COMPACT,), _TEXT),
    Target(
        "message signatures",
        message_signatures,
        (Unauthenticated,),
        (_RFC9421, b"authorization: " + _COMPACT),
        (
            *_TEXT,
            b"created=",
            b"keyid=",
            b'"@path"',
            b";sf",
            b";key=",
            b";bs",
            b";req",
            b"=:",
            b"sig=",
            b"()",
        ),
    ),
    Target("configurations", configurations, (ConfigError, UnicodeDecodeError), (_QUICK,), _TOML),
    Target(
        "TOML and its lines", documents, (ConfigError, UnicodeDecodeError), (_QUICK, _RING), _TOML
    ),
    Target(
        "durations, sizes, addresses",
        durations_and_sizes,
        (ValueError,),
        (b"1h30m", b"250ms", b"16MiB", b"127.0.0.1:80", b"[::1]:0"),
        (*_TEXT, b"ms", b"GiB", b"d"),
    ),
    Target("audit logs", audit_logs, (Broken,), (_audit_log(),), _JSON),
    Target(
        "launcher frames",
        launcher_frames,
        (),
        (frame(1, 7, b"abc") + frame(8, 7),),
        (b"\0", b"\xff\xff\xff\xff", b"\0\0\0\0"),
    ),
    Target(
        "link greetings",
        fuzz_links.greetings,
        (BrokenProtocol, Refused),
        (fuzz_links.HELLO, fuzz_links.GREETING),
        _PACKED,
    ),
    Target("link frames", fuzz_links.frames, (BrokenProtocol,), (fuzz_links.FRAMES,), _PACKED),
    Target(
        "node certificates",
        fuzz_links.certificates,
        (NotVouchedFor,),
        (fuzz_links.CERTIFICATE,),
        (b"\x30\x82", b"spiffe://flow/node/gamma", b"\x06\x03\x55\x1d\x11", b"\xff" * 9),
    ),
    Target("gossip among members", fuzz_swim.bodies, (), (fuzz_swim.BODY,), _PACKED),
    Target(
        "exchanges among members",
        fuzz_swim.exchanges,
        (NoClaim,),
        (fuzz_swim.ASK, fuzz_swim.BRING, fuzz_swim.ANSWER),
        (fuzz_swim.LINE, *_PACKED),
    ),
)
"""All of them. A parser that is not here is not fuzzed."""
assert issubclass(ConfigError, FlowError)
