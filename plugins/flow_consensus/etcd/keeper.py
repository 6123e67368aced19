"""Snapshots into etcd: one node at a time stores one, and the log lets go of what it covers.

Its pieces are put under a name of their own, then one transaction makes it the one that counts, on condition
that this node still holds the lock and nobody else has stored one. What others have left half done goes.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from functools import partial

import trio

from flow_consensus.etcd import leases, messages
from flow_consensus.etcd.failures import Compacted, EtcdFailure, NotSignedIn, Refused
from flow_consensus.etcd.log import Log
from flow_consensus.etcd.messages import Plain
from flow_consensus.etcd.records import Base, Head, after_all, encode, new_digest
from flow_consensus.etcd.settings import EtcdSettings
from flowcore.errors import StateUnavailable, StorageError, TooLarge
from flowcore.state import SnapshotSource

_logger = logging.getLogger(__name__)

_PIECE = 512 * 1024
"""Bytes of one piece at most; less where a request must be smaller."""
_TTL = 30
"""Seconds until another node may take over from one that is gone."""
_AGAIN = 5.0
"""Seconds until what failed is tried again."""


class Keeper:
    """One task: it stores a snapshot when the state is durable far enough."""

    def __init__(self, log: Log, settings: EtcdSettings, node: str) -> None:
        self._log = log
        self._settings = settings
        self._node = node
        self._durable = 0
        self._too_large = 0
        """The position at which the state was found to be too large; 0 if it is not."""
        self._wake = trio.Event()
        self.source: SnapshotSource | None = None
        self.position = 0
        """Of the last snapshot in etcd that is known of."""
        self.stored = 0
        self.seconds = 0.0
        """How long the last one took."""
        self.trouble = ""

    def durable(self, position: int) -> None:
        """The state of this node has everything up to a position on its disk."""
        self._durable = max(self._durable, position)
        if self._durable - self.position >= self._settings.snapshot_every:
            self._wake.set()

    async def run(self) -> None:
        """Store snapshots, until cancelled; what fails is tried again, and the log kept meanwhile."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            try:
                if self.source is not None:
                    await self._once(self.source)
            except TooLarge as error:
                self._has_failed(error)
            except (EtcdFailure, StorageError, StateUnavailable) as error:
                self._has_failed(error)
                await trio.sleep(_AGAIN)
                self._wake.set()

    def _has_failed(self, error: Exception) -> None:
        if str(error) != self.trouble:
            _logger.warning("no snapshot could be stored in etcd: %s", error)
        self.trouble = str(error)

    async def _once(self, source: SnapshotSource) -> None:
        """Store one, unless another node does or has."""
        log, settings = self._log, self._settings
        base, _ = await log.read_base()
        if base is not None:
            self.position = base.position
        if self._durable - max(self.position, self._too_large) < settings.snapshot_every:
            return
        if self._too_large:  # it is counted first: putting it there in vain is dear
            async with source() as (position, frames):
                size = 0
                async with aclosing(frames):
                    async for one in frames:
                        size += len(one)
                if size > settings.snapshot_most:
                    self._too_large = position
                    return

        async def work(lock: int) -> None:
            began = trio.current_time()
            async with source() as (position, frames):
                try:
                    stored = await self.store(position, frames, lock=lock)
                except TooLarge:
                    self._too_large = position
                    raise
            if stored:
                self.stored += 1
                self.seconds = trio.current_time() - began
                self.trouble = ""
                self._too_large = 0

        await leases.holding(log.client, log.keys.lock, self._node.encode(), _TTL, work)

    async def store(
        self, position: int, chunks: AsyncIterable[bytes], *, lock: int, restored: bool = False
    ) -> bool:
        """Store a snapshot and have it count; whether it does. `restored`: the log begins with it.

        Raises EtcdFailure, TooLarge, StateUnavailable.
        """
        log, client, keys = self._log, self._log.client, self._log.keys
        before, base_revision = await log.read_base()
        kept = "" if before is None else before.snapshot
        await self._sweep(kept)
        name = f"{position:016x}-{secrets.token_hex(4)}"
        try:
            pieces, size, digest = await self._put_pieces(name, chunks)
        except TooLarge:
            await self._sweep(kept)
            raise
        conditions = [
            messages.unchanged(keys.lock, lock),
            messages.unchanged(keys.base, base_revision),
        ]
        then = []
        if restored:
            begins = position
            end = await log.read_end()
            if before is not None and (before.position, before.digest) == (position, digest):
                await self._sweep(kept)
                return True  # it was, and whoever did it has not heard of it
            if end.last or before is not None:
                await self._sweep(kept)
                raise StateUnavailable(
                    f"the log under {keys.prefix.decode()!r} in etcd has {end.last} entries: nothing was"
                    " restored"
                )
            conditions.append(messages.unchanged(keys.head, end.revision))
            then.append(messages.put(keys.head, encode(Head(last=position, batch=name))))
        else:
            begins = max(await self._cut(position), 0 if before is None else before.begins)
            if begins:
                then.append(messages.remove(keys.all_log, keys.log(begins + 1)))
        base = Base(
            position=position, begins=begins, snapshot=name, pieces=pieces, size=size, digest=digest
        )
        then.append(messages.put(keys.base, encode(base)))
        answer = await client.write(messages.txn(conditions, then, []))
        if not answer.succeeded:
            return False  # another node has been faster
        self.position = position
        await self._sweep(name)
        if base_revision and self._settings.compact_history:
            await self._forget(base_revision)
        return True

    async def _put_pieces(self, name: str, chunks: AsyncIterable[bytes]) -> tuple[int, int, str]:
        """How many there are, of how many bytes, and their digest."""
        client, keys, most = self._log.client, self._log.keys, self._settings.snapshot_most
        digest, size, number = new_digest(), 0, 0
        async with aclosing(_cut(chunks, min(_PIECE, self._settings.command_size))) as cut:
            async for piece in cut:
                size += len(piece)
                if size > most:
                    raise TooLarge(
                        f"the state is larger than `snapshot_most`, {most} bytes: the log is kept whole"
                    )
                digest.update(piece)
                request = messages.txn([], [messages.put(keys.piece(name, number), piece)], [])
                await client.until_answered(partial(client.write, request))
                number += 1
        return number, size, digest.hexdigest()

    async def _cut(self, position: int) -> int:
        """Up to where the log can let go: the end of a batch, `keep` entries before the position."""
        log, keys = self._log, self._log.keys
        until = position - self._settings.keep
        if until <= 0:
            return 0
        answer = await log.client.read(
            messages.get_all(
                keys.all_log, keys.log(until + 1), limit=1, descending=True, keys_only=True
            )
        )
        return keys.first_of(answer.kvs[0].key) - 1 if answer.kvs else 0

    async def _sweep(self, but: str) -> None:
        """Remove the pieces of all snapshots but one."""
        client, keys = self._log.client, self._log.keys
        first, end = keys.all_snapshots, after_all(keys.all_snapshots)
        then = [messages.remove(first, end)]
        if but:
            kept = keys.snapshot(but)
            then = [messages.remove(first, kept), messages.remove(after_all(kept), end)]
        await client.write(messages.txn([], then, []))

    async def _forget(self, revision: int) -> None:
        """Let etcd forget what was before a revision, as far as it lets this user."""
        try:
            await self._log.client.ask(messages.COMPACTION, {"revision": revision}, Plain)
        except (Compacted, Refused, NotSignedIn) as error:
            if not isinstance(error, Compacted):  # by others, further than that
                _logger.warning("etcd's history is not compacted: %s", error)


async def _cut(chunks: AsyncIterable[bytes], most: int) -> AsyncGenerator[bytes]:
    """Pieces of a size; the last one may be smaller."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        while len(held) >= most:
            yield bytes(held[:most])
            del held[:most]
    if held:
        yield bytes(held)
