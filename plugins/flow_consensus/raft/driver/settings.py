"""The settings of `[consensus]` with `type = "raft"`."""

from __future__ import annotations

import attrs

from flow_consensus.raft.settings import EngineSettings
from flowcore.config import Duration, Size, setting
from flowcore.config import validators as v

_COMMIT_BEHIND = 100
"""Entries that a node that starts reads again at most because nothing on its disk says they are committed:
to say it with each of them is a fifth of what a write costs."""


@attrs.frozen(kw_only=True)
class RaftSettings:
    """Several nodes agree on one order, and go on while a majority of them can talk."""

    voters: tuple[str, ...] = setting(
        (),
        help="the nodes that decide, by name, the same on each of them at the first start; afterwards they"
        " are changed while running, and this is not looked at any more. A node that is to join has none",
    )
    cluster: str = setting(
        "", help="the cluster's name: the log of another one is refused; unset: that of the swarm"
    )
    election: Duration = setting(
        0.15,
        validator=v.gt(0),
        help="the least silence of the leader after which another one is elected; each node draws between"
        " once and twice that",
    )
    heartbeat: Duration = setting(
        0.05, validator=v.gt(0), help="how often the leader says that it is there"
    )
    batch: int = setting(1000, validator=v.ge(1), help="entries in one message at most")
    batch_bytes: Size = setting(
        2**20, validator=v.ge(1), help="bytes of the entries in one message, about"
    )
    queue: int = setting(
        1024, validator=v.ge(1), help="commands that may wait to be proposed; more are refused"
    )
    queue_bytes: Size = setting(
        64 * 2**20, validator=v.ge(1), help="bytes of the commands that may wait to be proposed"
    )
    uncommitted: Size = setting(
        64 * 2**20,
        validator=v.ge(1),
        help="bytes that a leader takes before some of it is committed",
    )
    memory: Size = setting(
        32 * 2**20, validator=v.ge(1), help="bytes of entries kept in memory beside the disk"
    )
    keep: int = setting(
        5000,
        validator=v.ge(0),
        help="entries kept though the state does not need them, for nodes that are a little behind; who is"
        " further behind gets a snapshot",
    )
    patience: Duration = setting(
        0.9,
        validator=v.gt(0),
        help="how long a command or a read waits for a leader before it is refused",
    )

    def __attrs_post_init__(self) -> None:
        if self.heartbeat * 2 > self.election:
            raise ValueError(
                f"expected heartbeat to be at most half of election, not {self.heartbeat} and"
                f" {self.election}"
            )
        if len(set(self.voters)) != len(self.voters):
            raise ValueError(f"expected each voter once, not {list(self.voters)!r}")

    @property
    def tick(self) -> float:
        """Seconds of one tick."""
        return self.heartbeat / 5

    def engine(self) -> EngineSettings:
        """The same for the engine, in ticks."""
        return EngineSettings(
            election_ticks=max(6, round(self.election / self.tick)),
            heartbeat_ticks=5,
            batch_entries=self.batch,
            batch_bytes=self.batch_bytes,
            uncommitted_bytes=self.uncommitted,
            memory_bytes=self.memory,
            commit_behind=_COMMIT_BEHIND,
        )
