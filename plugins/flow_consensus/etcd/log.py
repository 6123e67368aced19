"""The log as this node knows it: where it ends, its newest entries, and whether it can be believed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs
import trio

from flow_consensus.etcd import messages
from flow_consensus.etcd.client import EtcdClient
from flow_consensus.etcd.failures import Unanswered
from flow_consensus.etcd.messages import KeyValue
from flow_consensus.etcd.records import Base, Batch, Head, Keys, decode, decode_batch
from flowcore.errors import StateUnavailable, UntrustedFile
from flowcore.state import Committed

_TAIL = 8 * 2**20
"""Bytes of the newest entries that are kept in memory for who follows."""
_SOME = 1000
"""Entries in one batch of what is committed."""


@attrs.frozen
class End:
    """Where the log ends: nobody has added to it as long as the head is this one, put at this revision."""

    head: Head
    revision: int

    @property
    def last(self) -> int:
        return self.head.last


class Log:
    """What is known of the log."""

    def __init__(self, client: EtcdClient, keys: Keys, head: Head) -> None:
        """`head` is the last one that was seen."""
        self.keys = keys
        self.client = client
        self.last = head.last
        """The last entry that is known to be committed."""
        self.batch = head.batch
        """The batch that it came with, in hexadecimal; empty if that is not known."""
        self.stopped = ""
        """Why nothing is taken any more; "" while it is."""
        self.broken = ""
        """Why it cannot be believed; "" while it can."""
        self._tail: deque[Committed] = deque()
        self._held = 0
        self._more = trio.Event()

    # ---- what others wait for

    async def wait_moved(self) -> None:
        """Wait until more is committed, or it is stopped."""
        await self._more.wait()

    def _moved(self) -> None:
        self._more.set()
        self._more = trio.Event()

    def stop(self, why: str) -> None:
        """Nothing is taken any more."""
        if not self.stopped:
            self.stopped = why
        self._moved()

    def distrust(self, why: str) -> None:
        """It is not what it should be: nothing of it is used any more."""
        self.broken = self.broken or why
        self.stop(f"no commands are taken: {why}")

    def check(self) -> None:
        """Raise StateUnavailable if it is stopped."""
        if self.stopped:
            raise StateUnavailable(self.stopped)

    # ---- the end

    async def read_end(self) -> End:
        """Where it ends now; all that was acknowledged is before that. Raises EtcdFailure, UntrustedFile."""
        known = self.last  # when it was asked
        answer = await self.client.read(messages.get(self.keys.head))
        return self.end_of(answer.kvs[0] if answer.kvs else None, known)

    def end_of(self, found: KeyValue | None, known: int) -> End:
        """Where it ends by its head, when so much was known to be committed. Raises UntrustedFile if that
        cannot be."""
        if found is None:
            raise UntrustedFile(
                f"{self.keys.head!r} is gone from etcd: somebody has removed the log"
            )
        if found.key != self.keys.head:
            raise Unanswered(f"{found.key!r} came where {self.keys.head!r} was asked for")
        head = decode(found.key, found.value, Head)
        if head.last < known:
            raise UntrustedFile(
                f"the log in etcd ends at {head.last}, and {known} was committed: it was put back from an"
                " older copy"
            )
        return End(head, found.mod_revision)

    async def verify(self, end: End) -> None:
        """What was seen last is still there. Raises UntrustedFile for a log that has gone another way since,
        as one that was put back from an older copy; EtcdFailure."""
        last, batch = self.last, self.batch
        if (
            not batch or end.last < last
        ):  # the writer has moved on meanwhile: its condition is the same
            return
        if end.last == last:
            there = end.head.batch
        else:
            first, until = self.keys.all_log, self.keys.log(last + 1)
            request = messages.get_all(first, until, limit=1, descending=True)
            found = (await self.client.read(request)).kvs
            there = ""
            if found:
                held = decode_batch(found[0].key, found[0].value)
                if self.keys.first_of(found[0].key) + len(held.entries) - 1 == last:
                    there = held.id.hex()
            if there != batch:
                base, _ = await self.read_base()
                if base is not None and base.begins >= last:
                    return  # let go of
        if there != batch:
            raise UntrustedFile(
                f"entry {last} of the log in etcd is not the one that was there before: it was put back"
                " from an older copy, and went on"
            )

    async def read_base(self) -> tuple[Base | None, int]:
        """The snapshot in the place of what is gone, and the revision at which it was put; (None, 0) before
        the first. Raises EtcdFailure, UntrustedFile."""
        answer = await self.client.read(messages.get(self.keys.base))
        if not answer.kvs:
            return None, 0
        found = answer.kvs[0]
        base = decode(self.keys.base, found.value, Base)
        if not 0 <= base.begins <= base.position or base.pieces < 1:
            raise UntrustedFile(f"{self.keys.base!r} in etcd is damaged: {base}")
        return base, found.mod_revision

    # ---- the newest entries

    def jump(self, head: Head) -> None:
        """It ends there; what is between is to be read from etcd."""
        if head.last > self.last:
            self._tail.clear()
            self._held = 0
            self.last, self.batch = head.last, head.batch
            self._moved()

    def add(self, first: int, batch: Batch) -> bool:
        """A batch is committed. False if it does not follow; what is known already changes nothing."""
        if first + len(batch.entries) - 1 <= self.last:
            return True
        if first != self.last + 1:
            return False
        for position, data in enumerate(batch.entries, start=first):
            self._tail.append(Committed(position, data))
            self._held += len(data)
        self.last, self.batch = first + len(batch.entries) - 1, batch.id.hex()
        while self._held > _TAIL and len(self._tail) > 1:
            self._held -= len(self._tail.popleft().data)
        self._moved()
        return True

    def newest(self, after: int) -> Sequence[Committed] | None:
        """Entries after a position, if they are in memory."""
        if not self._tail or after + 1 < self._tail[0].position:
            return None
        skip = after + 1 - self._tail[0].position
        return [self._tail[at] for at in range(skip, min(len(self._tail), skip + _SOME))]
