"""Proposals: what waits to be in the log, what is in it and not yet decided, and what goes to the leader."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import attrs
import trio

from flow_consensus.raft.core import Refused, Role
from flow_consensus.raft.driver.port import Node
from flow_consensus.raft.driver.wire import Forward, ForwardAnswer
from flow_consensus.waiting import Proposal, Waiting
from flowcore.errors import OutcomeUnknown, StateUnavailable
from flowcore.state import LogEntry
from flowcore.telemetry import Histogram

LARGEST = 32 * 2**20
"""Bytes of one command."""
_FORWARDS = 10_000
"""Batches of each follower that a leader remembers, so that one that comes again is not proposed again."""
_ELECTIONS = 3
"""Time-outs in which another leader is usually there."""
_AGAIN = 0.1
"""Seconds until what was sent to the leader without an answer is sent again."""


@attrs.define(eq=False)
class _Proposal(Proposal):
    """A command, and where a leader has placed it."""

    term: int = 0
    orphaned: float = 0.0
    """Since when the leader that placed it leads no more, as far as is known; 0 while it does."""


@attrs.define(eq=False)
class _Sent:
    """A batch on its way to the leader."""

    to: str
    message: Forward
    proposals: list[_Proposal]
    since: float
    again: bool = False
    """It was sent more than once: that one of them was not taken says nothing of the others."""
    lost_leader: float = 0.0
    """Since when its leader leads no more, as far as is known; 0 while it does."""


class Proposals:
    """This node's: from the queue into the log, here or at the leader, and to their end."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._waiting: Waiting[_Proposal] = Waiting(node.settings, "to be proposed", LARGEST)
        self._placed: dict[int, _Proposal] = {}
        """Those that are in the log at a position, if it stays as it is."""
        self._not_before = -math.inf
        """When to send to a leader again that has just not taken something."""
        self._orphans = 0
        """How many of them wait for another leader to decide."""
        self._term = 0
        """The term of the last entry that is committed."""
        self._sent: dict[int, _Sent] = {}
        self._seen: dict[str, OrderedDict[int, ForwardAnswer]] = {}
        self._taken = self._batches = self._forwarded = 0
        self._largest = self._last = 0
        """Commands of the largest batch, and of the last."""
        self.took = Histogram()

    def status(self) -> dict[str, Any]:
        return {
            "waiting": len(self._waiting),
            "undecided": len(self._placed) + sum(len(one.proposals) for one in self._sent.values()),
            "proposals": self._taken,
            "refused": self._waiting.refused,
            "batches": self._batches,
            "largest_batch": self._largest,
            "forwarded": self._forwarded,
            "commit_seconds": attrs.asdict(self.took.durations()),
        }

    @property
    def waiting(self) -> int:
        """How many wait to be in the log, or to be sent to who leads."""
        return len(self._waiting)

    async def propose(self, command: bytes) -> int:
        """As `Consensus.propose`."""
        if self._node.stopped:
            raise StateUnavailable(self._node.stopped)
        proposal = _Proposal(command)
        self._waiting.put(proposal)
        if self._alone:
            self._node.turn_for()
        else:
            self._node.wake()
        position = await proposal.decided()
        self.took.record(trio.current_time() - proposal.since)
        return position

    @property
    def _alone(self) -> bool:
        """Whether what was just put goes alone: nothing is on its way, and the last one went alone."""
        return self._last <= 1 == len(self._waiting) and not (self._placed or self._sent)

    # ---- into the log

    def offer(self) -> None:
        """Put what waits into the log, or send it to who leads."""
        if not self._waiting:
            return
        engine = self._node.engine
        if engine.role is Role.LEADER:
            self._place()
        elif engine.leader and engine.leader != engine.name:
            self._forward(engine.leader)

    def _place(self) -> None:
        settings, engine = self._node.settings, self._node.engine
        while self._waiting:
            batch = self._waiting.take(settings.batch, settings.batch_bytes)
            try:
                first = engine.propose([one.data for one in batch])
            except Refused:
                self._waiting.put_back(batch)  # it waits until there is room, or another leader
                return
            self._note(batch, first, engine.term)

    def _note(self, batch: list[_Proposal], first: int, term: int) -> None:
        for at, one in enumerate(batch, start=first):
            one.position, one.term = at, term
            other = self._placed.get(at)
            if other is None or other.term < term:
                self._placed[at] = one
            else:
                one, other = other, one  # the answer of an earlier leader came late
            if other is not None:
                other.end(_unknown("another leader has put another command in its place"))
        self._batches += 1
        self._taken += len(batch)
        self._last = len(batch)
        self._largest = max(self._largest, self._last)

    # ---- to the leader

    def _forward(self, leader: str) -> None:
        settings = self._node.settings
        if trio.current_time() < self._not_before:
            return
        while self._waiting:
            batch = self._waiting.take(settings.batch, settings.batch_bytes)
            term = self._node.engine.term
            message = Forward(self._node.next_number(), term, [one.data for one in batch])
            if not self._node.send_own(leader, message):
                self._waiting.put_back(batch)
                return
            self._forwarded += len(batch)
            self._sent[message.id] = _Sent(leader, message, batch, trio.current_time())

    def forwarded(self, sender: str, message: Forward) -> None:
        """A follower's commands have come; the same ones again are answered as before."""
        seen = self._seen.setdefault(sender, OrderedDict())
        answer = seen.get(message.id)
        engine = self._node.engine
        if answer is None and (engine.role is not Role.LEADER or engine.term != message.term):
            why = f"it does not lead in term {message.term}"
            answer = ForwardAnswer(message.id, 0, False, why)
        elif answer is not None:
            seen.move_to_end(message.id)  # what is still asked for is the last to be forgotten
        else:
            answer = seen[message.id] = self._taken_for(message)
            while len(seen) > _FORWARDS:
                seen.popitem(last=False)
        self._node.send_own(sender, answer)

    def _taken_for(self, message: Forward) -> ForwardAnswer:
        if not all(message.commands):
            return ForwardAnswer(message.id, 0, True, "a command is empty")
        try:
            return ForwardAnswer(message.id, self._node.engine.propose(message.commands), True)
        except Refused as refused:
            return ForwardAnswer(message.id, 0, True, str(refused))

    def answered(self, message: ForwardAnswer) -> None:
        """The leader has put them into the log, or has not taken them."""
        sent = self._sent.pop(message.id, None)
        if sent is None:
            return
        if not message.first:
            self._not_before = trio.current_time() + _AGAIN
            if message.final or not sent.again:
                self._waiting.put_back(
                    sent.proposals
                )  # nothing has happened: they are offered again
            else:
                why = f"{sent.to}: {message.why}, and may have taken it before"
                for one in sent.proposals:
                    one.end(_unknown(why))
            return
        term = sent.message.term
        self._note(sent.proposals, message.first, term)
        if sent.lost_leader:  # it comes late: they wait for another leader to decide
            for one in sent.proposals:
                one.orphaned = sent.lost_leader
            self._orphans += len(sent.proposals)
        given = self._node.engine.log.given
        if message.first <= given:
            self._late([one for one in sent.proposals if one.position <= given])
        if term < self._term:
            self._outlived(given)

    def _late(self, proposals: list[_Proposal]) -> None:
        """What was decided before its answer came: the log tells how."""
        self._node.moved()
        log = self._node.engine.log
        for one in proposals:
            self._placed.pop(one.position, None)
            term = log.term(one.position)
            if term is None:
                one.end(_unknown("it was compacted before its leader had answered"))
            elif term == one.term:
                one.end(None)
            else:
                one.end(_replaced)

    # ---- to their end

    def settle(self, entries: list[LogEntry]) -> bool:
        """These are committed: whose they are, is told. Whether somebody here has waited for one of them."""
        placed, found = self._placed, False
        if placed:
            for entry in entries:
                one = placed.pop(entry.position, None)
                if one is not None:
                    one.end(None if one.term == entry.term else _replaced)
                    found = True
        if entries[-1].term > self._term:
            self._term = entries[-1].term
            self._outlived(entries[-1].position)
        return found

    def _outlived(self, position: int) -> None:
        """What an earlier term placed after an entry of this term can never be committed any more."""
        gone = [
            one
            for one in self._placed.values()
            if one.term < self._term and one.position > position
        ]
        for one in gone:
            del self._placed[one.position]
            one.end(_replaced)

    def skipped(self, position: int) -> None:
        """A snapshot has taken the place of entries: what was among them nobody can tell any more."""
        for one in [one for at, one in self._placed.items() if at <= position]:
            del self._placed[one.position]
            one.end(_unknown("a snapshot has taken the place of the log meanwhile"))

    def leader_changed(self) -> None:
        """Another leader, or none: what the last one placed may be committed by the next, or never."""
        engine = self._node.engine
        now = trio.current_time()
        self._not_before = -math.inf
        self._orphans = 0
        for one in self._placed.values():
            if engine.leader and engine.term == one.term:
                one.orphaned = 0.0  # it was only not heard for a while
            else:
                one.orphaned = one.orphaned or now
                self._orphans += 1
        for sent in self._sent.values():
            if engine.leader == sent.to and engine.term == sent.message.term:
                sent.lost_leader = 0.0
            elif not sent.lost_leader:
                sent.lost_leader = now

    def tick(self) -> None:
        """Refuse what has waited too long without a leader; send again what was not answered."""
        now, patience = trio.current_time(), self._node.settings.patience
        if self._waiting and now - self._waiting.first.since > patience:
            self._refuse_late(now - patience)
        if self._orphans:
            self._give_up(now)
        for number, sent in list(self._sent.items()):
            if sent.lost_leader and self._too_long(sent.lost_leader, sent.proposals[0].since, now):
                del self._sent[number]
                for one in sent.proposals:
                    one.end(_unknown(f"{sent.to} was lost before it had answered"))
            elif not sent.lost_leader and now - sent.since > _AGAIN:
                sent.since, sent.again = now, True
                self._node.send_own(sent.to, sent.message)

    def _too_long(self, orphaned: float, since: float, now: float) -> bool:
        """Whether there was time enough for another leader to decide, and patience for who asks."""
        settings = self._node.settings
        return now - orphaned > _ELECTIONS * settings.election and now - since > settings.patience

    def _give_up(self, now: float) -> None:
        """Those that wait too long for another leader to decide."""
        late = [
            one
            for one in self._placed.values()
            if one.orphaned and self._too_long(one.orphaned, one.since, now)
        ]
        for one in late:
            del self._placed[one.position]
            one.end(_unknown("its leader was lost before it was decided"))
        self._orphans = sum(one.orphaned > 0 for one in self._placed.values())

    def _refuse_late(self, before: float) -> None:
        """Those at the head of the queue for which there was no leader, or no room, in time."""
        engine = self._node.engine
        if engine.role is Role.LEADER:
            why = "too much is not committed yet, or leadership is handed over"
        else:
            voters = sorted(engine.membership.voters)
            why = f"no leader in time: a majority of {voters} cannot be reached"
        leader = engine.leader
        waiting = self._waiting
        while waiting and waiting.first.since <= before:
            waiting.refused += 1
            waiting.pop().end(
                lambda: StateUnavailable(why, data={"leader": leader}, retry_after=0.5)
            )

    def stop(self, unknown: str) -> None:
        """Nothing is decided here any more."""
        stopped = self._node.stopped
        self._waiting.end(lambda: StateUnavailable(stopped))
        sent = [one for batch in self._sent.values() for one in batch.proposals]
        for one in (*self._placed.values(), *sent):
            one.end(_unknown(unknown))
        self._placed.clear()
        self._sent.clear()


def _unknown(why: str) -> Callable[[], Exception]:
    return lambda: OutcomeUnknown(f"{why}: it may be committed, now or later")


def _replaced() -> Exception:
    return StateUnavailable("another leader's command has taken its place: it is not committed")
