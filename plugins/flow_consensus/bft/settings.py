"""How an engine behaves: times in ticks, sizes in bytes."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class EngineSettings:
    """The same on every node, or what one calls late another does not."""

    view_ticks: int = 50
    """Silence of the leader after which a view is given up; it doubles with each view of a height
    (`timeoutPropose`)."""
    vote_ticks: int = 10
    """How long is waited for more votes once a quorum has not agreed; doubles as well (`timeoutPrevote`,
    `timeoutPrecommit`)."""
    relay: bool = True
    """Whether votes go by way of the leader while all goes well: fewer messages, and one way more."""
    doublings: int = 10
    """How often a time-out doubles at most."""
    here_ticks: int = 10
    """How often a node says what it has, while something is under way and nothing is decided."""
    idle_ticks: int = 100
    """How often it does in any case."""
    overdue_ticks: int = 100
    """A request that waits so long is passed on to everybody; after twice that time, blocks of the leader
    that leave it out get no prevote."""
    fetch_ticks: int = 30
    """How long is waited for blocks, or a piece of a snapshot, before another node is asked."""
    batch_entries: int = 2000
    """Commands of one block, about."""
    batch_bytes: int = 2**20
    """Bytes of the commands of one block, about; of the blocks in one answer, too."""
    pool_requests: int = 1024
    """Requests of one node that wait; more are dropped, for it sends them again."""
    pool_bytes: int = 64 * 2**20
    """Bytes of them."""
    memory_bytes: int = 32 * 2**20
    """Blocks that are kept in memory for others, beside the disk."""
    reads: int = 10_000
    """Reads that may wait."""
    ahead: float = 2.0
    """Seconds that the time of a command may be ahead of this node's clock to be taken, half of what it may
    be in a block of another one: so clocks of honest nodes may differ by as much."""

    def __attrs_post_init__(self) -> None:
        for one in attrs.fields(EngineSettings):
            if one.name not in ("relay", "ahead") and getattr(self, one.name) < 1:
                raise ValueError(
                    f"expected {one.name} to be at least 1, not {getattr(self, one.name)}"
                )
        if not self.ahead > 0:
            raise ValueError(f"expected ahead to be more than 0 s, not {self.ahead}")
