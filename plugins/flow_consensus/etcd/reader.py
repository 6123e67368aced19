"""What is committed after a position: batches from memory or from etcd, or the snapshot in their place."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from functools import partial

from flow_consensus.etcd import messages
from flow_consensus.etcd.failures import AnswerTooLarge, EtcdFailure, Refused
from flow_consensus.etcd.log import Log
from flow_consensus.etcd.records import Base, after_all, decode_batch, new_digest
from flowcore.errors import StateUnavailable, TooOld, UntrustedFile
from flowcore.state import Committed, Installed, SnapshotInfo, Storage

_PAGE, _MOST = 16, 512
"""Batches that are asked for at first, and at most; fewer where they are large."""
_BYTES = 2**20
"""Bytes of what is read at a time, about."""


class Reader:
    """Reads for one node; several may read at a time."""

    def __init__(self, log: Log, storage: Storage, identity: bytes) -> None:
        self._log = log
        self._storage = storage
        self._identity = identity
        self._page = _PAGE
        self.installed = 0
        """Snapshots that were taken from etcd."""

    async def committed(self, after: int) -> AsyncGenerator[Sequence[Committed] | Installed]:
        """As `Consensus.committed`."""
        log = self._log
        while True:
            if log.broken:
                raise UntrustedFile(log.broken)
            if after >= log.last:
                await log.wait_moved()
                continue
            batch = log.newest(after)
            if batch is None:
                batch = await self._from_etcd(after)
            if batch is None:
                base = await self._snapshot(after)
                yield Installed(position=base.position, chunks=self._storage.read_snapshot())
                after = base.position
            elif batch:
                yield batch
                after = batch[-1].position

    async def some(self, after: int) -> Sequence[Committed]:
        """Some entries after a position, which is before the end. Raises TooOld, UntrustedFile."""
        while True:
            batch = self._log.newest(after)
            if batch is None:
                batch = await self._from_etcd(after)
            if batch is None:
                raise TooOld(f"entry {after + 1} is not kept any more")
            if batch:
                return batch

    async def _from_etcd(self, after: int) -> Sequence[Committed] | None:
        """Some entries after a position; None where they are gone. Raises UntrustedFile."""
        log, keys = self._log, self._log.keys
        first = await self._batch_of(after + 1)
        if first is None:
            return None
        entries: list[Committed] = []
        answer = await self._asked(
            messages.get_all(keys.log(first), after_all(keys.all_log), limit=self._page)
        )
        if answer is None:
            return ()
        size = sum(len(one.value) for one in answer.kvs)
        if size > _BYTES:
            self._page = max(1, self._page // 2)
        elif size < _BYTES // 4 and len(answer.kvs) == self._page:
            self._page = min(_MOST, 2 * self._page)
        expected = first
        for found in answer.kvs:
            at = keys.first_of(found.key)
            if at != expected:
                if not entries:
                    return None  # let go of meanwhile
                raise UntrustedFile(f"entries {expected} to {at - 1} are gone from etcd")
            batch = decode_batch(found.key, found.value)
            entries += (Committed(at + nth, data) for nth, data in enumerate(batch.entries))
            expected = at + len(batch.entries)
        if not entries or expected <= after + 1:
            raise UntrustedFile(f"entry {after + 1} is gone from etcd, and {log.last} is committed")
        return [one for one in entries if one.position > after]

    async def _batch_of(self, position: int) -> int | None:
        """The first position of the batch that an entry is in; None where the log begins after it."""
        keys = self._log.keys
        while True:
            answer = await self._asked(
                messages.get_all(
                    keys.all_log, keys.log(position + 1), limit=1, descending=True, keys_only=True
                )
            )
            if answer is not None:
                return keys.first_of(answer.kvs[0].key) if answer.kvs else None

    async def _asked(self, request: messages.Request) -> messages.RangeAnswer | None:
        """The answer; None if it was too large, and smaller ones are asked for from now on."""
        client = self._log.client
        while True:
            try:
                return await client.until_answered(partial(client.read, request))
            except AnswerTooLarge as error:
                if self._page == 1:
                    raise UntrustedFile(f"a batch in etcd cannot be read: {error}") from error
                self._page = max(1, self._page // 4)
                return None
            except Refused as error:
                raise StateUnavailable(f"the log cannot be read: {error}") from error

    # ---- snapshots

    async def _snapshot(self, after: int) -> Base:
        """Take the snapshot in the place of what is gone into the storage. Raises TooOld, UntrustedFile."""
        client, log = self._log.client, self._log
        while True:
            base, _ = await client.until_answered(log.read_base)
            if base is None or base.position <= after:
                raise TooOld(
                    f"the state has applied {after}, and the log in etcd begins later: what is between is"
                    " lost"
                )
            info = SnapshotInfo(position=base.position, term=1, about=self._identity)
            try:
                await self._storage.save_snapshot(info, self._pieces(base))
            except _PieceGone as error:
                if (await client.until_answered(log.read_base))[0] == base:
                    raise UntrustedFile(f"{error} of the snapshot is gone from etcd") from None
            except EtcdFailure as error:
                raise StateUnavailable(f"the snapshot cannot be read: {error}") from error
            else:
                self.installed += 1
                return base

    async def _pieces(self, base: Base) -> AsyncGenerator[bytes]:
        """Its pieces; no other snapshot ever has the same keys."""
        client, keys = self._log.client, self._log.keys
        digest, size = new_digest(), 0
        for number in range(base.pieces):
            request = messages.get(keys.piece(base.snapshot, number))
            answer = await client.until_answered(partial(client.read, request))
            if not answer.kvs:
                raise _PieceGone(f"piece {number}")
            piece = answer.kvs[0].value
            digest.update(piece)
            size += len(piece)
            yield piece
        if size != base.size or digest.hexdigest() != base.digest:
            raise UntrustedFile("the snapshot in etcd is damaged: its checksum is another")


class _PieceGone(Exception):
    """Another snapshot may have taken the place of this one meanwhile."""
