"""The settings of `[consensus]` with `type = "bft"`."""

from __future__ import annotations

import attrs

from flow_consensus.bft import quorums
from flow_consensus.bft.settings import EngineSettings
from flowcore.config import Duration, Size, setting
from flowcore.config import validators as v

TICK = 0.01
"""Seconds of one tick."""


@attrs.frozen(kw_only=True)
class BftSettings:
    """Several nodes agree on one order although some of them lie: f of 3f + 1 voters may."""

    voters: tuple[str, ...] = setting(
        help="the nodes that decide at the first start, by name, four at least, the same on each node;"
        " afterwards they are changed while running, and this is not looked at any more",
    )
    certificates: str = setting(
        "certs",
        help="the folder of the nodes' certificates, NAME.pem each, relative to the TOML file: a voter is"
        " known by the key in its certificate, and by no other",
    )
    cluster: str = setting(
        "", help="the cluster's name: the log of another one is refused; unset: that of the swarm"
    )
    view_timeout: Duration = setting(
        0.5,
        validator=v.ge(10 * TICK),
        help="how long a leader may take before its view is given up; it doubles with each view that fails",
    )
    vote_timeout: Duration = setting(
        0.1,
        validator=v.ge(TICK),
        help="how long is waited for more votes where a quorum does not agree; it doubles as well",
    )
    relay: bool = setting(
        True,
        help="whether votes go by way of the leader while all goes well: fewer messages, and one way more",
    )
    overdue: Duration = setting(
        1.0,
        validator=v.ge(10 * TICK),
        help="a request that waits so long is passed on to all; after twice that time a leader that leaves it"
        " out gets no votes",
    )
    exclude: bool = setting(
        False,
        help="whether a voter that was shown to have lied is left out of the next epoch, where four others"
        " are left; set at the first start",
    )
    checkpoint: int = setting(
        10_000,
        validator=v.ge(10),
        help="entries between two checkpoints of the state, which a quorum signs; set at the first start",
    )
    batch: int = setting(2000, validator=v.ge(1), help="commands in one block, about")
    batch_bytes: Size = setting(
        2**20, validator=v.ge(1), help="bytes of the commands in one block, about"
    )
    in_flight: int = setting(
        32,
        validator=v.ge(1),
        help="signed requests of this node that may be under way; what comes meanwhile goes into the next",
    )
    gather: Duration = setting(
        0.005,
        validator=v.ge(0),
        help="while requests are under way, how long commands are gathered until the next one is signed",
    )
    queue: int = setting(
        1024, validator=v.ge(1), help="commands that may wait to be asked for; more are refused"
    )
    queue_bytes: Size = setting(
        64 * 2**20, validator=v.ge(1), help="bytes of the commands that may wait to be asked for"
    )
    memory: Size = setting(
        32 * 2**20,
        validator=v.ge(1),
        help="bytes of blocks kept in memory for nodes that are behind",
    )
    ahead: Duration = setting(
        2.0,
        validator=v.ge(0.1),
        help="how far ahead of a node's clock the time of another one's command may be, and so how far clocks"
        " may differ; a lying node can draw the time of the state ahead by no more than twice that",
    )
    patience: Duration = setting(
        0.9,
        validator=v.gt(0),
        help="how long a command or a read waits for a quorum to be heard before it is refused",
    )
    outcome: Duration = setting(
        10.0,
        validator=v.gt(0),
        help="how long is waited for what was asked for to be decided, before its outcome is called unknown",
    )

    def __attrs_post_init__(self) -> None:
        if len(set(self.voters)) != len(self.voters):
            raise ValueError(f"expected each voter once, not {list(self.voters)!r}")
        quorums.check(len(self.voters))

    def engine(self) -> EngineSettings:
        """The same for the engine, in ticks."""
        return EngineSettings(
            view_ticks=round(self.view_timeout / TICK),
            vote_ticks=round(self.vote_timeout / TICK),
            relay=self.relay,
            overdue_ticks=round(self.overdue / TICK),
            idle_ticks=25,
            batch_entries=self.batch,
            batch_bytes=self.batch_bytes,
            memory_bytes=self.memory,
            ahead=self.ahead,
        )
