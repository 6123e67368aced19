"""Raft: one order of commands that a majority of nodes agrees on. The engine is sans-IO; see `Engine`."""

from flow_consensus.raft.core import TAKEN, Reason, Refused, Role
from flow_consensus.raft.effects import (
    ChunkStored,
    ChunkWanted,
    Event,
    Fetch,
    LeaderChanged,
    MembershipChanged,
    ReadState,
    Ready,
    RoleChanged,
    Write,
)
from flow_consensus.raft.engine import Engine, FollowerStatus, Status
from flow_consensus.raft.entries import command_of, is_membership
from flow_consensus.raft.membership import BadMembership, Change, ChangeRefused, Membership
from flow_consensus.raft.messages import BadMessage, Message, decode, encode
from flow_consensus.raft.restored import Restored
from flow_consensus.raft.settings import EngineSettings

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
    "ReadState",
    "Ready",
    "Reason",
    "Refused",
    "Restored",
    "Role",
    "RoleChanged",
    "Status",
    "Write",
    "command_of",
    "decode",
    "encode",
    "is_membership",
]
