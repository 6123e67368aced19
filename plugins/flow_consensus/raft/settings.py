"""How an engine behaves: times in ticks, sizes in bytes."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class EngineSettings:
    """The same on every node: a lease is only as good as the others' patience."""

    election_ticks: int = 15
    """Silence of the leader after which a node may stand for election; drawn up to twice that."""
    heartbeat_ticks: int = 5
    pre_vote: bool = True
    """Ask whether one would win before one's term is raised (section 9.6)."""
    check_quorum: bool = True
    """A leader that a majority does not answer steps down (section 6.2), and who hears the leader does not
    vote for another (section 4.2.3). Leases need it."""
    lease_margin: int = 2
    """Ticks by which a lease is shorter than the others' patience, for clocks that run at other speeds."""
    batch_entries: int = 1000
    """Entries in one append at most."""
    batch_bytes: int = 2**20
    window: int = 64
    """Appends to one follower without an answer."""
    window_bytes: int = 16 * 2**20
    uncommitted_bytes: int = 64 * 2**20
    """What a leader takes before some of it is committed; more is refused."""
    memory_bytes: int = 32 * 2**20
    """Entries that are kept in memory beside the disk, to be sent and applied."""
    promote_lag: int = 1000
    """A learner that is further behind is not made a voter (section 4.2.1)."""
    reads: int = 10_000
    """Reads that may wait for a read index."""
    commit_behind: int = 0
    """Entries by which what is stored of `commit` may be behind it. It is stored to start quickly, and no
    promise rests on it (section 3.8): a leader tells it again."""

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.heartbeat_ticks < self.election_ticks:
            raise ValueError(
                f"expected 1 <= heartbeat_ticks < election_ticks, not {self.heartbeat_ticks} and"
                f" {self.election_ticks}"
            )
        sizes = ("batch_entries", "batch_bytes", "window", "window_bytes")
        for name in (*sizes, "uncommitted_bytes", "memory_bytes", "reads"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} to be at least 1, not {getattr(self, name)}")
        if self.commit_behind < 0:
            raise ValueError(f"expected commit_behind to be at least 0, not {self.commit_behind}")
        if self.lease_margin < 1:
            raise ValueError(f"expected lease_margin to be at least 1, not {self.lease_margin}")
