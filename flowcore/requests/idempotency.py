"""Idempotency keys: the same key and payload has one outcome, however often it is sent.

Follows the IETF draft "The Idempotency-Key HTTP Header Field": another payload under a known key is
refused; a key that is being worked on is joined or refused; else the stored outcome is given again,
result or error. Refusals before the work began are not stored. Sans-IO; time is given.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import attrs
import msgspec

from flowcore.envelope import Envelope, Reply
from flowcore.errors import CallError, IdempotencyConflict, InvalidRequest, StillRunning

META_KEY = "io.flowcore/idempotency-key"
"""The member of `_meta` that carries a request's key."""

MAX_KEY = 255


def fingerprint(envelope: Envelope) -> bytes:
    """SHA-256 of what a request asks for: its members in order of name, objects in canonical order.

    Numbers count as they are written: 1 and 1.0 are two payloads.
    """
    digest = hashlib.sha256(f"{envelope.method}\n{envelope.name}\n".encode())
    for member in sorted(envelope.params):
        value = msgspec.json.decode(envelope.params[member])
        digest.update(member.encode() + b"\0" + msgspec.json.encode(value, order="deterministic"))
        digest.update(b"\n")
    return digest.digest()


@attrs.define(eq=False)
class Reservation:
    """One key: reserved when its request begins, settled with its outcome."""

    key: tuple[str, str, str]
    fingerprint: bytes
    since: float
    settled: bool = False
    reply: Reply | None = None
    error: CallError | None = None
    waiters: list[object] = attrs.field(factory=list)

    def outcome(self) -> Reply:
        """The stored result; raises the stored error."""
        if self.error is not None:
            raise self.error
        assert self.reply is not None
        return self.reply


class Keys:
    """The keys of one node. A key belongs to a principal and an agent."""

    def __init__(self, *, join: bool, keep: float, most: int) -> None:
        self._join = join
        self._keep = keep
        self._most = most
        self._known: OrderedDict[tuple[str, str, str], Reservation] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def reserve(self, envelope: Envelope, now: float) -> tuple[Reservation, bool]:
        """The reservation of a request's key, and whether the caller is to do the work.

        Not the first with this key: the reservation is settled, or is to be waited for. Raises
        InvalidRequest for a key that is none, IdempotencyConflict for another payload, StillRunning
        where running keys are refused.
        """
        text = envelope.idempotency_key
        if not text or len(text) > MAX_KEY or not text.isprintable():
            raise InvalidRequest(f"an idempotency key has 1 to {MAX_KEY} printable characters")
        self._forget(now)
        key = (envelope.principal.name, envelope.agent, text)
        mark = fingerprint(envelope)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Reservation(key, mark, now)
            return known, True
        if known.fingerprint != mark:
            raise IdempotencyConflict("this idempotency key came with another request before")
        if not known.settled and not self._join:
            raise StillRunning("the request with this idempotency key is still running")
        return known, False

    def settle(
        self,
        reservation: Reservation,
        now: float,
        *,
        reply: Reply | None = None,
        error: CallError | None = None,
    ) -> None:
        """Store the outcome. What never began is not an outcome: the key is free again."""
        reservation.settled = True
        reservation.reply = reply
        reservation.error = error
        reservation.since = now
        if error is not None and not error.began:
            self._known.pop(reservation.key, None)
        else:
            self._known.move_to_end(reservation.key)

    def _forget(self, now: float) -> None:
        for key in list(self._known):
            known = self._known[key]
            old = now - known.since > self._keep
            if not old and len(self._known) < self._most:
                return
            if known.settled:
                del self._known[key]
