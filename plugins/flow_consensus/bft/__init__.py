"""`bft`: one order of commands that nodes agree on although some of them lie.

`engine` is sans-IO, and all that it is made of; `driver` runs it under trio. What it stands on, and what it
protects against, is in `docs/bft.md`.
"""

from flow_consensus.bft.blocks import (
    Block,
    Change,
    Endorsement,
    Evidence,
    Request,
    Signed,
    block_digest,
    decode_block,
    encode_block,
    evidence_of,
    request_statement,
)
from flow_consensus.bft.core import Reason, Refused
from flow_consensus.bft.driver.opening import mentions_swarm, open_bft
from flow_consensus.bft.driver.settings import BftSettings
from flow_consensus.bft.effects import (
    BlocksWanted,
    CheckpointDue,
    ChunkWanted,
    Event,
    Install,
    Piece,
    Ready,
    Settled,
)
from flow_consensus.bft.engine import Engine, Status
from flow_consensus.bft.entries import blocks_of, command_of, entries_of, is_head
from flow_consensus.bft.epochs import Epoch, Member
from flow_consensus.bft.messages import Message, decode, encode
from flow_consensus.bft.quorums import TooFewVoters, faults, quorum
from flow_consensus.bft.restored import Promises, Restored
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import NIL, Claim, Ed25519, Kind, Scheme, statement
from flow_consensus.bft.standing import Standing
from flow_consensus.effects import ReadState, Write
from flow_consensus.pieces import BadMessage
from flowcore.hookspecs import Factory, Registry, hookimpl

__all__ = [
    "NIL",
    "BadMessage",
    "BftSettings",
    "Block",
    "BlocksWanted",
    "Change",
    "CheckpointDue",
    "ChunkWanted",
    "Claim",
    "Ed25519",
    "Endorsement",
    "Engine",
    "EngineSettings",
    "Epoch",
    "Event",
    "Evidence",
    "Install",
    "Kind",
    "Member",
    "Message",
    "Piece",
    "Promises",
    "ReadState",
    "Ready",
    "Reason",
    "Refused",
    "Request",
    "Restored",
    "Scheme",
    "Settled",
    "Signed",
    "Standing",
    "Status",
    "TooFewVoters",
    "Write",
    "block_digest",
    "blocks_of",
    "command_of",
    "decode",
    "decode_block",
    "encode",
    "encode_block",
    "entries_of",
    "evidence_of",
    "faults",
    "is_head",
    "mentions_swarm",
    "open_bft",
    "quorum",
    "request_statement",
    "statement",
]


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("consensus", "bft", BftSettings, open_bft, mentions=mentions_swarm))
