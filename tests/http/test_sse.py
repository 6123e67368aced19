"""Server-sent events: what is encoded is decoded, in whatever pieces it comes."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.http import EventTooLarge, ServerEvent, SseDecoder, encode_event
from support.http_bytes import cuts, pieces

line = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)
events = st.lists(
    st.tuples(
        st.binary(max_size=40) | st.text("ab \r\n", max_size=20).map(str.encode),
        st.none() | line,
        st.none() | line.filter(lambda text: "\0" not in text),
        st.none() | st.integers(0, 10**9 - 1),
    ),
    max_size=6,
)


def decode(parts: Iterable[bytes]) -> list[ServerEvent]:
    decoder = SseDecoder()
    return [event for part in parts for event in decoder.feed(part)]


@given(events, cuts)
def test_what_is_encoded_is_decoded(
    given_events: list[tuple[bytes, str | None, str | None, int | None]], at: list[int]
) -> None:
    data = b"".join(encode_event(d, event=e, id_=i, retry=r) for d, e, i, r in given_events)
    expected: list[ServerEvent] = []
    last_id, retry = "", None
    for d, e, i, r in given_events:
        last_id, retry = last_id if i is None else i, retry if r is None else r
        expected.append(ServerEvent(re.sub(rb"\r\n|\r", b"\n", d), e or "message", last_id, retry))
    assert decode(pieces(data, at)) == expected


def reference(data: bytes) -> list[ServerEvent]:
    """The specification's own steps (WHATWG HTML, 9.2.6), over the whole stream."""
    found: list[ServerEvent] = []
    buffer, kind, last_id, retry, any_data = b"", "", "", None, False
    for one in re.split(rb"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        if not one:
            if any_data:
                found.append(ServerEvent(buffer[:-1], kind or "message", last_id, retry))
            buffer, kind, any_data = b"", "", False
        elif not one.startswith(b":"):
            name, _, value = one.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if name == b"data":
                buffer, any_data = buffer + value + b"\n", True
            elif name == b"event":
                kind = value.decode("utf-8", "replace")
            elif name == b"id" and b"\0" not in value:
                last_id = value.decode("utf-8", "replace")
            elif name == b"retry" and re.fullmatch(rb"[0-9]{1,9}", value):
                retry = int(value)
    return found


fragments = st.lists(
    st.sampled_from(
        b"data|:| |\n|\r|\r\n|event|id|retry|1|x|\0|\xef\xbb\xbf|\xef|\xff|data: a\n\n".split(b"|")
    ),
    max_size=40,
).map(b"".join)


@given(fragments, cuts)
def test_any_bytes_are_read_as_the_specification_says(data: bytes, at: list[int]) -> None:
    assert decode(pieces(data, at)) == reference(data)


@given(fragments)
def test_bytes_one_by_one_are_read_the_same(data: bytes) -> None:
    assert decode(bytes((one,)) for one in data) == reference(data)


def test_the_examples_of_the_specification() -> None:
    stream = (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event"
    )
    assert decode([stream + b"\n\n"]) == [
        ServerEvent(b"first event", id="1"),
        ServerEvent(b"second event"),
        ServerEvent(b" third event"),
    ]
    assert decode([b"data\n\ndata\ndata\n\ndata:"]) == [ServerEvent(b""), ServerEvent(b"\n")]
    assert decode([b"data:test\n\ndata: test\n\n"]) == [ServerEvent(b"test")] * 2


def test_what_holds_for_reconnecting_is_remembered() -> None:
    decoder = SseDecoder()
    assert (decoder.last_id, decoder.retry) == ("", None)
    assert list(decoder.feed(b"id: 7\nretry: 1500\n\nretry: 1x\nretry: 9999999999\n\n")) == []
    assert (decoder.last_id, decoder.retry) == ("7", 1500)


@pytest.mark.parametrize(
    "flood",
    [b"data: x\n", b"data\n", b"data: " + b"x" * 100, b"x", b"event: " + b"x" * 5000 + b"\n"],
)
def test_an_event_is_bounded(flood: bytes) -> None:
    decoder = SseDecoder(limit=1000)
    assert list(decoder.feed(b"data: ok\n\n")) == [ServerEvent(b"ok")]
    fed = 0
    with pytest.raises(EventTooLarge, match="more than 1000 bytes"):
        while True:
            decoder.feed(flood)
            fed += len(flood)
    assert fed < 6000
    with pytest.raises(EventTooLarge):
        decoder.feed(b"\n\n")


def test_events_before_one_that_is_too_large_are_given() -> None:
    decoder = SseDecoder(limit=10)
    assert list(decoder.feed(b"data: one\n\ndata: " + b"x" * 20)) == [ServerEvent(b"one")]
    with pytest.raises(EventTooLarge):
        decoder.feed(b"")


def test_an_event_of_just_the_limit_passes() -> None:
    decoder = SseDecoder(limit=100)
    assert list(decoder.feed(b"data:" + b"x" * 95 + b"\n\n")) == [ServerEvent(b"x" * 95)]
    lines = b"data: " + b"x" * 49 + b"\n"
    assert len(next(decoder.feed(lines * 2 + b"\n")).data) == 99


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "\n"])
def test_fields_of_more_than_one_line_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        encode_event(b"x", event=bad)
    with pytest.raises(ValueError, match="one line"):
        encode_event(b"x", id_=bad)


def test_an_id_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="without NUL"):
        encode_event(b"x", id_="a\0b")


def test_an_encoded_event_is_what_others_send() -> None:
    assert encode_event(b'{"a":1}') == b'data: {"a":1}\n\n'
    full = encode_event(b"a\r\nb", event="message", id_="1", retry=5)
    assert full == b"event: message\nid: 1\nretry: 5\ndata: a\ndata: b\n\n"
