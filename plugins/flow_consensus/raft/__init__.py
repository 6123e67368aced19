"""`raft`: one order of commands that a majority of nodes agrees on.

`engine` is sans-IO, and all that it is made of; `driver` runs it under trio.
"""

from flow_consensus.effects import ReadState, Write
from flow_consensus.pieces import BadMessage
from flow_consensus.raft.core import TAKEN, Reason, Refused, Role
from flow_consensus.raft.driver.node import Raft
from flow_consensus.raft.driver.opening import mentions_swarm, open_node, open_raft
from flow_consensus.raft.driver.port import Transport
from flow_consensus.raft.driver.settings import RaftSettings
from flow_consensus.raft.effects import (
    ChunkStored,
    ChunkWanted,
    Event,
    Fetch,
    LeaderChanged,
    MembershipChanged,
    Ready,
    RoleChanged,
)
from flow_consensus.raft.engine import Engine, FollowerStatus, Status
from flow_consensus.raft.entries import command_of, is_membership
from flow_consensus.raft.membership import BadMembership, Change, ChangeRefused, Membership
from flow_consensus.raft.messages import Message, decode, encode
from flow_consensus.raft.restored import Restored
from flow_consensus.raft.settings import EngineSettings
from flowcore.hookspecs import Factory, Registry, hookimpl

__all__ = [
    "TAKEN",
    "BadMembership",
    "BadMessage",
    "Change",
    "ChangeRefused",
    "ChunkStored",
    "ChunkWanted",
    "Engine",
    "EngineSettings",
    "Event",
    "Fetch",
    "FollowerStatus",
    "LeaderChanged",
    "Membership",
    "MembershipChanged",
    "Message",
    "Raft",
    "RaftSettings",
    "ReadState",
    "Ready",
    "Reason",
    "Refused",
    "Restored",
    "Role",
    "RoleChanged",
    "Status",
    "Transport",
    "Write",
    "command_of",
    "decode",
    "encode",
    "is_membership",
    "open_node",
]


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("consensus", "raft", RaftSettings, open_raft, mentions=mentions_swarm))
