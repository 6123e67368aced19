"""A chain of lines: each holds the hash of the one before it, so that none can be changed, left out or added.

    {"seq":7,"prev":"<hash of line 6>", ... ,"hash":"<hash of all before this member>"}

With a key the hash is an HMAC-SHA256 (RFC 2104), which nobody makes anew without it; else a SHA-256, which
shows accidents, and tampering by those who cannot rewrite the whole. That lines were cut off at the end no
chain shows: compare with the `seq` that the status tells, or that a copy elsewhere has. Sans-IO.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from flowcore.errors import FlowError

GENESIS = "0" * 64
"""The hash before the first line."""
_END = 64 + 2 + 1
"""Bytes of the hash, its closing quote and brace, and the line's end."""
_MEMBER = b',"hash":"'


class Broken(FlowError):
    """A line that is not what was written, or not where it was."""


class _Frame(msgspec.Struct):
    seq: int
    prev: str


_decode = msgspec.json.Decoder(_Frame).decode


@attrs.frozen
class Link:
    """One line, as the next one needs to know it."""

    seq: int
    prev: str
    hash: str


class Chain:
    """Makes lines, one after the other."""

    def __init__(self, key: bytes | None = None, last: Link | None = None) -> None:
        self._key = key
        self.seq = last.seq if last is not None else 0
        """The last line's number; 0 before the first."""
        self._last = last.hash if last is not None else GENESIS

    def line(self, record: Mapping[str, Any]) -> bytes:
        """The next line, its end included. `record` is plain data without `seq`, `prev` and `hash`."""
        self.seq += 1
        body = msgspec.json.encode({"seq": self.seq, "prev": self._last, **record})[:-1]
        self._last = _hash(body, self._key)
        return b'%b%b%b"}\n' % (body, _MEMBER, self._last.encode())


def link_of(line: bytes, key: bytes | None = None) -> Link:
    """What a line says, if it is whole and its hash is right. Raises Broken."""
    body, tail = line[: -_END - len(_MEMBER)], line[-_END - len(_MEMBER) :]
    if not tail.startswith(_MEMBER) or not line.endswith(b'"}\n'):
        raise Broken("is no whole line of an audit log")
    made = tail[len(_MEMBER) : -3].decode("latin-1")
    if not hmac.compare_digest(made.encode(), _hash(body, key).encode()):
        raise Broken("was changed: its hash is another" + (", or the key is" if key else ""))
    try:
        frame = _decode(body + b"}")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Broken("is no line of an audit log") from None
    return Link(frame.seq, frame.prev, made)


def _hash(body: bytes, key: bytes | None) -> str:
    if key is None:
        return hashlib.sha256(body).hexdigest()
    return hmac.new(key, body, hashlib.sha256).hexdigest()
