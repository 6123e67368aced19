"""What must hold of Raft at every moment: it sees all servers at once, and remembers what they said.

Figure 3.2 of Ongaro's dissertation (election safety, leader append-only, log matching, leader completeness,
state machine safety), and what they stand on: one vote in a term, nothing promised before it is durable,
commits only of what majorities have, and nothing committed that is taken back.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from support.simulation.ends import Broken

MEMBERSHIP = b"\x01"
"""How the data of an entry begins that is a configuration."""


class _Seen:
    """What was last seen of a server in this life."""

    __slots__ = ("commit", "last", "last_term", "leading", "term")

    def __init__(self, commit: int, term: int) -> None:
        self.commit = commit
        self.term = term
        self.leading = False
        self.last = self.last_term = 0


class Oracle:
    """Told of every write, message, vote and entry; raises Broken."""

    def __init__(self) -> None:
        self.servers: dict[str, Any] = {}
        """The last life of each."""
        self.leaders: dict[int, str] = {}
        """By term."""
        self.votes: dict[tuple[str, int], str] = {}
        """By voter and term."""
        self.chain: dict[tuple[int, int], tuple[int, int]] = {(0, 0): (0, 0)}
        """By position and term of an entry: the term of the one before, and a sum of its data."""
        self.holders: dict[tuple[int, int], set[str]] = {}
        """Who has an entry of a position and term durably."""
        self.configurations: dict[tuple[int, int], bytes] = {}
        """By position and term, those that were written; encoded."""
        self.committed: list[tuple[int, int]] = [(0, 0)]
        """By position: the term of the entry, and the lowest term in which somebody knew it as committed."""
        self.applied_at = 0
        self._seen: dict[str, _Seen] = {}
        self._durable_from: dict[str, int] = {}
        """Up to where a server's log was taken from a snapshot or compacted: it holds all of that."""
        self._tops: dict[int, int] = {0: 0}
        """By term in which it was known: the last committed position."""
        self.elections = 0
        self.checked = 0

    # ---- what servers tell

    def born(self, server: Any) -> None:
        """A server has started, from what is on its disk."""
        name, engine, store = server.host.name, server.engine, server.store
        self.servers[name] = server
        self._seen[name] = _Seen(engine.log.commit, engine.term)
        self._durable_from[name] = store.stored.start
        for entry in store.stored.entries:
            self.holders.setdefault((entry.position, entry.term), set()).add(name)
        if engine.log.commit > engine.log.start:
            self._commits(name, engine, engine.log.start)

    def writes(self, server: Any, write: Any) -> None:
        """Entries are about to be written: each goes with the one before it (log matching)."""
        entries = write.entries
        if not entries:
            return
        previous = server.engine.log.term(entries[0].position - 1)
        if previous is None:
            previous = server.store.stored.term(entries[0].position - 1)
        for entry in entries:
            if entry.data[:1] == MEMBERSHIP:
                self.configurations[entry.position, entry.term] = entry.data[1:]
            link = (previous, zlib.crc32(entry.data))
            known = self.chain.setdefault((entry.position, entry.term), link)
            if known != link:
                raise Broken(
                    f"log matching: entry {entry.position} of term {entry.term} on {server.host.name}"
                    f" is {link}, and {known} elsewhere (term before, sum)"
                )
            previous = entry.term

    def wrote(self, server: Any, write: Any) -> None:
        """A write is durable."""
        name = server.host.name
        if write.reset is not None:
            self._durable_from[name] = write.reset[0]
        for entry in write.entries:
            self.holders.setdefault((entry.position, entry.term), set()).add(name)

    def says(self, server: Any, to: str, message: Any) -> None:
        """A message goes out: what it promises must be durable."""
        kind = type(message).__name__
        if kind == "AppendAnswer":
            if not message.rejected:
                self._acknowledges(server, message.match)
        elif kind == "VoteAnswer":
            if message.granted and not message.pre:
                self._votes(server, to, message.term)
        elif kind == "Vote" and not message.pre:
            self._votes(server, server.host.name, message.term)
        elif kind == "TimeoutNow":
            self._hands_over(server, to)

    def _acknowledges(self, server: Any, match: int) -> None:
        durable = server.store.durable
        if match > durable.start and durable.term(match) != server.engine.log.term(match):
            picture = server.store.durable_picture
            if picture is not None and picture.position >= match:
                return
            raise Broken(
                f"durability: {server.host.name} acknowledges {match}, and its disk ends at {durable.last}"
            )

    def _hands_over(self, server: Any, to: str) -> None:
        """Section 3.10: to who has all, unless the disk has failed and nothing better is left."""
        engine = server.engine
        known = engine.progress.get(to)
        if engine.role == "leader" and not engine.unfit and known and known.match < engine.log.last:
            raise Broken(
                f"handing over: {to} is to stand, and has {known.match} of {engine.log.last}"
                f" entries of {server.host.name}"
            )

    def _votes(self, server: Any, candidate: str, term: int) -> None:
        name = server.host.name
        before = self.votes.setdefault((name, term), candidate)
        if before != candidate:
            raise Broken(f"votes: {name} votes for {before} and {candidate} in term {term}")
        promised = _promised(server.store.durable.hard_state)
        if promised != (term, candidate) and promised[0] <= term:
            raise Broken(
                f"durability: {name} votes for {candidate} in term {term}, and its disk says {promised}"
            )

    def applied(self, server: Any, entry: Any) -> None:
        """An entry is applied (state machine safety)."""
        if entry.position >= len(self.committed):
            raise Broken(
                f"state machine safety: {server.host.name} applies {entry.position}, which nobody has"
                " committed"
            )
        if self.committed[entry.position][0] != entry.term:
            raise Broken(
                f"state machine safety: {server.host.name} applies {entry.position} of term {entry.term},"
                f" and the one of term {self.committed[entry.position][0]} is committed"
            )
        known = self.chain.get((entry.position, entry.term))
        if known is None or known[1] != zlib.crc32(entry.data):
            raise Broken(f"{server.host.name} applies what nobody wrote at {entry.position}")
        self.applied_at = max(self.applied_at, entry.position)

    def installed(self, server: Any, info: Any) -> None:
        """A snapshot has taken the place of the state."""
        if info.position >= len(self.committed) or self.committed[info.position][0] != info.term:
            raise Broken(
                f"state machine safety: {server.host.name} takes a snapshot at {info.position} of term"
                f" {info.term}, which is not what is committed there"
            )
        found = server.engine.history.at(info.position)[1].encode()
        if found != info.about:
            raise Broken(
                f"configurations: {server.host.name} takes a snapshot, and not its members"
            )

    # ---- after every step

    def look(self, server: Any) -> None:
        """A server has done something."""
        self.checked += 1
        name, engine = server.host.name, server.engine
        seen, log = self._seen[name], engine.log
        if engine.term != seen.term:
            if engine.term < seen.term:
                raise Broken(f"{name} goes back from term {seen.term} to {engine.term}")
            seen.term = engine.term
            seen.leading = False
        if log.commit != seen.commit:
            if log.commit < seen.commit:
                raise Broken(f"{name} takes back its commit of {seen.commit}: it is {log.commit}")
            self._commits(name, engine, seen.commit)
            seen.commit = log.commit
        self._configured(name, engine)
        if engine.role == "leader":
            self._leads(name, engine, seen)
        else:
            seen.leading = False

    def _leads(self, name: str, engine: Any, seen: _Seen) -> None:
        log = engine.log
        if not seen.leading:
            seen.leading = True
            seen.last, seen.last_term = log.last, log.term(log.last)
            self.elections += 1
            known = self.leaders.setdefault(engine.term, name)
            if known != name:
                raise Broken(f"election safety: {known} and {name} lead in term {engine.term}")
            self._elected(name, engine)
            self._complete(name, engine)
        elif log.last < seen.last or (
            seen.last >= log.start and log.term(seen.last) != seen.last_term
        ):
            raise Broken(f"leader append-only: {name} has changed its log before {seen.last}")
        if log.last != seen.last:
            seen.last, seen.last_term = log.last, log.term(log.last)

    def _elected(self, name: str, engine: Any) -> None:
        """Majorities have voted for it in this term (section 3.4; of a joint configuration both, 4.3)."""
        membership = engine.membership
        for voters in (membership.voters, membership.outgoing):
            gave = sum(self.votes.get((one, engine.term)) == name for one in voters)
            if voters and gave <= len(voters) // 2:
                raise Broken(
                    f"election safety: {name} leads in term {engine.term} with {gave} votes of"
                    f" {sorted(voters)}"
                )

    def _configured(self, name: str, engine: Any) -> None:
        """The last configuration in the log is in force (section 4.1), and changes follow one by one.

        A leader changes nothing before it has committed an entry of its term (raft-dev, 2015); leaving a
        joint configuration is no choice, and whoever does it does the same.
        """
        log, history = engine.log, engine.history
        position = history.position
        if position > log.taken or position == history.at(0)[0]:
            return  # not told of yet; or the oldest one, which a snapshot or the disk has told of
        term = log.term(position)
        if self.configurations.get((position, term)) != history.latest.encode():
            raise Broken(
                f"configurations: {name} goes by {history.latest}, and its log says other at {position}"
            )
        if engine.role == "leader" and term == engine.term and position > log.commit:
            before, replaced = history.at(position - 1)
            if before > log.commit:
                raise Broken(
                    f"configurations: {name} changes at {position}, and {before} is not committed"
                )
            if log.term(log.commit) != term and not replaced.joint:
                raise Broken(
                    f"configurations: {name} changes at {position} before it has committed anything"
                )

    def _complete(self, name: str, engine: Any) -> None:
        """A new leader has everything that was committed in earlier terms (leader completeness)."""
        last = max((top for term, top in self._tops.items() if term < engine.term), default=0)
        if last > engine.log.start and engine.log.term(last) != self.committed[last][0]:
            raise Broken(
                f"leader completeness: {name} leads in term {engine.term} and has not {last} of term"
                f" {self.committed[last][0]}, its log ends at {engine.log.last}"
            )

    def _commits(self, name: str, engine: Any, before: int) -> None:
        log, committed = engine.log, self.committed
        for position in range(max(before, log.start - 1) + 1, log.commit + 1):
            term = log.term(position)
            if position < len(committed):
                if committed[position][0] != term:
                    raise Broken(
                        f"state machine safety: {name} commits {position} of term {term}, and the one of"
                        f" term {committed[position][0]} is committed"
                    )
                continue
            if position != len(committed):
                raise Broken(f"{name} commits {position}, and {len(committed)} is not committed")
            committed.append((term, engine.term))
        top = self._tops.get(engine.term, 0)
        self._tops[engine.term] = max(top, log.commit)
        if engine.role == "leader" and log.commit > log.start:
            self._has_majorities(name, engine, log.commit)

    def _has_majorities(self, name: str, engine: Any, position: int) -> None:
        """What a leader commits, majorities have durably."""
        membership = engine.membership  # the latest, committed or not (section 4.1)
        holders = self.holders.get((position, engine.log.term(position)), set())
        for voters in (membership.voters, membership.outgoing):
            have = sum(
                one in holders or self._durable_from.get(one, 0) >= position for one in voters
            )
            if voters and have <= len(voters) // 2:
                raise Broken(
                    f"durability: {name} commits {position}, and {have} of {sorted(voters)} have it"
                )


def _promised(hard_state: bytes) -> tuple[int, str]:
    """The term and vote that would be there after a crash."""
    if not hard_state:
        return 0, ""
    _, term, vote, *_ = msgspec.msgpack.decode(hard_state)
    return term, vote
