"""Snapshots for who is too far behind, in pieces (Ongaro's dissertation, section 5.1, figure 5.3).

The leader sends a piece, waits for its answer, and sends the next; a piece that is lost is sent again. The
follower stores the pieces beside its own snapshot, and takes the new one when it is whole. What is in a
snapshot the engine does not know: pieces come from, and go to, whoever drives it.
"""

from __future__ import annotations

import attrs

from flow_consensus.raft.core import TAKEN, Core, Reason, Role
from flow_consensus.raft.effects import ChunkStored, ChunkWanted
from flow_consensus.raft.membership import BadMembership, Membership
from flow_consensus.raft.messages import AppendAnswer, Chunk, ChunkAnswer
from flow_consensus.raft.progress import Phase, Progress
from flowcore.state import SnapshotInfo


@attrs.define(eq=False)
class _Incoming:
    """A snapshot that is being received."""

    leader: str
    info: SnapshotInfo
    expected: int = 0


class Snapshots(Core):
    """Both sides of sending one."""

    _incoming: _Incoming | None = None

    # ---- leader

    def _begin_snapshot(self, to: str, progress: Progress) -> None:
        """Ask for the first piece of one."""
        progress.send_snapshot()
        self._want(to, progress, 0)

    def _want(self, to: str, progress: Progress, number: int) -> None:
        progress.chunk = None
        progress.wanting = True
        self._wanted.append(ChunkWanted(to, number, self.log.start))

    def chunk_read(
        self, to: str, info: SnapshotInfo, number: int, data: bytes, *, last: bool
    ) -> None:
        """A piece that was wanted. One of a snapshot that is too old by now is asked for anew, in time."""
        progress = self.progress.get(to)
        if progress is None or progress.phase is not Phase.SNAPSHOT or not progress.wanting:
            return
        if info.position < self.log.start or (number > 0 and info.position != progress.snapshot):
            self.report_snapshot(to, ok=False)
            return
        progress.wanting = False
        progress.snapshot = info.position
        progress.chunk = Chunk(self.term, info.position, info.term, info.about, number, data, last)
        self._send_chunk(to, progress)

    def _send_chunk(self, to: str, progress: Progress) -> None:
        if progress.chunk is not None:
            progress.chunk_tick = self.ticks
            self._send(to, progress.chunk)

    def _resend_chunk(self, to: str, progress: Progress) -> None:
        """The follower is there and has not answered for long: the piece, or the answer, is lost."""
        if self.ticks - progress.chunk_tick >= self.settings.election_ticks:
            self._send_chunk(to, progress)

    def report_snapshot(self, to: str, *, ok: bool) -> None:
        """Tell that a snapshot for a follower could not be read (`ok` False): it is tried again in time."""
        progress = self.progress.get(to)
        if progress is not None and progress.phase is Phase.SNAPSHOT and not ok:
            progress.probe()
            progress.paused = True

    def _on_chunk_answer(self, sender: str, message: ChunkAnswer) -> str:
        progress = self.progress.get(sender)
        if self.role is not Role.LEADER or progress is None:
            return self._refuse(Reason.NOT_LEADING)
        progress.active = True
        chunk = progress.chunk
        if progress.phase is not Phase.SNAPSHOT or chunk is None:
            return self._refuse(Reason.LATE)
        if message.position != chunk.position or message.number == chunk.number:
            return self._refuse(Reason.LATE)
        if message.number == chunk.number + 1:
            if chunk.last:
                return self._refuse(Reason.IMPOSSIBLE, "a piece after the last is expected")
            self._want(sender, progress, message.number)
        else:
            self._want(sender, progress, 0)  # it has lost what it had
        return TAKEN

    # ---- follower

    def _on_chunk(self, sender: str, message: Chunk) -> str:
        if message.position <= self.log.commit:
            self._hold(sender, AppendAnswer(self.term, self.log.commit))
            return TAKEN
        try:
            Membership.decode(message.about)
        except BadMembership as error:
            return self._refuse(Reason.IMPOSSIBLE, str(error))
        info = SnapshotInfo(
            position=message.position, term=message.position_term, about=message.about
        )
        incoming = self._incoming
        # the leader has forgotten how far it was, and can only begin again; where the second piece is
        # expected, only the answer to the first is lost
        again = (
            message.number == 0
            and self._storing is None
            and incoming is not None
            and incoming.expected > 1
        )
        if incoming is None or incoming.leader != sender or incoming.info != info or again:
            if self._storing is not None and self._storing.last:
                return self._refuse(Reason.LATE, "another snapshot is being stored")
            if message.number:
                self._send(sender, ChunkAnswer(self.term, message.position, 0))
                return self._refuse(Reason.LATE)
            self._storing = None
            incoming = self._incoming = _Incoming(sender, info)
        if self._storing is not None:
            return self._refuse(Reason.LATE)
        if message.number != incoming.expected:
            self._send(sender, ChunkAnswer(self.term, info.position, incoming.expected))
            return self._refuse(Reason.LATE)
        self._storing = self._chunk = ChunkStored(info, message.number, message.data, message.last)
        return TAKEN

    _storing: ChunkStored | None = None

    def chunk_stored(self, position: int, number: int) -> None:
        """A piece is stored; if it was the last, the whole snapshot is durable, and takes its place here."""
        stored = self._storing
        if stored is None or (stored.info.position, stored.number) != (position, number):
            return
        self._storing = None
        incoming = self._incoming
        if stored.last:
            self._incoming = None
            self._install(stored.info)
            if self.leader and self.role is Role.FOLLOWER:
                self._hold(self.leader, AppendAnswer(self.term, self.log.commit))
        elif incoming is not None:
            incoming.expected = number + 1
            self._send(incoming.leader, ChunkAnswer(self.term, position, number + 1))

    def _install(self, info: SnapshotInfo) -> None:
        """Take a snapshot that is durable here; entries that follow it stay (section 5.1, figure 5.3)."""
        log = self.log
        if info.position <= log.commit:
            return
        if log.matches(info.position, info.term):
            log.commit_to(info.position)
            return
        log.reset(info.position, info.term)
        self.history.reset(info.position, Membership.decode(info.about))
        self._reset = (info.position, info.term)
        self._dirty = True
        self._compact = None
        self._installed = info
        self._membership_changed()

    def describe(self, position: int) -> SnapshotInfo:
        """What a snapshot of the state at a position has to carry. Raises ValueError if that is not known."""
        term = self.log.term(position)
        first = max(self.log.start, self.history.oldest)
        if term is None or not first <= position <= self.log.commit:
            raise ValueError(
                f"a snapshot at {position}, and {first} to {self.log.commit} can be described"
            )
        about = self.history.at(position)[1].encode()
        return SnapshotInfo(position=position, term=term, about=about)
