"""What comes over the transport: given to the engine, or to the part of the driver that it is for."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from flow_consensus.pieces import BadMessage, Post
from flow_consensus.raft.driver.changes import Changing
from flow_consensus.raft.driver.looking import Looking
from flow_consensus.raft.driver.port import Node, Prompt, Transport
from flow_consensus.raft.driver.proposals import Proposals
from flow_consensus.raft.driver.telling import Telling
from flow_consensus.raft.driver.ticking import Ticking
from flow_consensus.raft.driver.wire import (
    Ask,
    AskAnswer,
    Forward,
    ForwardAnswer,
    Look,
    Own,
    decode_own,
)
from flow_consensus.raft.messages import Read, decode

_logger = logging.getLogger(__name__)

_AT_ONCE = 100
"""Messages after which the engine turns, though more wait."""
_OWN = b"\x81"


class Receiving:
    """Takes messages in, whole or in pieces; what is none is counted, and raises nothing."""

    def __init__(
        self,
        node: Node,
        post: Post,
        ticking: Ticking,
        proposals: Proposals,
        telling: Telling,
        changing: Changing,
        looking: Looking,
    ) -> None:
        self._node = node
        self._post = post
        self._ticking = ticking
        self._proposals = proposals
        self._telling = telling
        self._changing = changing
        self._looking = looking
        self.bad = 0
        """Messages that were none."""

    def take(self, sender: str, data: bytes) -> None:
        """A message has come, after all the time that has passed."""
        self._ticking.catch_up()
        try:
            whole = self._post.take(sender, data)
            if whole is None:
                return
            if whole[:1] == _OWN:
                self._own(sender, decode_own(whole))
            else:
                message = decode(whole)
                if type(message) is Read and message.leased:
                    self._node.tick_now()
                self._node.engine.step(sender, message)
        except BadMessage as error:
            self.bad += 1
            _logger.debug("from %s: %s", sender, error)

    def _own(self, sender: str, message: Own) -> None:
        engine = self._node.engine
        if sender not in engine.membership.members:
            engine.refused["not a member"] += 1
        elif isinstance(message, Forward):
            self._proposals.forwarded(sender, message)
            self._telling.awaited(sender, engine.log.last)
        elif isinstance(message, ForwardAnswer):
            self._proposals.answered(message)
        elif isinstance(message, Ask):
            self._changing.asked(sender, message)
        elif isinstance(message, AskAnswer):
            self._changing.answered(message)
        elif isinstance(message, Look):
            self._looking.asked(sender, message)
        else:
            self._looking.answered(message)

    async def run(self, transport: Transport, arrived: Callable[[str, bytes], None]) -> None:
        """Take what comes; a transport that hands it over at once does so to `arrived`."""
        if isinstance(transport, Prompt):
            transport.hand_to(arrived)
            return
        while True:
            self.take(*await transport.receive())
            for _ in range(min(transport.waiting, _AT_ONCE)):
                self.take(*await transport.receive())
            self._node.turn()
            if transport.waiting:
                await trio.lowlevel.checkpoint()  # others have something to do, too
