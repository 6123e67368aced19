"""The decoder of what nodes say: one form for each meaning; what else comes is refused.

It is fed by nodes that lie.
"""

from __future__ import annotations

import contextlib
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_consensus.bft import BadMessage, Message, decode, decode_block, encode, encode_block
from flow_consensus.bft.blocks import Block, Change, Endorsement, Evidence, Request, Signed
from flow_consensus.bft.epochs import MOST_MEMBERS, Member
from flow_consensus.bft.messages import (
    VERSION,
    Accuse,
    Ask,
    Blocks,
    Certificate,
    Checkpoint,
    Chunk,
    Endorse,
    Fetch,
    FetchChunk,
    Here,
    Offer,
    Proposal,
    Read,
    ReadAnswer,
    Stable,
    Vote,
)
from flow_consensus.pieces import LARGEST

counts = st.integers(0, 2**63 - 1)
heights = st.integers(0, 2**56)
views = st.integers(0, 2**31 - 1)
valid = st.integers(-1, 2**31 - 1)
names = st.sampled_from(["a", "beta", "n-1", "x" * 63])
digests = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
kinds = st.integers(1, 6)

requests = st.builds(
    Request,
    names,
    counts,
    st.integers(1, 2**31 - 1),
    st.lists(st.binary(max_size=20), min_size=1, max_size=3),
    signatures,
)
signed = st.builds(Signed, kinds, counts, heights, views, valid, digests, names, signatures)
members = st.builds(Member, names, digests, st.booleans())
changes = st.builds(
    Change,
    counts,
    st.lists(members, max_size=2),
    st.lists(names, max_size=2),
    st.lists(st.builds(Endorsement, names, signatures), max_size=2),
)
evidence = st.builds(Evidence, signed, signed)
certificates = st.builds(
    Certificate,
    kinds,
    counts,
    heights,
    views,
    digests,
    st.lists(st.tuples(st.integers(0, MOST_MEMBERS - 1), signatures), max_size=3),
)
checkpoints = st.builds(Checkpoint, st.binary(max_size=50), digests, certificates)
blocks = st.builds(
    Block,
    digests,
    counts,
    st.integers(1, 2**56),
    views,
    names,
    digests,
    st.integers(1, 2**56),
    st.lists(requests, max_size=2),
    st.lists(changes, max_size=1),
    st.lists(evidence, max_size=2),
)
data = st.binary(min_size=1, max_size=60)
masks = st.integers(0, 2**MOST_MEMBERS - 1)

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ask, requests),
    st.builds(Proposal, signed, data, st.none() | certificates),
    st.builds(Vote, signed),
    st.builds(Here, digests, heights, views, st.booleans(), masks, masks, heights, st.booleans()),
    st.builds(Fetch, heights),
    st.builds(Blocks, st.lists(st.tuples(data, certificates), max_size=2)),
    st.builds(Offer, checkpoints),
    st.builds(FetchChunk, heights, counts),
    st.builds(Chunk, heights, counts, st.binary(max_size=50), st.booleans()),
    st.builds(Read, counts, heights),
    st.builds(ReadAnswer, counts, heights, st.none() | certificates),
    st.builds(Accuse, evidence),
    st.builds(Endorse, changes),
    st.builds(Stable, checkpoints),
)


def is_canonical_or_refused(bytes_: bytes) -> None:
    """Whatever it is: refused, or the only form of what it means."""
    with contextlib.suppress(BadMessage):
        assert encode(decode(bytes_)) == bytes_


@given(messages)
def test_what_is_said_is_heard(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=300))
def test_garbage_is_refused(garbage: bytes) -> None:
    is_canonical_or_refused(garbage)
    is_canonical_or_refused(bytes([VERSION]) + garbage)
    with contextlib.suppress(BadMessage):
        assert encode_block(decode_block(garbage)) == garbage


