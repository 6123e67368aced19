"""What is signed and sent, byte by byte: known answers, and what is refused."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from flow_consensus.bft import (
    NIL,
    BadMessage,
    Block,
    Claim,
    Ed25519,
    Kind,
    Request,
    Signed,
    block_digest,
    decode,
    decode_block,
    encode,
    encode_block,
    request_statement,
    statement,
)
from flow_consensus.bft.blocks import MOST_BLOCK
from flow_consensus.bft.messages import Ask, Blocks, Certificate, Fetch, Here, Proposal, Vote
from flow_consensus.bft.signing import Signatures, digest
from flow_consensus.pieces import LARGEST
from support.bft.keys import genesis, signing_key

CLUSTER = b"\x01" * 32
DIGEST = b"\x05" * 32
KEY = SigningKey(bytes(range(32)))


def test_a_statement_is_these_bytes() -> None:
    said = statement(Kind.PRECOMMIT, CLUSTER, 2, 3, 4, -1, DIGEST)
    assert said == (
        b"flow bft 1\0"
        b"\x03" + CLUSTER + b"\0\0\0\0\0\0\0\x02"
        b"\0\0\0\0\0\0\0\x03"
        b"\0\0\0\x04"
        b"\xff\xff\xff\xff" + DIGEST
    )
    assert len(said) == 100


def test_its_signature_is_that_of_rfc_8032() -> None:
    """Ed25519 is deterministic: the same key and bytes have one signature, on every machine."""
    signature = KEY.sign(statement(Kind.PREVOTE, CLUSTER, 2, 3, 4, -1, DIGEST)).signature
    assert (signature[:8].hex(), signature[-8:].hex()) == ("0ddd3d003b919d1b", "3fbcbd88df08c30e")


def test_a_vote_is_these_bytes() -> None:
    vote = Vote(Signed(Kind.PREVOTE, 1, 7, 0, -1, DIGEST, "alpha", b"\x09" * 64))
    assert encode(vote) == (
        b"\x01"  # version
        b"\x92\x03"  # an array of two: the tag, the statement
        b"\x98\x02\x01\x07\x00\xff"  # kind, epoch, height, view, valid
        b"\xc4\x20" + DIGEST + b"\xa5alpha\xc4\x40" + b"\x09" * 64
    )
    assert decode(encode(vote)) == vote


def test_a_request_binds_its_node_boot_number_and_commands() -> None:
    request = Request("alpha", 3, 1, [b"ab", b"c"], bytes(64))
    said = request_statement(CLUSTER, request)
    of = digest(b"flow bft request", b"alpha", b"ab", b"c")
    assert said == statement(Kind.REQUEST, CLUSTER, 0, 3, 1, -1, of)
    others = (
        msgspec.structs.replace(request, origin="beta"),
        msgspec.structs.replace(request, boot=4),
        msgspec.structs.replace(request, number=2),
        msgspec.structs.replace(request, commands=[b"a", b"bc"]),
        msgspec.structs.replace(request, commands=[b"abc"]),
    )
    assert len({said, *(request_statement(CLUSTER, one) for one in others)}) == 6


def test_a_cluster_is_its_name_its_voters_and_their_keys() -> None:
    first = genesis("abcd")
    named = first.cluster("one")
    assert named != first.cluster("two")
    assert named != genesis("abce").cluster("one")
    assert named != genesis("abcd", exclude=True).cluster("one")
    assert named == genesis("dcba").cluster("one")


@pytest.mark.parametrize("at", range(7))
def test_a_signature_counts_for_one_statement_alone(at: int) -> None:
    """Another kind, cluster, epoch, height, view, valid view or digest: another statement."""
    parts = [Kind.PREVOTE, CLUSTER, 2, 3, 4, -1, DIGEST]
    others = [Kind.PRECOMMIT, b"\x02" * 32, 3, 4, 5, 0, NIL]
    signature = KEY.sign(statement(*parts)).signature  # type: ignore[arg-type]
    scheme, key = Ed25519(), bytes(KEY.verify_key)
    assert scheme.verify(key, statement(*parts), signature)  # type: ignore[arg-type]
    parts[at] = others[at]
    assert not scheme.verify(key, statement(*parts), signature)  # type: ignore[arg-type]


def test_a_signature_cannot_be_made_into_another_good_one() -> None:
    """s + L, bits changed, cut, longer, of the wrong key: RFC 8032 section 5.1.7, and what is beside it."""
    order = 2**252 + 27742317777372353535851937790883648493
    said = statement(Kind.PREVOTE, CLUSTER, 2, 3, 4, -1, DIGEST)
    signature = KEY.sign(said).signature
    key = bytes(KEY.verify_key)
    greater = int.from_bytes(signature[32:], "little") + order
    checks = Signatures(Ed25519())
    assert checks.holds(Claim(key, said, signature))
    bad = [
        signature[:32] + greater.to_bytes(32, "little"),
        signature[:-1],
        signature + b"\0",
        b"",
        bytes(64),
        *(
            bytes(byte ^ (1 << bit if at == place else 0) for at, byte in enumerate(signature))
            for place in range(0, 64, 7)
            for bit in (0, 5)
        ),
    ]
    for one in bad:
        assert not checks.holds(Claim(key, said, one))
    assert not checks.holds(Claim(bytes(signing_key("b").verify_key), said, signature))
    assert not checks.holds(Claim(bytes(32), said, signature))  # a key of small order


def test_a_signature_is_checked_once() -> None:
    said = statement(Kind.PREVOTE, CLUSTER, 2, 3, 4, -1, DIGEST)
    claim = Claim(bytes(KEY.verify_key), said, KEY.sign(said).signature)
    checks = Signatures(Ed25519(), 2)
    assert [checks.holds(claim) for _ in range(5)] == [True] * 5
    assert checks.checked == 1
    bad = Claim(claim.key, said, bytes(64))
    assert [checks.holds(bad) for _ in range(3)] == [False] * 3
    assert checks.checked == 4  # what does not hold is not remembered: it would fill the memory
    for number in range(3):
        other = statement(Kind.PREVOTE, CLUSTER, 2, number + 9, 4, -1, DIGEST)
        assert checks.holds(Claim(claim.key, other, KEY.sign(other).signature))
    assert not checks.knows(claim)


def block(**changes: object) -> Block:
    request = Request("alpha", 3, 1, [b"one", b"two"], bytes(64))
    made = Block(CLUSTER, 1, 1, 0, "alpha", NIL, 1, [request], [], [])
    return msgspec.structs.replace(made, **changes)


def test_a_block_has_one_form_and_one_digest() -> None:
    data = encode_block(block())
    assert decode_block(data) == block()
    assert block().last == 3
    assert block_digest(data) == digest(b"flow bft block", data)
    longer = data.replace(b"\x93one", b"\x93one")  # the same: nothing to be longer
    assert decode_block(longer) == block()
    # the epoch as a longer number, the name as a longer text: the same meaning in other bytes
    epoch = data.index(CLUSTER) + 32
    assert data[epoch] == 1
    for other in (
        data[:epoch] + b"\xcc\x01" + data[epoch + 1 :],
        data.replace(b"\xa5alpha", b"\xd9\x05alpha", 1),
        data + b"\0",
        data[:-1],
        b"",
    ):
        with pytest.raises(BadMessage):
            decode_block(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 0},
        {"position": 0},
        {"cluster": b"short"},
        {"creator": "No Name"},
        {"parent": b""},
        {"epoch": -1},
        {"view": 2**40},
        {"requests": [Request("alpha", 3, 0, [b"x"], bytes(64))]},
        {"requests": [Request("alpha", 3, 1, [], bytes(64))]},
        {"requests": [Request("alpha", 3, 1, [b"x"], bytes(63))]},
    ],
)
def test_a_block_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadMessage):
        decode_block(encode_block(block(**changes)))


def test_what_is_too_large_is_refused_unread() -> None:
    with pytest.raises(BadMessage, match="are the most"):
        decode(b"\x01" + bytes(LARGEST))
    with pytest.raises(BadMessage, match="are the most"):
        decode_block(bytes(MOST_BLOCK + 1))


MESSAGES = [
    Vote(Signed(Kind.PREVOTE, 1, 7, 0, -1, DIGEST, "alpha", b"\x09" * 64)),
    Fetch(3),
    Here(CLUSTER, 5, 1, True, 7, 3, 0, False),
    Ask(Request("alpha", 3, 1, [b"one", b"two"], bytes(64))),
    Proposal(
        Signed(Kind.PROPOSAL, 1, 7, 1, 0, DIGEST, "alpha", b"\x09" * 64),
        b"block",
        Certificate(Kind.PREVOTE, 1, 7, 0, DIGEST, [(0, b"\1" * 64), (2, b"\2" * 64)]),
    ),
    Blocks([(b"data", Certificate(Kind.PRECOMMIT, 1, 7, 0, DIGEST, [(0, b"\1" * 64)]))]),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_a_message_has_one_form(message: object) -> None:
    data = encode(message)  # type: ignore[arg-type]
    assert decode(data) == message
    for size in range(len(data)):
        with pytest.raises(BadMessage):
            decode(data[:size])
    with pytest.raises(BadMessage):
        decode(data + b"\0")
    with pytest.raises(BadMessage, match="version 2"):
        decode(b"\x02" + data[1:])


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_message_or_refused(data: bytes) -> None:
    for one in (data, b"\x01" + data):
        try:
            message = decode(one)
        except BadMessage:
            continue
        assert encode(message) == one


def test_messages_that_are_changed_are_refused_or_others() -> None:
    chance = random.Random(7)
    for message in MESSAGES:
        data = encode(message)  # type: ignore[arg-type]
        for _ in range(200):
            changed = bytearray(data)
            changed[chance.randrange(len(data))] = chance.randrange(256)
            try:
                other = decode(bytes(changed))
            except BadMessage:
                continue
            assert (other == message) == (bytes(changed) == data)
