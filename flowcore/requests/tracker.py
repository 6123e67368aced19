"""The tracker: every request from acceptance to exactly one outcome. Sans-IO; time is given."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterator

import attrs

from flowcore.envelope import Envelope
from flowcore.errors import InvalidRequest, Overloaded
from flowcore.telemetry import Durations, Histogram


class Outcome(enum.Enum):
    """How a request ended. There is exactly one outcome, and none is ever changed."""

    RESULT = "result"
    ERROR = "error"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@attrs.define(eq=False)
class Entry:
    """One request as the tracker knows it."""

    id: str
    agent: str
    method: str
    name: str
    principal: str
    accepted: float
    deadline: float
    outcome: Outcome | None = None
    error: str = ""
    ended: float = 0.0


@attrs.frozen(kw_only=True)
class RequestStatistics:
    """Counts since the flow opened."""

    accepted: int
    running: int
    results: int
    errors: int
    cancelled: int
    expired: int
    refused: int
    late: int
    """Outcomes that came after the one that counted, and were dropped."""
    retries: int
    replayed: int
    """Requests answered with the stored outcome of their idempotency key."""
    kept: int
    durations: Durations


class Tracker:
    """Every request under way, and the outcomes of those that ended lately."""

    def __init__(self, *, limit: int, keep: float, most: int) -> None:
        self._limit = limit
        self._keep = keep
        self._most = most
        self._running: dict[str, Entry] = {}
        self._ended: OrderedDict[str, Entry] = OrderedDict()
        self._counts = dict.fromkeys(Outcome, 0)
        self._durations = Histogram()
        self._accepted = 0
        self._refused = 0
        self._late = 0
        self.retries = 0
        self.replayed = 0

    @property
    def running(self) -> int:
        """Requests under way."""
        return len(self._running)

    def track(self, envelope: Envelope, now: float) -> Entry:
        """Accept a request.

        Raises InvalidRequest for an id that is known already, Overloaded if too many are under way.
        """
        id_ = envelope.id
        if id_ in self._running or id_ in self._ended:
            self._refused += 1
            raise InvalidRequest(f"a request with the id {id_!r} is known already")
        if len(self._running) >= self._limit:
            self._refused += 1
            raise Overloaded(
                f"the node is full: {self._limit} requests are waiting or running",
                retry_after=self._durations.mean or 1.0,
            )
        self._accepted += 1
        entry = Entry(
            id_,
            envelope.agent,
            envelope.method,
            envelope.name,
            envelope.principal.name,
            now,
            envelope.deadline,
        )
        self._running[id_] = entry
        return entry

    def refuse(self) -> None:
        """Count a request that was turned away before it was accepted."""
        self._refused += 1

    def resolve(self, entry: Entry, outcome: Outcome, now: float, error: str = "") -> bool:
        """Record the outcome; False, and counted as late, if there is one already."""
        if entry.outcome is not None:
            self._late += 1
            return False
        entry.outcome = outcome
        entry.error = error
        entry.ended = now
        del self._running[entry.id]
        self._counts[outcome] += 1
        self._durations.record(now - entry.accepted)
        if self._most:
            self._ended[entry.id] = entry
            self._forget(now)
        return True

    def late(self) -> None:
        """Count a reply that nobody waits for any more."""
        self._late += 1

    def expire(self, now: float) -> list[Entry]:
        """Give every running request whose deadline has passed its outcome; which they were."""
        passed = [entry for entry in self._running.values() if entry.deadline <= now]
        for entry in passed:
            self.resolve(entry, Outcome.EXPIRED, now)
        return passed

    def _forget(self, now: float) -> None:
        ended = self._ended
        while ended:
            oldest = next(iter(ended.values()))
            if len(ended) <= self._most and now - oldest.ended <= self._keep:
                return
            del ended[oldest.id]

    def find(self, id_: str, now: float) -> Entry | None:
        """A request by id, under way or ended lately."""
        self._forget(now)
        return self._running.get(id_) or self._ended.get(id_)

    def entries(self) -> Iterator[Entry]:
        """Requests under way, oldest first, then those that ended, latest first."""
        yield from self._running.values()
        yield from reversed(self._ended.values())

    def statistics(self) -> RequestStatistics:
        """Counts since the flow opened."""
        return RequestStatistics(
            accepted=self._accepted,
            running=len(self._running),
            results=self._counts[Outcome.RESULT],
            errors=self._counts[Outcome.ERROR],
            cancelled=self._counts[Outcome.CANCELLED],
            expired=self._counts[Outcome.EXPIRED],
            refused=self._refused,
            late=self._late,
            retries=self.retries,
            replayed=self.replayed,
            kept=len(self._ended),
            durations=self._durations.durations(),
        )