@given(messages, st.data())
def test_what_is_cut_off_is_refused(message: Message, draw: st.DataObject) -> None:
    whole = encode(message)
    part = whole[: draw.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(BadMessage):
        decode(part)


@given(messages, st.binary(min_size=1, max_size=5))
def test_what_goes_on_after_the_end_is_refused(message: Message, more: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(encode(message) + more)


@given(messages, st.data())
def test_a_flipped_bit_is_refused_or_another_message(message: Message, draw: st.DataObject) -> None:
    flipped = bytearray(encode(message))
    flipped[draw.draw(st.integers(0, len(flipped) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    is_canonical_or_refused(bytes(flipped))
    with contextlib.suppress(BadMessage):
        assert decode(bytes(flipped)) != message


@given(blocks, st.data())
def test_a_block_has_one_form(block: Block, draw: st.DataObject) -> None:
    whole = encode_block(block)
    assert decode_block(whole) == block
    with pytest.raises(BadMessage):
        decode_block(whole[: draw.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(BadMessage):
        decode_block(whole + b"\0")
    flipped = bytearray(whole)
    flipped[draw.draw(st.integers(0, len(whole) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with contextlib.suppress(BadMessage):
        found = decode_block(bytes(flipped))
        assert found != block
        assert encode_block(found) == flipped


def longest(value: object) -> bytes:
    """MessagePack of the same meaning, with all numbers and lengths in their longest form."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return (
            b"\xcf" + value.to_bytes(8, "big")
            if value >= 0
            else b"\xd3" + value.to_bytes(8, "big", signed=True)
        )
    if isinstance(value, str):
        return b"\xdb" + len(value.encode()).to_bytes(4, "big") + value.encode()
    if isinstance(value, bytes):
        return b"\xc6" + len(value).to_bytes(4, "big") + value
    assert isinstance(value, list)
    return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(longest, value))


@given(messages, blocks)
def test_another_form_of_the_same_meaning_is_refused(message: Message, block: Block) -> None:
    """Else one signed thing would have many digests."""
    meaning = msgspec.msgpack.decode(encode(message)[1:])
    other = longest(meaning)
    assert msgspec.msgpack.decode(other) == meaning
    with pytest.raises(BadMessage):
        decode(bytes([VERSION]) + other)
    with pytest.raises(BadMessage):
        decode_block(longest(msgspec.msgpack.decode(encode_block(block))))


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"])
@pytest.mark.parametrize("before", [b"", b"\x92\x01", b"\x98\x04", b"\x92\x06\x91\x92"])
def test_a_huge_length_is_refused_and_nothing_is_made_ready_for_it(
    head: bytes, before: bytes
) -> None:
    lie = bytes([VERSION]) + before + head + b"\xff\xff\xff\xff" + bytes(100)
    tracemalloc.start()
    try:
        with pytest.raises(BadMessage):
            decode(lie)
        with pytest.raises(BadMessage):
            decode_block(lie[1:])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


def test_what_is_too_large_is_refused_unread() -> None:
    with pytest.raises(BadMessage, match="are the most"):
        decode(bytes([VERSION]) + bytes(LARGEST))
    with pytest.raises(BadMessage, match="are the most"):
        decode_block(bytes(LARGEST))


@pytest.mark.parametrize("nested", [b"\x91", b"\x81\xa1a", b"\xdd\x00\x00\x00\x01"])
def test_a_hundred_thousand_levels_are_refused(nested: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(bytes([VERSION]) + b"\x92\x01" + nested * 100_000)
    with pytest.raises(BadMessage):
        decode_block(b"\x9a" + nested * 100_000)


@pytest.mark.parametrize("version", [0, 2, 127, 255])
def test_another_version_is_refused(version: int) -> None:
    with pytest.raises(BadMessage, match=f"version {version}"):
        decode(bytes([version]) + encode(Fetch(1))[1:])


def test_what_is_out_of_range_is_refused() -> None:
    for height in (-1, 2**56 + 1, 2**64 - 1):
        with pytest.raises(BadMessage):
            decode(bytes([VERSION]) + msgspec.msgpack.encode([5, height]))
    for place in (-1, 64, 2**40):
        certificate = [3, 1, 1, 0, bytes(32), [[place, bytes(64)]]]
        with pytest.raises(BadMessage):
            decode(bytes([VERSION]) + msgspec.msgpack.encode([6, [[b"x", certificate]]]))
    for signature in (bytes(63), bytes(65)):
        certificate = [3, 1, 1, 0, bytes(32), [[0, signature]]]
        with pytest.raises(BadMessage):
            decode(bytes([VERSION]) + msgspec.msgpack.encode([6, [[b"x", certificate]]]))
