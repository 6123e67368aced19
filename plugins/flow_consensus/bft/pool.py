"""Requests that wait to be decided, of every node: what a leader puts into a block, and whether it does.

Requests come from the node that asks, to all voters, so that no leader can drop one quietly: whoever has one
that waits too long passes it on, and then takes no block of the leader's first view that leaves it out.
(Castro and Liskov 1999, section 4.4 and 4.5.2, has the same timer at each replica; here it ends a view by
prevotes for nothing, which Algorithm 1 allows at any time. Later views have no such condition: so what two
honest nodes see otherwise cannot stop both.)
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from flow_consensus.bft.blocks import MOST_BLOCK, Block, Request
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.standing import Standing

_MOST_BYTES = MOST_BLOCK * 3 // 4
"""Bytes of the commands of one block, whatever waits."""


@attrs.define(eq=False)
class Waiting:
    """A request that is here."""

    request: Request
    size: int
    since: int
    """The tick in which it came."""
    passed_on: int = 0
    """How often it was passed on."""


class Pool:
    """What waits, by node, boot and number."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._waiting: dict[str, dict[tuple[int, int], Waiting]] = {}
        self._bytes: dict[str, int] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def has(self, request: Request) -> bool:
        """Whether one of its number is here."""
        held = self._waiting.get(request.origin)
        return held is not None and (request.boot, request.number) in held

    def holds(self, request: Request) -> bool:
        """Whether this very one is here."""
        held = self._waiting.get(request.origin, {}).get((request.boot, request.number))
        return held is not None and held.request == request

    def drop(self, unfit: Callable[[Request], bool]) -> None:
        """Let go of what is not fit to be decided."""
        for origin, held in self._waiting.items():
            for at in [at for at, one in held.items() if unfit(one.request)]:
                self._bytes[origin] -= held.pop(at).size

    def add(self, request: Request, now: int) -> bool:
        """One more; False if there is no room for its node's."""
        held = self._waiting.setdefault(request.origin, {})
        size, kept = request.size, self._bytes.get(request.origin, 0)
        settings = self._settings
        if len(held) >= settings.pool_requests or (held and kept + size > settings.pool_bytes):
            self.dropped += 1
            return False
        held[request.boot, request.number] = Waiting(request, size, now)
        self._bytes[request.origin] = kept + size
        return True

    def next_of(self, origin: str, standing: Standing) -> Waiting | None:
        """The request of a node that a block may take next."""
        held = self._waiting.get(origin)
        if not held:
            return None
        boot, number = standing.counters.get(origin, (-1, 0))
        found = held.get((boot, number + 1))
        if found is not None:
            return found
        later = [at for at in held if at[0] > boot and at[1] == 1]
        return held[min(later)] if later else None

    def ready(self, standing: Standing) -> bool:
        """Whether there is anything that a block may take."""
        members = standing.epoch.keys
        return any(
            origin in members and self.next_of(origin, standing) is not None
            for origin in self._waiting
        )

    def take(self, standing: Standing) -> list[Request]:
        """What a block takes: by turns of each node, whoever waits longest first.

        One of each goes in however many there are, or a full block would leave out what others wait for.
        """
        settings = self._settings
        firsts = [
            (one.since, origin)
            for origin in self._waiting
            if origin in standing.epoch.keys and (one := self.next_of(origin, standing)) is not None
        ]
        taken: list[Request] = []
        entries = size = 0
        counters = dict(standing.counters)
        turn = [origin for _, origin in sorted(firsts)]
        first = True
        while turn:
            again = []
            for origin in turn:
                held = self._waiting[origin]
                boot, number = counters.get(origin, (-1, 0))
                one = held.get((boot, number + 1))
                if one is None and first:
                    one = self.next_of(origin, standing)
                if one is None:
                    continue
                full = (
                    size + one.size > self._most_bytes(standing)
                    if first
                    else entries + len(one.request.commands) > settings.batch_entries
                    or size + one.size > settings.batch_bytes
                )
                if taken and full:
                    continue
                taken.append(one.request)
                entries += len(one.request.commands)
                size += one.size
                counters[origin] = (one.request.boot, one.request.number)
                again.append(origin)
            turn, first = again, False
        return taken

    def _most_bytes(self, standing: Standing) -> int:
        """Bytes of a block that has one request of each node."""
        return min(_MOST_BYTES, self._settings.batch_bytes * len(standing.epoch.members))

    def settle(self, standing: Standing) -> None:
        """More is decided: let go of what is, and of what can never be."""
        for origin, held in list(self._waiting.items()):
            for at in [one for one in held if standing.passed(origin, *one)]:
                self._bytes[origin] -= held.pop(at).size
            if not held:
                del self._waiting[origin]
                del self._bytes[origin]

    def overdue(self, standing: Standing, now: int, ticks: int) -> list[Waiting]:
        """Those next in turn that have waited for so long."""
        found = []
        for origin in self._waiting:
            if origin in standing.epoch.keys:
                one = self.next_of(origin, standing)
                if one is not None and now - one.since >= ticks:
                    found.append(one)
        return found

    def left_out(self, block: Block, standing: Standing, now: int) -> str:
        """Whose request a block leaves out that has waited too long; "" if nobody's.

        A block of large requests does so for a while longer.
        """
        overdue, most = self._settings.overdue_ticks, self._most_bytes(standing)
        there = {(one.origin, one.boot, one.number) for one in block.requests}
        size = sum(one.size for one in block.requests)
        for one in self.overdue(standing, now, 2 * overdue):
            request = one.request
            if (request.origin, request.boot, request.number) in there:
                continue
            if size + one.size <= most or now - one.since >= 4 * overdue:
                return request.origin
        return ""
