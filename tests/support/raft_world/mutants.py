"""Faults planted in copies of the engine, each a text in the place of another: simulation must find them."""

from __future__ import annotations

import attrs

from support.raft_world.build import Build, planted


@attrs.frozen
class Mutant:
    """One fault."""

    name: str
    file: str
    old: str
    new: str
    quick: bool = False
    """Whether some of the first 60 seeds find it."""

    def build(self) -> Build:
        """The engine with it. Raises ValueError if the text is not there once: the engine has changed."""
        return planted(self.name, self.file, self.old, self.new)


MUTANTS = (
    Mutant(
        "a quorum is one too few",
        "quorum.py",
        "    return count // 2 + 1\n",
        "    return max(1, count // 2)\n",
        quick=True,
    ),
    Mutant(
        "votes are not persisted",
        "election.py",
        "        if self.vote != sender:\n            self.vote = sender\n            self._dirty = True\n",
        "        if self.vote != sender:\n            self.vote = sender\n",
        quick=True,
    ),
    Mutant(
        "votes go out before they are durable",
        "election.py",
        "            self._hold(sender, answer)\n",
        "            self._send(sender, answer)\n",
        quick=True,
    ),
    Mutant(
        "asks for votes before its own is durable",
        "election.py",
        "            self._hold(to, message)\n",
        "            self._send(to, message)\n",
        quick=True,
    ),
    Mutant(
        "old terms are counted",
        "replication.py",
        "if position > self.log.commit and self.log.term(position) == self.term:",
        "if position > self.log.commit:",
    ),
    Mutant(
        "previous term is not compared",
        "replication.py",
        "        if message.previous > log.commit and before != message.previous_term:\n",
        "        if message.previous > log.commit and before is None:\n",
        quick=True,
    ),
    Mutant(
        "any log gets a vote",
        "election.py",
        "        if not (free and (newer or same)):\n",
        "        if not free:\n",
        quick=True,
    ),
    Mutant(
        "the longest log gets votes",
        "log.py",
        "(last_term, last) > (self.terms.last_term, self.terms.last)",
        "last > self.terms.last",
    ),
    Mutant(
        "two votes in a term",
        "election.py",
        "        free = self.vote == sender or (not self.vote and not self.leader)\n",
        "        free = True\n",
        quick=True,
    ),
    Mutant(
        "reads without a heartbeat",
        "reads.py",
        "        elif read.leased and self.lease_holds:\n",
        "        elif True:\n",
    ),
    Mutant(
        "a lease holds while leadership goes",
        "reads.py",
        "            and not self._handed_over\n",
        "",
    ),
    Mutant(
        "reads before the first commit",
        "reads.py",
        "        if log.term(log.commit) != self.term:\n            self._early.append(read)",
        "        if False:\n            self._early.append(read)",
    ),
    Mutant(
        "an old snapshot is taken",
        "snapshots.py",
        "        if info.position <= log.commit:\n            return\n",
        "",
    ),
    Mutant(
        "learners decide",
        "quorum.py",
        "    have = sorted([values.get(one, 0) for one in voters])\n",
        "    have = sorted(values.values())[-count:] or [0] * count\n",
    ),
    Mutant(
        "old majority does not count",
        "quorum.py",
        "    return min(mine, reached(values, outgoing)) if outgoing else mine\n",
        "    return mine\n",
    ),
    Mutant(
        "old voters do not vote",
        "quorum.py",
        "    if not outgoing:\n        return mine\n    theirs",
        "    if outgoing is not None:\n        return mine\n    theirs",
    ),
    Mutant(
        "entries are applied twice",
        "log.py",
        "        self.given = last\n        return entries\n",
        "        self.given = max(self.given, last - (last % 7 == 0))\n        return entries\n",
        quick=True,
    ),
    Mutant(
        "acknowledged before the fsync",
        "replication.py",
        "        self._hold(sender, AppendAnswer(self.term, max(last, log.commit)))\n",
        "        self._send(sender, AppendAnswer(self.term, max(last, log.commit)))\n",
        quick=True,
    ),
    Mutant(
        "a leader counts its log before the fsync",
        "election.py",
        "own.matched(self.log.durable)",
        "own.matched(self.log.last)",
    ),
    Mutant(
        "a conflicting tail is kept",
        "replication.py",
        "            while new < len(entries) and self._has(entries[new]):\n",
        "            while new < len(entries) and entries[new].position <= log.last:\n",
        quick=True,
    ),
    Mutant(
        "matching entries are cut off again",
        "replication.py",
        "        if message.previous != log.last:\n",
        "        if False:\n",
        quick=True,
    ),
    Mutant(
        "heartbeats tell all of the commit",
        "reads.py",
        "                self._send(to, Heartbeat(self.term, progress.match, self.round))\n",
        "                self._send(to, Heartbeat(self.term, commit, self.round))\n",
        quick=True,
    ),
    Mutant(
        "several changes at a time",
        "changes.py",
        "        if self.history.position > self.log.commit:\n"
        '            raise Refused("a change is under way", leader=self.leader, busy=True)\n',
        "",
    ),
    Mutant(
        "changes before an entry of the term",
        "changes.py",
        "        if self.log.term(self.log.commit) != self.term:\n"
        '            raise Refused("nothing of this term is committed yet", leader=self.leader, busy=True)\n',
        "",
    ),
    Mutant(
        "a replaced configuration stays",
        "replication.py",
        "        changed = self.history.truncate(entries[0].position)\n",
        "        changed = False\n",
    ),
    Mutant(
        "what was sent is never sent again",
        "replication.py",
        "        if progress.flying and (progress.full or progress.next > self.log.last):\n",
        "        if False:\n",
        quick=True,
    ),
    Mutant(
        "a lost piece is never sent again",
        "snapshots.py",
        "        if self.ticks - progress.chunk_tick >= self.settings.election_ticks:\n",
        "        if False:\n",
    ),
    Mutant(
        "what is compacted while it flies",
        "replication.py",
        "                progress.probe()  # it is compacted meanwhile: a snapshot, then\n",
        "                pass\n",
    ),
    Mutant(
        "the configuration is not in a snapshot",
        "snapshots.py",
        "        self.history.reset(info.position, Membership.decode(info.about))\n",
        "        self.history.reset(info.position, self.history.latest)\n",
    ),
    Mutant(
        "a handover does not wait",
        "election.py",
        "        if name == self._transferee and progress.match == self.log.last:\n",
        "        if name == self._transferee:\n",
    ),
    Mutant(
        "a snapshot that was taken is sent for ever",
        "replication.py",
        "        elif progress.phase is Phase.SNAPSHOT and 0 < progress.snapshot <= progress.match:\n",
        "        elif False:\n",
    ),
    Mutant(
        "a leader that is not known is not told",
        "engine.py",
        "            self._send(sender, HeartbeatAnswer(self.term, 0))\n",
        "            if sender in self.membership.members:\n"
        "                self._send(sender, HeartbeatAnswer(self.term, 0))\n",
    ),
    Mutant(
        "who begins a snapshot again is not followed",
        "snapshots.py",
        "            and incoming.expected > 1\n",
        "            and False\n",
    ),
)
