"""What a node of Raft has to tell as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flow_consensus.measures import of_engine
from flow_consensus.raft.core import Role
from flowcore.telemetry import Histogram, Reading, counter, gauge, histogram

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TERM = gauge("flowcore.raft.term", "{term}", "The term that this node is in.")
ROLE = gauge("flowcore.raft.role", "{node}", "1 for what this node is.", "role")
LEADER = gauge("flowcore.raft.leader_known", "{node}", "1 while this node knows a leader, else 0.")
VOTERS = gauge("flowcore.raft.voters", "{node}", "Nodes whose votes count.")
LAG = gauge(
    "flowcore.raft.commit_lag",
    "{entry}",
    "Entries of this node's log that are not committed, as it knows.",
)
FOLLOWER_LAG = gauge(
    "flowcore.raft.follower.lag",
    "{entry}",
    "At the leader: entries that a follower has not, yet.",
    "peer",
)
FOLLOWER_ACTIVE = gauge(
    "flowcore.raft.follower.active",
    "{node}",
    "At the leader: 1 for a follower that answers.",
    "peer",
)
ELECTIONS = counter("flowcore.raft.elections", "{election}", "Elections that this node began.")
LEADERS = counter(
    "flowcore.raft.leader_changes", "{leader}", "Leaders that this node came to know."
)
MESSAGES = counter("flowcore.raft.messages", "{message}", "Messages to others.", "outcome")
BAD = counter(
    "flowcore.raft.messages_refused", "{message}", "Messages that were none, or not due.", "reason"
)
FORWARDED = counter(
    "flowcore.raft.forwarded", "{command}", "Commands that were handed to the leader."
)
SNAPSHOT = histogram(
    "flowcore.raft.snapshot.duration",
    "s",
    "Snapshots given to others, and taken from them.",
    "direction",
)


def of_raft(
    status: Mapping[str, Any], took: Histogram, given: Histogram, taken: Histogram
) -> Iterator[Reading]:
    """The readings of a node, by its status."""
    yield from of_engine(status, took)
    yield TERM.of(status["term"])
    for role in Role:
        yield ROLE.of(int(status["role"] == str(role)), str(role))
    yield LEADER.of(int(bool(status["leader"])))
    yield VOTERS.of(len(status["voters"]))
    yield LAG.of(status["lag"])
    for peer, one in status["followers"].items():
        yield FOLLOWER_LAG.of(one["lag"], peer)
        yield FOLLOWER_ACTIVE.of(int(one["active"]), peer)
    yield ELECTIONS.of(status["elections"])
    yield LEADERS.of(status["leaders"])
    yield MESSAGES.of(status["sent"], "sent")
    yield MESSAGES.of(status["unsent"], "unsent")
    yield BAD.of(status["bad_messages"], "malformed")
    for reason, count in status["refused_messages"].items():
        yield BAD.of(count, reason)
    yield FORWARDED.of(status["forwarded"])
    yield SNAPSHOT.of(given.distribution(), "given")
    yield SNAPSHOT.of(taken.distribution(), "taken")
