"""What is kept in etcd and what etcd says, damaged: refused with the reason, nothing guessed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_consensus.etcd import messages
from flow_consensus.etcd.failures import (
    AnswerTooLarge,
    Compacted,
    EtcdFailure,
    NoRoom,
    NotSignedIn,
    Refused,
    Unanswered,
)
from flow_consensus.etcd.messages import RangeAnswer, TxnAnswer, WatchAnswer
from flow_consensus.etcd.records import (
    FORMAT,
    Batch,
    Head,
    Keys,
    after_all,
    decode,
    decode_batch,
    decode_meta,
    encode,
    encode_batch,
)
from flowcore.errors import UntrustedFile

KEYS = Keys(b"p/")


@given(st.integers(1, 2**62))
def test_a_key_tells_its_position_and_keys_are_in_the_order_of_positions(first: int) -> None:
    assert KEYS.first_of(KEYS.log(first)) == first
    assert KEYS.all_log < KEYS.log(first) < KEYS.log(first + 1) < after_all(KEYS.all_log)


@pytest.mark.parametrize(
    "key",
    [
        b"p/log/",
        b"p/log/1",
        b"p/log/" + b"0" * 16,
        b"p/log/" + b"g" * 16,
        b"p/log/" + b"A" * 16,
        b"p/log/ " + b"1" * 15,
        b"q/log/" + b"1" * 16,
    ],
)
def test_what_is_no_key_of_the_log_is_said(key: bytes) -> None:
    with pytest.raises(UntrustedFile, match="no key of a batch"):
        KEYS.first_of(key)


@given(st.lists(st.binary(min_size=1), min_size=1), st.data())
def test_a_batch_comes_back_or_is_refused(entries: list[bytes], data: st.DataObject) -> None:
    whole = encode_batch(Batch(FORMAT, b"i" * 16, entries))
    assert decode_batch(b"k", whole).entries == entries
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(UntrustedFile, match="b'k' in etcd"):
        decode_batch(b"k", whole[:cut])


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        ((2, b"i", [b"a"]), "made by a newer flowcore"),
        ((1, b"i", []), "an entry is empty"),
        ((1, b"i", [b"a", b""]), "an entry is empty"),
        ((1, b"i", "a"), "damaged"),
    ],
)
def test_a_batch_that_cannot_be_is_said(batch: tuple[object, ...], why: str) -> None:
    with pytest.raises(UntrustedFile, match=why):
        decode_batch(b"k", msgspec.msgpack.encode(batch))


def test_a_record_that_cannot_be_is_said() -> None:
    assert decode(b"k", encode(Head(last=3)), Head) == Head(last=3)
    for wrong in (b"", b"{", b'{"last":"3"}', b"\xff"):
        with pytest.raises(UntrustedFile, match="b'k' in etcd is damaged"):
            decode(b"k", wrong, Head)
    with pytest.raises(UntrustedFile, match="does not say which log"):
        decode_meta(b"k", b'{"format":1,"identity":""}')


@pytest.mark.parametrize(
    ("status", "body", "kind", "why"),
    [
        (404, b"Not Found", Unanswered, "404 without a reason: is this etcd's client URL"),
        (500, b"[]", Unanswered, "500 without a reason"),
        (503, b'{"code":14,"message":"etcdserver: no leader"}', Unanswered, "^no leader"),
        (504, b'{"code":4,"error":"context deadline exceeded"}', Unanswered, "deadline"),
        (429, b'{"code":8,"message":"etcdserver: too many requests"}', Unanswered, "too many"),
        (
            429,
            b'{"code":8,"message":"etcdserver: mvcc: database space exceeded"}',
            NoRoom,
            "space",
        ),
        (
            429,
            b'{"code":8,"message":"grpc: received message larger than max"}',
            AnswerTooLarge,
            "max",
        ),
        (401, b'{"code":16,"message":"etcdserver: invalid auth token"}', NotSignedIn, "token"),
        (
            400,
            b'{"code":3,"message":"etcdserver: revision of auth store is old"}',
            NotSignedIn,
            "old",
        ),
        (400, b'{"code":3,"message":"etcdserver: user name is empty"}', Refused, "a user and a"),
        (403, b'{"code":7,"message":"etcdserver: permission denied"}', Refused, "denied"),
        (
            400,
            b'{"code":11,"message":"etcdserver: mvcc: required revision has been compacted"}',
            Compacted,
            "compacted",
        ),
        (400, b'{"code":11,"message":"etcdserver: mvcc: future revision"}', Unanswered, "future"),
        (418, b"{}", Unanswered, "HTTP status 418"),
    ],
)
def test_each_refusal_is_taken_for_what_it_is(
    status: int, body: bytes, kind: type[EtcdFailure], why: str
) -> None:
    found = messages.failure(status, body)
    assert type(found) is kind
    with pytest.raises(kind, match=why):
        raise found


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_none(body: bytes) -> None:
    for type_ in (RangeAnswer, TxnAnswer, WatchAnswer):
        try:
            assert isinstance(messages.decode(body, type_), type_)
        except Unanswered as error:
            assert "no answer of etcd" in str(error)
    try:
        messages.decode_line(body, WatchAnswer)
    except EtcdFailure:
        assert not body.startswith(b'{"result":{"header":{}}}')
    assert isinstance(messages.failure(500, body), EtcdFailure)


def test_an_answer_that_lacks_a_part_is_none() -> None:
    for body in (b"{}", b'{"responses":[{}]}'):
        with pytest.raises(Unanswered, match="lacks its part 0"):
            messages.decode(body, TxnAnswer).found(0)
    told = b'{"error":{"grpc_code":14,"message":"no leader","http_code":503}}'
    with pytest.raises(Unanswered, match="no leader"):
        messages.decode_line(told, WatchAnswer)
