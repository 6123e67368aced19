"""Idempotency keys: the same key and payload has one outcome, however often it is sent.

Follows the IETF draft "The Idempotency-Key HTTP Header Field": another payload under a known key is
refused; a key that is being worked on is joined or refused; else the stored outcome is given again, result
or error. Refusals before the work began are not stored. Sans-IO; time is given.

What is promised is that the work is never done twice under one key while the key is known. So a call whose
outcome is unknown stays unknown, unless its tool may be repeated; and a result too large to be kept makes a
key that says so, not a key that is free.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import attrs
import msgspec

from flowcore.envelope import Envelope, Owner, Reply
from flowcore.errors import (
    CallCancelled,
    CallError,
    DeadlineExceeded,
    IdempotencyConflict,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
    StillRunning,
    fresh,
)

META_KEY = "io.flowcore/idempotency-key"
"""The member of `_meta` that carries a request's key."""

MAX_KEY = 255

_UNKNOWN = (OutcomeUnknown, DeadlineExceeded, CallCancelled)
"""Errors after which nobody can tell whether the work was done."""


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


Key = tuple[Owner, str, str]
"""Whose it is, the agent it is for, and the key as it came."""


@attrs.define(eq=False)
class Reservation:
    """One key: reserved when its request begins, settled with its outcome."""

    key: Key
    fingerprint: bytes
    since: float
    settled: bool = False
    reply: Reply | None = None
    error: CallError | None = None
    waiters: set[Callable[[], None]] = attrs.field(factory=set)
    """What is called once, when it is settled."""

    def outcome(self) -> Reply:
        """The stored result; raises the stored error. Only once it is settled."""
        if self.error is not None:
            raise fresh(self.error)
        assert self.reply is not None
        return self.reply

    @property
    def size(self) -> int:
        """Bytes its result takes."""
        return len(memoryview(self.reply.result)) if self.reply is not None else 0

    @property
    def unknown(self) -> bool:
        """Whether nobody can tell if its work was done."""
        return isinstance(self.error, _UNKNOWN)


@attrs.define(eq=False)
class _Owned:
    """The keys of one principal."""

    running: int = 0
    settled: OrderedDict[Key, Reservation] = attrs.field(factory=OrderedDict)
    results: OrderedDict[Key, Reservation] = attrs.field(factory=OrderedDict)
    """Those of the settled whose result is kept, oldest first."""
    bytes: int = 0
    """Bytes of these results."""

    def __len__(self) -> int:
        return self.running + len(self.settled)


@attrs.frozen(kw_only=True)
class KeyStatistics:
    """The idempotency keys that are known now, and what was refused since the flow opened."""

    running: int
    kept: int
    kept_bytes: int
    """Bytes that the kept results take."""
    refused: int
    """For want of room: too many keys were being worked on, of one principal or of all."""


