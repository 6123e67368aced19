"""The request reader, without sockets: pieces change nothing, and h11 agrees on where requests end."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterable
from io import BytesIO

import attrs
import h11
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from flowcore.http.body import BodyReader
from flowcore.http.fields import BadMessage
from flowcore.http.head import CHUNKED, UNTIL_CLOSE
from flowcore.http.incoming import Phase, RequestReader
from flowcore.http.limits import Limits
from support.http_bytes import cuts, pieces, streams

LIMITS = Limits(head=1000, target=100, headers=10, body=300)


@attrs.frozen
class Read:
    """What came of some bytes."""

    requests: list[tuple[str, str, list[tuple[bytes, bytes]], bytes]]
    refused: int | None
    phase: Phase


def read(parts: Iterable[bytes], limits: Limits = LIMITS) -> Read:
    reader = RequestReader(limits)
    requests = []
    refused = None
    try:
        for part in parts:
            reader.feed(part)
            while (incoming := reader.next()) is not None:
                head = incoming.head
                fields = [(name, v) for name in head.headers for v in head.headers.getall(name)]
                requests.append((head.method, head.target, sorted(fields), incoming.body))
    except BadMessage as error:
        refused = error.status
    return Read(requests, refused, reader.phase)


token = st.text("abcXYZ-_!#0189", min_size=1, max_size=8).map(str.encode)
value = st.binary(max_size=12).map(
    lambda data: bytes(c for c in data if c >= 0x20 and c != 0x7F).strip()
)
fields = st.lists(
    st.tuples(
        token.filter(lambda name: name.lower() not in (b"host", b"expect", b"connection")), value
    ),
    max_size=4,
)
sizes = st.lists(st.integers(1, 9), max_size=5)


@st.composite
def requests(
    draw: st.DrawFn,
) -> tuple[bytes, tuple[str, str, list[tuple[bytes, bytes]], bytes]]:
    """A right request as bytes, and what is to be read."""
    method, target = draw(token), b"/" + draw(st.text("ab?=/%", max_size=8)).encode()
    body = draw(st.binary(max_size=30))
    headers = [(b"Host", b"x"), *draw(fields)]
    if draw(st.booleans()):
        headers.append((b"Transfer-Encoding", b"Chunked"))
        framed = b""
        rest = body
        for size in draw(sizes):
            chunk, rest = rest[:size], rest[size:]
            if chunk:
                framed += b"%x ;a=b\r\n%b\r\n" % (len(chunk), chunk)
        if rest:
            framed += b"%04X\r\n%b\r\n" % (len(rest), rest)
        framed += b"0\r\n" + draw(st.sampled_from([b"", b"a: b\r\n"])) + b"\r\n"
    elif body or draw(st.booleans()):
        headers.append((b"content-length", b"%d" % len(body)))
        framed = body
    else:
        framed = b""
    raw = b"%b %b HTTP/1.1\r\n" % (method, target)
    raw += b"".join(
        b"%b:%b%b\t\r\n" % (n, draw(st.sampled_from([b"", b" "])), v) for n, v in headers
    )
    expected = sorted((name.lower(), one) for name, one in headers)
    return raw + b"\r\n" + framed, (method.decode(), target.decode(), expected, body)


@given(st.lists(requests(), max_size=4), cuts)
def test_right_requests_are_read_in_whatever_pieces(
    given_requests: list[tuple[bytes, tuple[str, str, list[tuple[bytes, bytes]], bytes]]],
    at: list[int],
) -> None:
    data = b"".join(raw for raw, _ in given_requests)
    expected = Read([one for _, one in given_requests], None, Phase.BETWEEN)
    assert read(pieces(data, at), Limits()) == expected
    assert read((bytes((byte,)) for byte in data), Limits()) == expected


@given(streams, cuts)
@example(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: " + b"b" * 1200 + b"\r\n\r\n", [600])
@example(b"GET /" + b"b" * 1200 + b" HTTP/1.1\r\nHost: x\r\n\r\n", [600])
def test_pieces_do_not_change_what_is_read(data: bytes, at: list[int]) -> None:
    whole = read([data])
    for parts in (pieces(data, at), [bytes((byte,)) for byte in data]):
        got = read(parts)
        assert got.requests == whole.requests
        assert (got.refused is None) == (whole.refused is None)


def by_h11(data: bytes) -> list[tuple[str, str, list[tuple[bytes, bytes]], bytes]]:
    """The requests that h11 reads, up to the first that it refuses or that is not whole."""
    found: list[tuple[str, str, list[tuple[bytes, bytes]], bytes]] = []
    while True:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=10_000)
        connection.receive_data(data.removeprefix(b"\r\n"))  # RFC 9112 section 2.2; h11 does not
        head, body = None, b""
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError:
                return found
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return found
        assert head is not None
        fields = sorted((name.lower(), one) for name, one in head.headers)
        found.append((head.method.decode(), head.target.decode(), fields, body))
        data = bytes(connection.trailing_data[0])


@given(streams)
def test_what_is_taken_is_what_h11_takes(data: bytes) -> None:
    assume(b"http://" not in data)  # brought into origin form here
    ours = read([data], Limits()).requests
    assert by_h11(data)[: len(ours)] == ours


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read([data])
    read([b"GET / HTTP/1.1\r\nHost: x\r\n" + data + b"\r\n\r\n"])
    read([b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + data])


def test_a_head_that_is_repeated_with_another_body_is_another_request() -> None:
    head = b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
    data = b"".join(head % (n // 2) + b"%d" % n for n in range(6))
    got = read([data])
    assert [(target, body) for _, target, _, body in got.requests] == [
        (f"/{n // 2}", b"%d" % n) for n in range(6)
    ]


@pytest.mark.parametrize(
    ("data", "phase"),
    [
        (b"", Phase.BETWEEN),
        (b"\r", Phase.HEAD),
        (b"GET / HT", Phase.HEAD),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Phase.BETWEEN),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nG", Phase.HEAD),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na", Phase.BODY),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", Phase.BODY),
    ],
)
def test_it_tells_what_it_waits_for(data: bytes, phase: Phase) -> None:
    assert read([data]).phase is phase


def test_an_announced_body_takes_no_room_before_it_comes() -> None:
    tracemalloc.start()
    try:
        reader = RequestReader(Limits())
        reader.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n" + b"a" * 1000)
        assert reader.next() is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
        reader.feed(memoryview(b"b" * 1_000_000))
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    assert (reader.held, reader.phase) == (1_001_000, Phase.BODY)


def test_what_is_fed_is_not_looked_at_later() -> None:
    reader, room = RequestReader(Limits()), memoryview(bytearray(30))
    reader.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    assert reader.next() is None
    for piece in (b"one", b"two", b"sixGET / HT", b"TP/1.1\r\nHost: x\r\n\r\n"):
        room[: len(piece)] = piece
        reader.feed(room[: len(piece)])
    first, second = reader.next(), reader.next()
    assert first is not None
    assert second is not None
    assert (first.body, second.head.method) == (b"onetwosix", "GET")


@pytest.mark.parametrize(("each", "most"), [(1, 16_000), (63, 16_000), (600, 4000), (4000, 4000)])
def test_a_body_may_come_in_some_thousand_small_chunks_and_no_more(each: int, most: int) -> None:
    chunk = b"%x\r\n%b\r\n" % (each, b"a" * each)
    reader = RequestReader(Limits())
    reader.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    reader.feed(chunk * most + b"0\r\n\r\n")
    whole = reader.next()
    assert whole is not None
    assert whole.body == b"a" * each * most
    reader.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert reader.next() is None
    with pytest.raises(BadMessage, match="too many small chunks"):
        for _ in range(1 + most // 1000):
            reader.feed(chunk * 1000)


def test_the_chunks_of_an_answer_may_be_as_small_as_events() -> None:
    reader, got = BodyReader(CHUNKED, math.inf), BytesIO()
    for _ in range(100):
        reader.feed((b"64\r\n" + b"a" * 100 + b"\r\n") * 1000, got.write)
    assert (reader.size, len(got.getvalue())) == (10_000_000, 10_000_000)


def test_bytes_until_the_close_are_a_body() -> None:
    reader, got = BodyReader(UNTIL_CLOSE, 10), BytesIO()
    assert reader.feed(b"12345", got.write) == b""
    with pytest.raises(BadMessage, match="more than 10 bytes"):
        reader.feed(b"678901", got.write)
    assert (got.getvalue(), reader.ended_by_close()) == (b"12345", True)
