"""The log, from the leader to everybody: Ongaro's dissertation, sections 3.5, 3.6 and 10.2."""

from __future__ import annotations

from flow_consensus.raft.core import TAKEN, Reason, Role
from flow_consensus.raft.effects import Fetch
from flow_consensus.raft.entries import NOTHING, is_membership, known, membership_of
from flow_consensus.raft.log import size_of
from flow_consensus.raft.membership import BadMembership, Membership
from flow_consensus.raft.messages import Append, AppendAnswer, Commit
from flow_consensus.raft.progress import Phase, Progress
from flow_consensus.raft.quorum import jointly_reached
from flow_consensus.raft.snapshots import Snapshots
from flowcore.state import LogEntry


class Replication(Snapshots):
    """Both sides of it."""

    _work = False
    """There may be something to send to followers; it is made when `ready` asks, for all callers at once."""
    _made: tuple[tuple[int, int, int, int], Append, int] | None = None
    """The last append made, for the next follower that needs the same."""

    # ---- leader

    def _lead(self) -> None:
        """Begin to lead: know nothing of anybody, and commit an entry of this term (sections 3.5, 6.4)."""
        self.progress = {}
        self._made = None
        self._track(self.log.last + 1)
        self._append_own([NOTHING])

    def _track(self, next: int) -> None:  # noqa: A002
        """Have a progress for each member, and for this node; who is new is probed with what is at `next`."""
        settings = self.settings
        names = self.membership.members | {self.name}
        for gone in self.progress.keys() - names:
            del self.progress[gone]
        for name in sorted(names - self.progress.keys()):
            progress = Progress(
                next=next,
                window=settings.window,
                window_bytes=settings.window_bytes,
            )
            progress.active = True  # it has as long as anybody to answer
            self.progress[name] = progress

    def _append_own(self, datas: list[bytes]) -> int:
        """Put entries of this term at the end; gives the position of the first."""
        first, term = self.log.last + 1, self.term
        self.log.append([LogEntry(at, term, data) for at, data in enumerate(datas, start=first)])
        self._work = True
        return first

    def _flush(self) -> None:
        """Send everybody what they need and may be sent."""
        self._work = False
        for to, progress in self.progress.items():
            if to != self.name:
                self._replicate(to, progress)

    def _replicate(self, to: str, progress: Progress) -> None:
        log, settings = self.log, self.settings
        while progress.next <= log.last and not progress.full:
            if progress.next <= log.start:
                self._begin_snapshot(to, progress)
                return
            entries = log.piece(progress.next, settings.batch_entries, settings.batch_bytes)
            if entries is None:
                self._fetch(to, progress)
                break
            self._send_append(to, progress, entries)
        commit = min(log.commit, progress.match)
        if commit > progress.commit_sent and progress.phase is Phase.REPLICATE:
            progress.commit_sent = commit
            self._send(to, Commit(self.term, commit))

    def _fetch(self, to: str, progress: Progress) -> None:
        """Have entries read that are on the disk alone."""
        if not progress.fetching:
            progress.fetching = True
            last = min(self.log.offset, progress.next + self.settings.batch_entries - 1)
            self._fetches.append(Fetch(to, progress.next, last, self.settings.batch_bytes))

    def fetched(self, to: str, entries: list[LogEntry]) -> None:
        """What a `Fetch` asked for, or none if it is compacted meanwhile."""
        progress = self.progress.get(to)
        if progress is None or not progress.fetching:
            return
        progress.fetching = False
        self._work = True
        fits = bool(entries) and entries[0].position == progress.next and not progress.full
        if fits and self.log.term(progress.next - 1) is not None:
            self._send_append(to, progress, entries)

    def _send_append(self, to: str, progress: Progress, entries: list[LogEntry]) -> None:
        previous = progress.next - 1
        log = self.log
        key = (self.term, previous, len(entries), log.commit)
        if self._made is not None and self._made[0] == key:
            _, message, size = self._made
        else:
            term = log.term(previous)
            if term is None:
                raise AssertionError(f"{to} is sent what follows {previous}, which is compacted")
            message = Append(self.term, previous, term, log.commit, entries)
            size = size_of(entries)
            self._made = (key, message, size)
        last = previous + len(entries)
        progress.sent(last, size)
        progress.commit_sent = max(progress.commit_sent, min(last, log.commit))
        self._send(to, message)

    def _ask_whether_lost(self, to: str, progress: Progress) -> None:
        """A follower that is there has not answered appends: one without entries shows what it lacks."""
        if progress.flying and (progress.full or progress.next > self.log.last):
            previous = progress.next - 1
            term = self.log.term(previous)
            if term is None:
                progress.probe()  # it is compacted meanwhile: a snapshot, then
            else:
                self._send(to, Append(self.term, previous, term, self.log.commit, []))

    def report_unreachable(self, to: str) -> None:
        """Tell that what was sent to a node did not get there: it is probed from now on."""
        progress = self.progress.get(to)
        if progress is not None and progress.phase is Phase.REPLICATE and to != self.name:
            progress.probe()

    def _on_append_answer(self, sender: str, message: AppendAnswer) -> str:
        progress = self.progress.get(sender)
        if self.role is not Role.LEADER or progress is None:
            return self._refuse(Reason.NOT_LEADING)
        if message.match > self.log.last:
            return self._refuse(
                Reason.IMPOSSIBLE,
                f"an answer for {message.match}, and the log ends at {self.log.last}",
            )
        progress.active = True
        if message.rejected:
            hint = self.log.terms.not_after(message.hint, message.hint_term)
            if not progress.rejected(message.match, hint):
                return self._refuse(Reason.LATE)
            self._work = True
            return TAKEN
        news = progress.matched(message.match)
        if progress.phase is Phase.PROBE or (
            progress.phase is Phase.SNAPSHOT and progress.match >= self.log.start and news
        ):
            progress.replicate()
            news = True
        elif progress.phase is Phase.SNAPSHOT and 0 < progress.snapshot <= progress.match:
            progress.probe()  # it has taken the snapshot, and what follows that is compacted: another
            news = True
        if news:
            self._work = True
            self._advance()
            self._caught_up(sender, progress)
        return TAKEN

    def _caught_up(self, name: str, progress: Progress) -> None:
        """A follower has got further."""

    def _advance(self) -> None:
        """Commit what majorities have stored, up to an entry of this term (section 3.6.2, figure 3.7)."""
        membership = self.membership
        matches = {name: one.match for name, one in self.progress.items()}
        position = jointly_reached(matches, membership.voters, membership.outgoing)
        if position > self.log.commit and self.log.term(position) == self.term:
            self.log.commit_to(position)
            self._work = True
            self._committed()

    def _committed(self) -> None:
        """More is committed, and this node leads."""

    # ---- follower

    def _on_append(self, sender: str, message: Append) -> str:
        log = self.log
        entries, last = message.entries, message.previous + len(message.entries)
        before = log.term(message.previous)
        if message.previous < log.commit and before not in (None, message.previous_term):
            return self._refuse_committed(message.previous, message.previous_term)
        if message.previous > log.commit and before != message.previous_term:
            return self._reject(sender, message)
        if message.previous == log.commit and before != message.previous_term:
            return self._refuse_committed(message.previous, message.previous_term)
        if message.previous != log.last:
            new = 0
            while new < len(entries) and self._has(entries[new]):
                new += 1
            entries = entries[new:]
        if entries:
            if entries[0].position <= log.commit:
                return self._refuse_committed(entries[0].position, entries[0].term)
            refused = self._store(entries)
            if refused:
                return refused
        commit = min(message.commit, last)
        if commit > log.commit:
            log.commit_to(commit)
        self._hold(sender, AppendAnswer(self.term, max(last, log.commit)))
        return TAKEN

    def _has(self, entry: LogEntry) -> bool:
        """Whether an entry is in the log, or so old that it is compacted."""
        return entry.position <= self.log.start or self.log.matches(entry.position, entry.term)

    def _store(self, entries: list[LogEntry]) -> str:
        """Put entries into the log, and what they say of the configuration in force."""
        found: list[tuple[int, Membership]] = []
        for entry in entries:
            if not known(entry.data):
                return self._refuse(Reason.UNKNOWN_KIND, f"{entry.position}")
            if is_membership(entry.data):
                try:
                    found.append((entry.position, membership_of(entry.data)))
                except BadMembership as error:
                    return self._refuse(Reason.UNKNOWN_KIND, f"{entry.position}: {error}")
        changed = self.history.truncate(entries[0].position)
        self.log.append(entries)
        for position, membership in found:
            self.history.add(position, membership)
        if changed or found:
            self._membership_changed()
        return TAKEN

    def _reject(self, sender: str, message: Append) -> str:
        """Say up to where the logs may match, so that the leader goes back by terms (page 21)."""
        hint = self.log.terms.not_after(message.previous, message.previous_term)
        term = self.log.term(hint) or 0
        self._send(sender, AppendAnswer(self.term, message.previous, True, hint, term))
        return self._refuse(Reason.NOT_MATCHING, f"{message.previous}")

    def _refuse_committed(self, position: int, term: int) -> str:
        return self._refuse(
            Reason.IMPOSSIBLE, f"an entry {position} of term {term}, and another one is committed"
        )

    def _take_commit(self, commit: int) -> str:
        """What a leader says is committed, of what this node has acknowledged to it."""
        if commit > self.log.last:
            return self._refuse(
                Reason.IMPOSSIBLE, f"{commit} is committed, and the log ends at {self.log.last}"
            )
        if commit > self.log.commit:
            self.log.commit_to(commit)
        return TAKEN
