"""Messages: what went as bytes comes back; what is no message is refused; nothing else happens."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_consensus.raft import BadMessage, Message, decode, encode
from flow_consensus.raft.messages import (
    VERSION,
    Append,
    AppendAnswer,
    Chunk,
    ChunkAnswer,
    Commit,
    Heartbeat,
    HeartbeatAnswer,
    Read,
    ReadAnswer,
    TimeoutNow,
    Vote,
    VoteAnswer,
    impossible,
)
from flowcore.state import LogEntry

terms = st.integers(0, 2**48)
positions = st.integers(0, 2**56)
counts = st.integers(0, 2**63 - 1)
entries = st.builds(LogEntry, positions, terms, st.binary(max_size=20))

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Vote, terms, positions, terms, st.booleans(), st.booleans()),
    st.builds(VoteAnswer, terms, st.booleans(), st.booleans()),
    st.builds(Append, terms, positions, terms, positions, st.lists(entries, max_size=4)),
    st.builds(AppendAnswer, terms, positions, st.booleans(), positions, terms),
    st.builds(Heartbeat, terms, positions, counts),
    st.builds(HeartbeatAnswer, terms, counts),
    st.builds(Commit, terms, positions),
    st.builds(TimeoutNow, terms),
    st.builds(Read, terms, counts, st.booleans()),
    st.builds(ReadAnswer, terms, counts, st.integers(-1, 2**56)),
    st.builds(Chunk, terms, positions, terms, st.binary(), counts, st.binary(), st.booleans()),
    st.builds(ChunkAnswer, terms, positions, counts),
)


@given(messages)
def test_what_went_comes_back(message: Message) -> None:
    data = encode(message)
    assert data[0] == VERSION
    assert decode(data) == message
    assert isinstance(impossible(message), str)


@given(messages, st.data())
def test_cut_and_changed_bytes_are_refused_or_another_message(
    message: Message, data: st.DataObject
) -> None:
    whole = encode(message)
    at = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(BadMessage):
        decode(whole[:at])
    changed = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    try:
        decode(changed)
    except BadMessage as error:
        assert str(error)


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_or_a_message(data: bytes) -> None:
    for one in (data, bytes([VERSION]) + data):
        try:
            decode(one)
        except BadMessage as error:
            assert str(error)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([1, -1, 0, 0], ">= 0"),
        ([1, 2**48 + 1, 0, 0], "<= "),
        ([1, 2**64 - 1, 0, 0], "<= "),
        ([1, True, 0, 0], "int"),
        ([1, 1.0, 0, 0], "int"),
        ([1, "1", 0, 0], "int"),
        ([1, 1, 0], "length"),
        ([1, 1, 0, 0, False, False, 7], "length"),
        ([99, 1], "99"),
        ([2, 1, 1, False], "bool"),
        ([3, 1, 0, 0, 0, [[1, 1]]], "length"),
        ([3, 1, 0, 0, 0, [[1, 1, "text"]]], "bytes"),
        ([3, 1, 0, 0, 0, {"a": 1}], "array"),
        ([10, 1, 1, -2], ">= -1"),
        ({"term": 1}, "array"),
        (None, "array"),
    ],
)
def test_each_field_is_checked(fields: object, why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        decode(bytes([VERSION]) + msgspec.msgpack.encode(fields))


def test_another_version_is_named() -> None:
    with pytest.raises(BadMessage, match="version 2, and this is 1"):
        decode(b"\x02" + encode(TimeoutNow(1))[1:])
    with pytest.raises(BadMessage, match="no bytes"):
        decode(b"")


def test_a_depth_without_end_is_refused() -> None:
    with pytest.raises(BadMessage):
        decode(bytes([VERSION]) + b"\x91" * 100_000)
    with pytest.raises(BadMessage):
        decode(bytes([VERSION, 0xDD]) + b"\xff" * 4)


def test_a_huge_one_is_refused_unread() -> None:
    with pytest.raises(BadMessage, match="are the most"):
        decode(bytes(64 * 2**20 + 1))