class Keys:
    """The keys of one node. A key belongs to a principal (its scheme and name) and an agent.

    Outcomes are kept `keep` seconds, for at most `most` keys, `each` of one principal, and results of at
    most `most_bytes` bytes in all: beyond that the principal that keeps the most lets its oldest results go,
    but not their keys. A new key takes the place of its own principal's oldest before anybody else's.
    """

    def __init__(
        self,
        *,
        join: bool,
        keep: float,
        most: int,
        each: int | None = None,
        most_bytes: int = 64 << 20,
    ) -> None:
        self.bound(join=join, keep=keep, most=most, each=each, most_bytes=most_bytes)
        self._running: dict[Key, Reservation] = {}
        self._settled: OrderedDict[Key, Reservation] = OrderedDict()
        self._owned: dict[Owner, _Owned] = {}
        self._bytes = 0
        self._refused = 0

    def bound(
        self, *, join: bool, keep: float, most: int, each: int | None, most_bytes: int
    ) -> None:
        """Keep to these bounds from now on."""
        self._join = join
        self._keep = keep
        self._most = most
        self._each = most if each is None else min(each, most)
        self._most_bytes = most_bytes

    def __len__(self) -> int:
        return len(self._running) + len(self._settled)

    @property
    def bytes(self) -> int:
        """Bytes that the kept results take."""
        return self._bytes

    def reserve(
        self, envelope: Envelope, now: float, *, repeatable: bool = False
    ) -> tuple[Reservation, bool]:
        """The reservation of a request's key, and whether the caller is to do the work.

        If it is not: the reservation is settled, or is to be waited for. `repeatable` work whose outcome is
        unknown is done again. Raises InvalidRequest for a key that is none, IdempotencyConflict for another
        payload, StillRunning where running keys are refused, Overloaded if every key there is room for, in
        all or for this principal, is being worked on.
        """
        text = envelope.idempotency_key
        if not text or len(text) > MAX_KEY or not text.isprintable():
            raise InvalidRequest(f"an idempotency key has 1 to {MAX_KEY} printable characters")
        self._forget(now)
        owner = envelope.principal.owner
        key = (owner, envelope.agent, text)
        mark = fingerprint(envelope)
        known = self._running.get(key) or self._settled.get(key)
        if known is not None:
            if known.fingerprint != mark:
                raise IdempotencyConflict("this idempotency key came with another request before")
            if not known.settled:
                if not self._join:
                    raise StillRunning("the request with this idempotency key is still running")
                return known, False
            if not (repeatable and known.unknown):
                return known, False
            self._drop(known)
        owned = self._make_room(owner)
        owned.running += 1
        known = self._running[key] = Reservation(key, mark, now)
        return known, True

    def settle(
        self,
        reservation: Reservation,
        now: float,
        *,
        reply: Reply | None = None,
        error: CallError | None = None,
        keep: bool = True,
    ) -> None:
        """Store the outcome, and call who waits. What never began is no outcome: the key is free again, as it
        is without `keep`, where somebody else knows the outcome."""
        key = reservation.key
        del self._running[key]
        owned = self._owned[key[0]]
        owned.running -= 1
        reservation.settled = True
        reservation.since = now
        reservation.error = None if error is None else fresh(error)
        reservation.reply = None if reply is None else Reply(reply.result.copy(), reply.modern)
        if keep and (error is None or error.began):
            self._settled[key] = owned.settled[key] = reservation
            if reply is not None:
                owned.results[key] = reservation
                owned.bytes += reservation.size
                self._bytes += reservation.size
                self._shrink()
        elif not owned:
            del self._owned[key[0]]
        waiters = tuple(reservation.waiters)
        reservation.waiters.clear()
        for wake in waiters:
            wake()

    def _forget(self, now: float) -> None:
        while self._settled:
            oldest = next(iter(self._settled.values()))
            if now - oldest.since <= self._keep:
                return
            self._drop(oldest)

    def _make_room(self, owner: Owner) -> _Owned:
        """One key more must not be one too many; the keys of its principal."""
        owned = self._owned.get(owner) or _Owned()
        while len(owned) >= self._each:
            if not owned.settled:
                raise self._full(f"{self._each} requests with idempotency keys of {owner[1]!r}")
            self._drop(next(iter(owned.settled.values())))
        while len(self) >= self._most:
            if not self._settled:
                raise self._full(f"{self._most} requests with idempotency keys")
            self._drop(next(iter(self._settled.values())))
        return self._owned.setdefault(owner, owned)

    def _full(self, what: str) -> Overloaded:
        self._refused += 1
        return Overloaded(f"{what} are running, which is the limit", retry_after=1.0)

    def _drop(self, reservation: Reservation) -> None:
        key = reservation.key
        del self._settled[key]
        owned = self._owned[key[0]]
        del owned.settled[key]
        if owned.results.pop(key, None) is not None:
            owned.bytes -= reservation.size
            self._bytes -= reservation.size
        if not owned:
            del self._owned[key[0]]

    def statistics(self) -> KeyStatistics:
        """The keys as they are now."""
        return KeyStatistics(
            running=len(self._running),
            kept=len(self._settled),
            kept_bytes=self._bytes,
            refused=self._refused,
        )

    def _shrink(self) -> None:
        while self._bytes > self._most_bytes:
            most = max(self._owned.values(), key=lambda owned: owned.bytes)
            _, oldest = most.results.popitem(last=False)
            most.bytes -= oldest.size
            self._bytes -= oldest.size
            oldest.reply = None
            oldest.error = OutcomeUnknown(
                "the request with this idempotency key was done; its result is no longer kept",
                data={"done": True},
            )
