"""What is said to etcd's JSON gateway and what it answers (etcd 3.4, `rpc.proto`). Sans-IO.

Bytes are base64 and 64-bit numbers text in this JSON; msgspec reads and writes both. What an answer leaves
out is 0, empty or false.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from flow_consensus.etcd.failures import (
    AnswerTooLarge,
    Compacted,
    NoRoom,
    NotSignedIn,
    Refused,
    Unanswered,
)

T = TypeVar("T")

Request = dict[str, Any]

RANGE, TXN, PUT = "/v3/kv/range", "/v3/kv/txn", "/v3/kv/put"
COMPACTION = "/v3/kv/compaction"
WATCH, AUTHENTICATE = "/v3/watch", "/v3/auth/authenticate"
GRANT, KEEP_ALIVE, REVOKE = "/v3/lease/grant", "/v3/lease/keepalive", "/v3/lease/revoke"


class Header(Struct, frozen=True):
    """Who answers, and how far it was then."""

    cluster_id: int = 0
    member_id: int = 0
    revision: int = 0
    raft_term: int = 0


class KeyValue(Struct, frozen=True):
    key: bytes = b""
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    lease: int = 0


class RangeAnswer(Struct, frozen=True):
    header: Header = Header()
    kvs: list[KeyValue] = field(default_factory=list)
    more: bool = False
    count: int = 0


class Response(Struct, frozen=True):
    """Of one operation of a transaction."""

    response_range: RangeAnswer | None = None


class TxnAnswer(Struct, frozen=True):
    header: Header = Header()
    succeeded: bool = False
    responses: list[Response] = field(default_factory=list)

    def found(self, number: int) -> KeyValue | None:
        """What the range that is the operation of this number found, if it found one."""
        try:
            answer = self.responses[number].response_range
        except IndexError:
            answer = None
        if answer is None:
            raise Unanswered(f"the answer to a transaction lacks its part {number}")
        return answer.kvs[0] if answer.kvs else None


class Plain(Struct, frozen=True):
    """An answer of which nothing but its header counts."""

    header: Header = Header()


class Token(Struct, frozen=True):
    token: str
    header: Header = Header()


class Lease(Struct, frozen=True):
    header: Header = Header()
    ID: int = 0
    TTL: int = 0
    error: str = ""


class Event(Struct, frozen=True):
    kv: KeyValue = KeyValue()
    type: str = "PUT"


class WatchAnswer(Struct, frozen=True):
    header: Header = Header()
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: list[Event] = field(default_factory=list)


class Status(Struct, frozen=True):
    """An error of gRPC, as the gateway tells it."""

    message: str = ""
    error: str = ""
    code: int | None = None
    grpc_code: int | None = None
    http_code: int | None = None


class Streamed(Struct, frozen=True):
    """One line of a stream."""

    result: msgspec.Raw = msgspec.Raw()
    error: Status | None = None


# ---- requests


def get(key: bytes) -> Request:
    """One key, linearizable."""
    return {"key": key}


def get_all(
    first: bytes,
    end: bytes,
    *,
    limit: int = 0,
    descending: bool = False,
    keys_only: bool = False,
) -> Request:
    """Keys from the first on, before the end."""
    request: Request = {"key": first, "range_end": end, "limit": limit, "keys_only": keys_only}
    if descending:
        request |= {"sort_order": "DESCEND", "sort_target": "KEY"}
    return request


def unchanged(key: bytes, mod_revision: int) -> Request:
    """A condition: it was last changed then; 0: it is not there."""
    return {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": mod_revision}


def holds(key: bytes, value: bytes) -> Request:
    """A condition: it has this value."""
    return {"key": key, "target": "VALUE", "result": "EQUAL", "value": value}


def put(key: bytes, value: bytes, *, lease: int = 0) -> Request:
    return {"request_put": {"key": key, "value": value, "lease": lease}}


def remove(first: bytes, end: bytes) -> Request:
    return {"request_delete_range": {"key": first, "range_end": end}}


def look(key: bytes) -> Request:
    return {"request_range": {"key": key}}


def txn(conditions: list[Request], then: list[Request], otherwise: list[Request]) -> Request:
    return {"compare": conditions, "success": then, "failure": otherwise}


def watch(first: bytes, end: bytes, revision: int) -> Request:
    """What is put in a range from a revision on; large answers in pieces."""
    return {
        "create_request": {
            "key": first,
            "range_end": end,
            "start_revision": revision,
            "filters": ["NODELETE"],
            "fragment": True,
        }
    }


# ---- answers


def decode(body: bytes, type_: type[T]) -> T:
    """An answer. Raises Unanswered for what is none."""
    try:
        return msgspec.json.decode(body, type=type_, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unanswered(f"what came is no answer of etcd: {error}") from None


def decode_line(line: bytes, type_: type[T]) -> T:
    """One line of a stream. Raises as `failure` says for an error in it."""
    streamed = decode(line, Streamed)
    if streamed.error is not None:
        code = streamed.error.grpc_code if streamed.error.code is None else streamed.error.code
        raise _failure(code, streamed.error.message or streamed.error.error, 200)
    result = bytes(streamed.result)
    if not result:
        raise Unanswered("what came in a stream is neither a result nor an error")
    return decode(result, type_)


def failure(status: int, body: bytes) -> Exception:
    """What an answer other than 200 means."""
    try:
        told = msgspec.json.decode(body, type=Status, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        hint = ": is this etcd's client URL?" if status in (404, 405) else ""
        return Unanswered(f"HTTP status {status} without a reason{hint}")
    return _failure(told.code, told.message or told.error, status)


def _failure(code: int | None, message: str, status: int) -> Exception:
    """By the codes of gRPC, and etcd's own texts where several things have one code."""
    text = message.removeprefix("etcdserver: ") or f"HTTP status {status}"
    if text == "user name is empty":
        return Refused("it wants a user and a password")
    if "auth token" in text or "auth store is old" in text or code == 16:
        return NotSignedIn(text)
    match code:
        case 3 | 5 | 7 | 9 | 12:
            return Refused(text)
        case 8 if "larger than max" in text:
            return AnswerTooLarge(text)
        case 8 if "space exceeded" in text:
            return NoRoom(text)
        case 11 if "compacted" in text:
            return Compacted(text)
    return Unanswered(text)
