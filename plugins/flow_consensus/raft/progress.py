"""What a leader knows of one follower, and how much it may send to it.

As in etcd's design ("progress"): a follower whose log is not known to match is *probed* with one append at a
time; one that matches is sent entries ahead of its answers, within a window (*replicate*); one that is so far
behind that what it needs is compacted gets a *snapshot*. Pipelining: Ongaro's dissertation, section 10.2.1.
"""

from __future__ import annotations

import enum
from collections import deque

from flow_consensus.raft.messages import Chunk


class Phase(enum.Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One follower, or learner, or the leader itself."""

    __slots__ = (
        "_window",
        "_window_bytes",
        "active",
        "chunk",
        "chunk_tick",
        "commit_sent",
        "fetching",
        "flying",
        "flying_bytes",
        "match",
        "next",
        "paused",
        "phase",
        "round",
        "snapshot",
        "wanting",
    )

    def __init__(self, *, next: int, window: int, window_bytes: int) -> None:  # noqa: A002
        self.match = 0
        """Its log is ours up to here, durably."""
        self.next = next
        """The next position to send."""
        self.phase = Phase.PROBE
        self.paused = False
        """Probing: one append is under way, and no other is sent until there is an answer."""
        self.active = False
        """It has answered since the quorum was last checked (section 6.2)."""
        self.round = 0
        """The last heartbeat that it has answered."""
        self.commit_sent = 0
        """The commit position that it was last told."""
        self.fetching = False
        """Entries for it are being read from the disk."""
        self.flying: deque[tuple[int, int]] = deque()
        """Appends without an answer: their last position and bytes."""
        self.flying_bytes = 0
        self.snapshot = 0
        """The position of the snapshot that it is sent."""
        self.wanting = False
        """A piece of the snapshot is being read."""
        self.chunk: Chunk | None = None
        """The piece without an answer."""
        self.chunk_tick = 0
        self._window = window
        self._window_bytes = window_bytes

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent before an answer comes."""
        if self.phase is Phase.REPLICATE:
            return len(self.flying) >= self._window or self.flying_bytes >= self._window_bytes
        return self.phase is Phase.SNAPSHOT or self.paused

    def probe(self) -> None:
        """What is under way may be lost: begin again after what is known to match."""
        self.phase = Phase.PROBE
        self.next = self.match + 1
        self._reset()

    def replicate(self) -> None:
        """It matches: send ahead."""
        self.phase = Phase.REPLICATE
        self.next = self.match + 1
        self._reset()

    def send_snapshot(self) -> None:
        """What it needs is compacted."""
        self.phase = Phase.SNAPSHOT
        self._reset()

    def _reset(self) -> None:
        self.paused = self.fetching = self.wanting = False
        self.flying.clear()
        self.flying_bytes = 0
        self.snapshot = 0
        self.chunk = None

    def sent(self, last: int, size: int) -> None:
        """An append that ends at a position is under way."""
        if self.phase is Phase.REPLICATE:
            self.next = last + 1
            self.flying.append((last, size))
            self.flying_bytes += size
        else:
            self.paused = True

    def matched(self, position: int) -> bool:
        """It has everything up to a position; gives whether that is news."""
        flying = self.flying
        while flying and flying[0][0] <= position:
            self.flying_bytes -= flying.popleft()[1]
        if position <= self.match:
            return False
        self.match = position
        self.next = max(self.next, position + 1)
        return True

    def rejected(self, position: int, hint: int) -> bool:
        """It does not match at a position, and may at `hint`; gives whether that is news (section 3.5)."""
        if self.phase is Phase.REPLICATE:
            if position <= self.match or position >= self.next:
                return False
            self.probe()
            return True
        if self.phase is Phase.SNAPSHOT or position != self.next - 1:
            return False
        self.next = max(min(position, hint + 1), self.match + 1)
        self.paused = False
        return True
