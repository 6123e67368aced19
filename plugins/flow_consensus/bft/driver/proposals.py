"""Proposals: what waits to be asked for, and what was and is not decided."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import trio

from flow_consensus.bft.core import Refused
from flow_consensus.bft.driver.port import Node
from flow_consensus.bft.effects import Settled
from flow_consensus.waiting import Proposal, Waiting
from flowcore.errors import OutcomeUnknown, StateUnavailable
from flowcore.telemetry import Histogram

LARGEST = 32 * 2**20
"""Bytes of one command."""
_SOME = 5
"""Ticks after which it is looked at what was asked for."""
_MANY = 1000


@attrs.define(eq=False)
class _Asked:
    """Commands of one signed request."""

    proposals: list[Proposal]
    since: float


class Proposals:
    """This node's: from the queue into signed requests, and to their end."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._waiting: Waiting[Proposal] = Waiting(node.settings, "to be asked for", LARGEST)
        self._asked: dict[int, _Asked] = {}
        self._lonely_since = math.inf
        self._signed = -math.inf
        """When a request was signed last."""
        self._taken = self._requests = self._largest = 0
        self.took = Histogram()

    @property
    def calm(self) -> int:
        """Ticks until there may be something to do."""
        if self._waiting:
            return 1
        return _SOME if self._asked else _MANY

    def status(self) -> dict[str, Any]:
        return {
            "waiting": len(self._waiting),
            "undecided": sum(len(one.proposals) for one in self._asked.values()),
            "proposals": self._taken,
            "refused": self._waiting.refused,
            "batches": self._requests,
            "largest_batch": self._largest,
            "commit_seconds": attrs.asdict(self.took.durations()),
        }

    async def propose(self, command: bytes) -> int:
        """As `Consensus.propose`."""
        if self._node.stopped:
            raise StateUnavailable(self._node.stopped)
        proposal = Proposal(command)
        self._waiting.put(proposal)
        self._node.wake()
        position = await proposal.decided()
        self.took.record(trio.current_time() - proposal.since)
        return position

    def offer(self) -> None:
        """Have what waits signed and asked for, while a quorum is heard and there is room."""
        settings, engine = self._node.settings, self._node.engine
        while self._waiting and len(self._asked) < settings.in_flight:
            now = trio.current_time()
            # many commands cost one signature; what waits is asked at a tick at the latest
            if self._node.lonely() or (self._asked and now - self._signed < settings.gather):
                return
            self._signed = now
            batch = self._waiting.take(settings.batch, settings.batch_bytes)
            try:
                ticket = engine.propose([one.data for one in batch])
            except Refused as refused:
                if refused.busy:
                    self._waiting.put_back(batch)
                    return
                for one in batch:
                    one.end(_refused(str(refused)))
                continue
            self._asked[ticket] = _Asked(batch, trio.current_time())
            self._requests += 1
            self._taken += len(batch)
            self._largest = max(self._largest, len(batch))

    def settled(self, settled: Settled) -> None:
        """A request is decided, and durable here."""
        asked = self._asked.pop(settled.number, None)
        if asked is None:
            return
        for at, one in enumerate(asked.proposals):
            if settled.position:
                one.position = settled.position + at
                one.end(None)
            else:
                one.end(
                    lambda: OutcomeUnknown(
                        "a state of other nodes has taken the place of the log meanwhile: it may be"
                        " committed"
                    )
                )

    def lost(self, ticket: int) -> None:
        """A request can never be decided any more."""
        asked = self._asked.pop(ticket, None)
        for one in [] if asked is None else asked.proposals:
            one.end(
                lambda: StateUnavailable("this node is no member any more: it is not committed")
            )

    def tick(self) -> None:
        """Refuse what has waited too long for a quorum; give up waiting for what was asked for."""
        now, settings = trio.current_time(), self._node.settings
        lonely = self._node.lonely()
        if not lonely:
            self._lonely_since = math.inf
        elif self._lonely_since == math.inf:
            self._lonely_since = now
        waiting = self._waiting
        while waiting and lonely and now - waiting.first.since > settings.patience:
            waiting.refused += 1
            waiting.pop().end(lambda: StateUnavailable(lonely, retry_after=0.5))
        alone = now - self._lonely_since > settings.patience
        for ticket, asked in list(self._asked.items()):
            waited = now - asked.since
            if waited > settings.outcome or (alone and waited > settings.patience):
                del self._asked[ticket]
                why = lonely or f"it was not decided within {settings.outcome} s"
                for one in asked.proposals:
                    one.end(_unknown(why))
        while waiting and now - waiting.first.since > settings.outcome:
            waiting.refused += 1
            waiting.pop().end(
                lambda: StateUnavailable(
                    "what was asked before it is not decided: it was not asked for", retry_after=1.0
                )
            )

    def stop(self, unknown: str) -> None:
        """Nothing is decided here any more."""
        stopped = self._node.stopped
        self._waiting.end(lambda: StateUnavailable(stopped))
        for asked in self._asked.values():
            for one in asked.proposals:
                one.end(_unknown(unknown))
        self._asked.clear()


def _unknown(why: str) -> Callable[[], Exception]:
    return lambda: OutcomeUnknown(f"{why}: it may be committed, now or later")


def _refused(why: str) -> Callable[[], Exception]:
    return lambda: StateUnavailable(why)
