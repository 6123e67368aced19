"""What comes, read and checked: a little at once, much in a thread, so that the event loop is never held.

An Ed25519 signature takes about 50 us to check. What has a few is checked where it comes; what has many, or
is large, goes through one thread, in the order in which it came, and waits there in a queue that is bounded.
(libsodium has no check of several signatures at once: many are checked one after the other.)
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from flow_consensus.bft.blocks import block_digest, decode_block
from flow_consensus.bft.engine import Engine
from flow_consensus.bft.messages import Message, Proposal, decode
from flow_consensus.bft.signing import Claim
from flow_consensus.pieces import BadMessage

FEW = 8
"""Signatures that are checked at once."""
LARGE = 32 * 1024
"""Bytes of a message from which on it is read in a thread."""
_QUEUE = 512
"""Messages that may wait for the thread; who sent what is dropped sends it again."""
_QUEUE_BYTES = 128 * 2**20


class Checking:
    """Between the transport and the engine."""

    def __init__(
        self,
        engine: Engine,
        step: Callable[[str, Message], object],
        turn: Callable[[], None],
        bad: Callable[[str, str], None],
    ) -> None:
        """`step` takes a message that was read; `turn` does what follows, where it took a thread."""
        self._engine = engine
        self._step = step
        self._turn = turn
        self._bad = bad
        self._send, self._receive = trio.open_memory_channel[tuple[str, bytes]](_QUEUE)
        self._thread = trio.CapacityLimiter(1)
        self._bytes = 0
        self.dropped = 0
        self.in_thread = 0

    def take(self, sender: str, data: bytes) -> None:
        """A whole message has come."""
        if len(data) >= LARGE:
            self._defer(sender, data)
            return
        try:
            message = decode(data)
        except BadMessage as error:
            self._bad(sender, str(error))
            return
        if isinstance(message, Proposal):
            self._know(message, self._engine)
        if len(self._engine.claims(message)) > FEW:
            self._defer(sender, data)
        else:
            self._step(sender, message)

    def _defer(self, sender: str, data: bytes) -> None:
        if self._bytes + len(data) > _QUEUE_BYTES and self._bytes:
            self.dropped += 1
            return
        try:
            self._send.send_nowait((sender, data))
        except trio.WouldBlock:
            self.dropped += 1
            return
        self._bytes += len(data)

    async def run(self) -> None:
        """Check what waits, one message after the other."""
        async for sender, data in self._receive:
            try:
                message, good = await trio.to_thread.run_sync(
                    self._checked, data, limiter=self._thread
                )
            except BadMessage as error:
                self._bad(sender, str(error))
            else:
                self.in_thread += 1
                self._engine.admit(good)
                self._step(sender, message)
                self._turn()
            finally:
                self._bytes -= len(data)

    def _checked(self, data: bytes) -> tuple[Message, list[Claim]]:
        """Read a message, and check its signatures; in the thread."""
        engine = self._engine
        message = decode(data)
        if isinstance(message, Proposal):
            self._know(message, engine)
        return message, engine.signatures.check(engine.claims(message))

    @staticmethod
    def _know(message: Proposal, engine: Engine) -> None:
        """Read the block of a proposal, once, if it is the one that is proposed."""
        try:
            block = decode_block(message.block)
        except BadMessage:
            return  # the engine finds it bad, and votes so
        if block_digest(message.block) == message.signed.digest:
            engine.know_block(message.signed.digest, message.block, block)
