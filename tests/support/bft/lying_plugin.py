"""A plugin of one file: `type = "bft_liar"` is a node of a bft cluster that lies. For tests alone.

[plugins]
files = ["lying_plugin.py"]
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from flow_consensus.bft import (
    NIL,
    BftSettings,
    Engine,
    Kind,
    Message,
    Ready,
    block_digest,
    decode_block,
    encode_block,
    mentions_swarm,
    open_bft,
)
from flow_consensus.bft.blocks import Request, request_statement
from flow_consensus.bft.messages import Ask, Proposal, Vote
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.state import Consensus, Entry, Tidy, encode_entry


class Equivocator(Engine):
    """Proposes one block to some and another one to the others; votes for one thing here, another there."""

    said: Vote | None = None
    """The last vote that it has told all about."""

    def tick(self) -> None:
        """Asks for what is no command, and for one of a time that has not come, again and again."""
        super().tick()
        if self.now % 50 == 0:
            hour = encode_entry(Entry(time=time.time() + 3600.0, command=Tidy()))
            for boot, command in enumerate((b"\xc1", hour), start=self.boot + 1):
                bare = Request(self.name, boot, 1, [command], bytes(64))
                signature = self._sign(request_statement(self.standing.cluster, bare))
                self._broadcast_voters(Ask(Request(self.name, boot, 1, [command], signature)))

    def ready(self) -> Ready:
        ready = super().ready()
        names = self.epoch.voters
        lies: list[tuple[str, Message]] = []
        for to, message in ready.messages:
            own = isinstance(message, Vote) and message.signed.signer == self.name
            if isinstance(message, Vote) and own and message != self.said:
                self.said = message  # to all, whomever an honest node would tell
                lies += [
                    (one, self._other(message) if at % 2 else message)
                    for at, one in enumerate(names)
                    if one != self.name
                ]
            elif not own:
                odd = to in names and names.index(to) % 2
                lies.append((to, self._other(message) if odd else message))
        ready.messages = lies
        return ready

    def _other(self, message: Message) -> Message:
        if isinstance(message, Proposal) and message.signed.signer == self.name:
            block = decode_block(message.block)
            if len(block.requests) < 2:
                return message
            less = encode_block(msgspec.structs.replace(block, requests=block.requests[:1]))
            signed = self._signed(
                Kind.PROPOSAL, block.height, message.signed.view, block_digest(less)
            )
            return Proposal(signed, less, None)
        if isinstance(message, Vote) and message.signed.signer == self.name:
            said = message.signed
            if said.kind in (Kind.PREVOTE, Kind.PRECOMMIT) and said.digest != NIL:
                if said.height != self.height:
                    return message
                return Vote(self._signed(Kind(said.kind), said.height, said.view, NIL))
        return message


@asynccontextmanager
async def open_liar(config: BftSettings, context: Context) -> AsyncGenerator[Consensus]:
    """A node whose engine lies."""
    async with open_bft(config, context, engine=Equivocator) as node:
        yield node


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("consensus", "bft_liar", BftSettings, open_liar, mentions=mentions_swarm))
