"""The tracker: every request from acceptance to exactly one outcome. Sans-IO; time is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import attrs

from flowcore.entry import MOST_TEXT, Entry, Outcome
from flowcore.envelope import Envelope
from flowcore.errors import InvalidRequest, Overloaded
from flowcore.requests.durations import RequestDurations
from flowcore.telemetry import Durations

MAX_ID = 128
_RESULT = Outcome.RESULT  # looking it up costs on every call


@attrs.frozen(kw_only=True)
class RequestStatistics:
    """Counts since the flow opened."""

    accepted: int
    running: int
    """Accepted and without an outcome yet; some of them may still wait for a worker."""
    results: int
    errors: int
    cancelled: int
    expired: int
    refused: int
    """Turned away before they were accepted."""
    late: int
    """Outcomes that came after the one that counted, and were dropped."""
    retries: int
    replayed: int
    """Requests answered with the stored outcome of their idempotency key."""
    kept: int
    kept_bytes: int
    durations: Durations


class Tracker:
    """Every request under way, and the outcomes of those that ended lately.

    At most `limit` are under way. Outcomes are kept `keep` seconds, at most `most` of them and at most
    `most_bytes` bytes in all.
    """

    def __init__(
        self,
        *,
        limit: int,
        keep: float,
        most: int,
        most_bytes: int = 64 << 20,
        listed: Callable[[str, str, str], bool] = lambda agent, method, name: False,
    ) -> None:
        """`listed` tells which tools have durations of their own: see `RequestDurations`."""
        self.bound(limit=limit, keep=keep, most=most, most_bytes=most_bytes)
        self._running: dict[str, Entry] = {}
        self._ended: dict[str, Entry] = {}
        self._order: deque[Entry] = deque()
        self._bytes = 0
        self.durations = RequestDurations(listed)
        self._seconds = 0.0
        self._accepted = self._refused = self._late = 0
        self._results = self._errors = self._cancelled = self._expired = 0
        self.retries = 0
        self.replayed = 0

    def bound(self, *, limit: int, keep: float, most: int, most_bytes: int) -> None:
        """Keep to these bounds from now on."""
        self._limit = limit
        self._keep = keep
        self._most = most
        self._most_bytes = most_bytes

    @property
    def running(self) -> int:
        """Requests under way."""
        return len(self._running)

    def track(self, envelope: Envelope, now: float) -> Entry:
        """Accept a request.

        Raises InvalidRequest for an id that is none or is known already, Overloaded if too many are under
        way.
        """
        id_ = envelope.id
        if id_ in self._running or id_ in self._ended:
            self._refused += 1
            raise InvalidRequest(f"a request with the id {id_!r} is known already")
        if not 0 < len(id_) <= MAX_ID:
            self._refused += 1
            raise InvalidRequest(f"expected a request id of 1 to {MAX_ID} characters")
        if len(self._running) >= self._limit:
            self._refused += 1
            raise Overloaded(
                f"the node is full: {self._limit} requests are waiting or running",
                retry_after=self._mean or 1.0,
            )
        self._accepted += 1
        entry: Entry | None = envelope.noted
        if entry is None:
            name = envelope.name
            entry = Entry(
                id_,
                envelope.agent,
                envelope.method,
                name if len(name) <= MOST_TEXT else name[:MOST_TEXT],
                envelope.principal.name[:MOST_TEXT],
                now,
                envelope.deadline,
                envelope.edge,
                envelope=envelope,
            )
        else:
            entry.accepted, entry.deadline, entry.envelope = now, envelope.deadline, envelope
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
        entry.envelope = None
        entry.ended = now
        if outcome is _RESULT:
            self._results += 1
            place = 0
        else:
            entry.error = error[:MOST_TEXT]
            if outcome is Outcome.ERROR:
                self._errors += 1
                place = 1
            elif outcome is Outcome.CANCELLED:
                self._cancelled += 1
                place = 2
            else:
                self._expired += 1
                place = 3
        del self._running[entry.id]
        seconds = now - entry.accepted
        self._seconds += seconds
        self.durations.record(entry.agent, entry.method, entry.name, place, seconds)
        self._ended[entry.id] = entry
        self._order.append(entry)
        texts = len(entry.id) + len(entry.name) + len(entry.principal) + len(entry.error)
        entry.size = size = entry.size + texts
        self._bytes += size
        self._forget(now)
        return True

    @property
    def _mean(self) -> float:
        """How long requests took on average; 0 where none has ended."""
        ended = self._results + self._errors + self._cancelled + self._expired
        return self._seconds / ended if ended else 0.0

    def late(self) -> None:
        """Count a reply that nobody waits for any more."""
        self._late += 1

    def expire(self, now: float, grace: float = 0.0) -> list[Entry]:
        """Give every running request whose deadline passed `grace` seconds ago its outcome; which those are.

        The deadline is the one that holds now: it stands still while a person is asked something.
        """
        passed = [
            entry
            for entry in self._running.values()
            if entry.envelope is not None and entry.envelope.until + grace <= now
        ]
        for entry in passed:
            self.resolve(entry, Outcome.EXPIRED, now, "its worker did not stop at the deadline")
        return passed

    def _forget(self, now: float) -> None:
        order = self._order
        too_old = now - self._keep
        while order and (
            order[0].ended < too_old or len(order) > self._most or self._bytes > self._most_bytes
        ):
            oldest = order.popleft()
            self._bytes -= oldest.size
            del self._ended[oldest.id]

    def find(self, id_: str, now: float) -> Entry | None:
        """A request by id, under way or ended lately."""
        self._forget(now)
        return self._running.get(id_) or self._ended.get(id_)

    def entries(self) -> Iterator[Entry]:
        """Requests under way, oldest first, then those that ended, latest first."""
        yield from self._running.values()
        yield from reversed(self._order)

    def statistics(self) -> RequestStatistics:
        """Counts since the flow opened."""
        return RequestStatistics(
            accepted=self._accepted,
            running=len(self._running),
            results=self._results,
            errors=self._errors,
            cancelled=self._cancelled,
            expired=self._expired,
            refused=self._refused,
            late=self._late,
            retries=self.retries,
            replayed=self.replayed,
            kept=len(self._order),
            kept_bytes=self._bytes,
            durations=self.durations.all().durations(),
        )
