"""`etcd`: the engine, over the node's own storage and an etcd.

The log is in etcd. The storage of the node keeps which log that is and how far it was seen, so that another
etcd, or one that was put back from an older copy, is not taken for it; and a snapshot that was taken from it.
"""

from __future__ import annotations

import logging
import pathlib
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import trio

from flow_consensus.etcd import leases, messages
from flow_consensus.etcd.barriers import Barriers
from flow_consensus.etcd.client import ANSWER, EtcdClient
from flow_consensus.etcd.failures import EtcdFailure
from flow_consensus.etcd.follower import Follower
from flow_consensus.etcd.keeper import Keeper
from flow_consensus.etcd.log import End, Log
from flow_consensus.etcd.presence import Presence
from flow_consensus.etcd.reader import Reader
from flow_consensus.etcd.records import FORMAT, Head, Keys, Meta, decode, decode_meta, encode
from flow_consensus.etcd.settings import EtcdSettings
from flow_consensus.etcd.writer import Writer
from flow_consensus.measures import of_engine
from flowcore.errors import StateUnavailable, StorageError, TooLarge, TooOld, UntrustedFile
from flowcore.hookspecs import Context
from flowcore.http import ClientCertificates, ClientTlsSettings, open_client
from flowcore.state import (
    Committed,
    Consensus,
    Installed,
    Shown,
    SnapshotInfo,
    SnapshotSource,
    Storage,
)
from flowcore.telemetry import Reading

_logger = logging.getLogger(__name__)

_RESTORE_TTL = 60
"""Seconds until another node may restore where this one is gone."""


class Mark(msgspec.Struct, frozen=True, kw_only=True, tag="etcd", forbid_unknown_fields=True):
    """What the storage keeps of the log in etcd."""

    identity: str
    prefix: str
    position: int
    """So much was committed when it was last written."""
    batch: str = ""
    """The batch that the last of it came with; empty if that was not known."""


class Etcd:
    """One node on the log. Made by `open_node` only."""

    durable = True

    def __init__(
        self, settings: EtcdSettings, storage: Storage, log: Log, identity: str, node: str
    ) -> None:
        self.identity = identity
        self._settings = settings
        self._storage = storage
        self._log = log
        self._node = node
        self._writer = Writer(log, settings)
        self._barriers = Barriers(log, settings)
        self._follower = Follower(log, settings)
        self._reader = Reader(log, storage, identity.encode())
        self._keeper = Keeper(log, settings, node)
        self._presence = Presence(log, node)
        self._met = trio.Event()
        self._begins = 0
        """Up to where the log was gone when that was last looked at."""

    # ---- the interface

    async def propose(self, command: bytes) -> int:
        return await self._writer.propose(command)

    async def read_barrier(self, *, leased: bool = False) -> int:
        del leased  # etcd has no reads that are cheaper and as true
        return await self._barriers.wait()

    async def committed(self, after: int) -> AsyncGenerator[Sequence[Committed] | Installed]:
        await self._met.wait()
        if not self._log.broken and after > self._log.last:
            raise UntrustedFile(
                f"the state has applied {after}, and the log in etcd ends at {self._log.last}: it was put"
                " back from an older copy, or is another one's"
            )
        async with aclosing(self._reader.committed(after)) as batches:
            async for batch in batches:
                yield batch

    async def change_voters(
        self, *, add: Sequence[str] = (), remove: Sequence[str] = (), promote: Sequence[str] = ()
    ) -> None:
        del add, remove, promote
        await trio.lowlevel.checkpoint()
        raise StateUnavailable(
            "with consensus type 'etcd' the members of etcd decide: they are changed by `etcdctl member`"
        )

    async def entries(self, first: int, most: int) -> Sequence[Shown]:
        """As `ShowsLog.entries`: what is in etcd. The term is 1: etcd's own is of all that it keeps."""
        found: list[Shown] = []
        with trio.move_on_after(self._settings.timeout):
            await self._show(first, most, found)
            return found[:most]
        raise StateUnavailable(
            f"the log cannot be read: {self._log.client.trouble or 'etcd is slow'}"
        )

    async def _show(self, first: int, most: int, found: list[Shown]) -> None:
        while len(found) < most and first + len(found) <= self._log.last:
            found += (
                Shown(position=one.position, term=1, committed=True, data=one.data)
                for one in await self._some(first + len(found) - 1)
            )
        await trio.lowlevel.checkpoint()

    async def _some(self, after: int) -> Sequence[Committed]:
        try:
            return await self._reader.some(after)
        except TooOld:
            base, _ = await self._log.client.until_answered(self._log.read_base)
            self._begins = 0 if base is None else base.begins
            raise

    async def compact(self, position: int) -> None:
        if not self._log.stopped:
            await self.mark()
            self._keeper.durable(position)

    def snapshots_from(self, source: SnapshotSource) -> None:
        """Where snapshots of the state come from."""
        self._keeper.source = source

    async def restore(self, info: SnapshotInfo, chunks: AsyncIterable[bytes]) -> None:
        """Have the log begin with a snapshot. Raises StateUnavailable if it has entries, or etcd is away."""
        log = self._log

        async def work(lock: int) -> bool:
            return await self._keeper.store(info.position, chunks, lock=lock, restored=True)

        node = self._node.encode()
        try:
            done = await leases.holding(log.client, log.keys.lock, node, _RESTORE_TTL, work)
            end = await log.read_end()
        except (EtcdFailure, TooLarge) as error:
            raise StateUnavailable(f"nothing was restored: {error}") from error
        if not done:
            raise StateUnavailable("nothing was restored: another node stores a snapshot just now")
        log.jump(end.head)

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        return of_engine(self.status(), self._writer.took)

    def status(self) -> dict[str, Any]:
        """Where it is, what it did, who is there."""
        keeper = self._keeper
        return {
            "type": "etcd",
            "prefix": self._settings.prefix,
            "commit": self._log.last,
            "last": self._log.last,
            "stopped": self._log.stopped,
            "nodes": list(self._presence.nodes),
            "watches": self._follower.watches,
            "watch_ended": self._follower.ended,
            "snapshot": keeper.position,
            "snapshots_stored": keeper.stored,
            "snapshots_installed": self._reader.installed,
            "snapshot_seconds": round(keeper.seconds, 6),
            "snapshot_trouble": keeper.trouble,
            **self._log.client.status(),
            **self._writer.status(),
            "storage": {
                **self._storage.status(),
                "first": self._begins + 1,
                "last": self._log.last,
            },
        }

    # ---- running

    async def run(self, known: bool) -> None:
        """Take part, until cancelled. `known`: it was met already."""
        if known:
            self._met.set()
        async with trio.open_nursery() as nursery:
            if not known:
                await self._believed(self._meet)
            for work in (
                self._follower.run,
                self._writer.run,
                self._barriers.run,
                self._keeper.run,
                self._presence.run,
            ):
                nursery.start_soon(self._believed, work)

    async def _believed(self, work: Callable[[], Awaitable[None]]) -> None:
        """A log that cannot be believed is not used any more; whoever follows it is told."""
        try:
            await work()
        except* UntrustedFile as group:
            self._log.distrust(str(group.exceptions[0]))
            self._met.set()
            self._writer.stop(str(group.exceptions[0]))

    async def _meet(self) -> None:
        """The log is the one that the storage knows. Raises UntrustedFile."""
        log = self._log
        while True:
            try:
                identity, end = await log.client.until_answered(
                    lambda: look(log.client, log.keys, None)
                )
                if identity == self.identity and end.last >= log.last:
                    await log.client.until_answered(partial(log.verify, end))
                break
            except EtcdFailure:
                await trio.sleep(self._settings.backoff_most)
        if identity != self.identity:
            raise UntrustedFile(other_log(self._settings.prefix, identity, self.identity))
        if end.last < log.last:
            raise UntrustedFile(
                f"the log in etcd ends at {end.last}, and {log.last} was committed: it was put back from an"
                " older copy"
            )
        log.jump(end.head)
        self._met.set()

    async def closed(self) -> None:
        """Remember how far the log was seen, if that can be written."""
        if not self._log.broken:
            try:
                await self.mark()
            except StorageError as error:
                _logger.warning("how far the log was seen is not kept: %s", error)

    async def mark(self) -> None:
        """Remember how much is committed. Raises StorageError."""
        log, prefix = self._log, self._settings.prefix
        mark = Mark(identity=self.identity, prefix=prefix, position=log.last, batch=log.batch)
        await self._storage.append((), hard_state=msgspec.json.encode(mark))


def other_log(prefix: str, found: str, known: str) -> str:
    """What is wrong where another log is found than the one that is known."""
    return (
        f"under {prefix!r} etcd has {'log ' + found if found else 'nothing'}, and this node has followed log"
        f" {known}: it is another etcd or prefix, or was emptied; to begin anew, put the node's data away"
    )


async def look(client: EtcdClient, keys: Keys, made: str | None) -> tuple[str, End]:
    """The identity of the log, and where it ends; one that is not there is made, if there is a name for it,
    else it has none. Raises EtcdFailure, UntrustedFile."""
    then = []
    if made is not None:
        then = [
            messages.put(keys.meta, encode(Meta(format=FORMAT, identity=made))),
            messages.put(keys.head, encode(Head(last=0))),
        ]
    conditions = [messages.unchanged(keys.meta, 0), messages.unchanged(keys.head, 0)]
    request = messages.txn(conditions, then, [messages.look(keys.meta), messages.look(keys.head)])
    answer = await client.write(request)
    if answer.succeeded:
        return made or "", End(Head(last=0), answer.header.revision)
    meta, head = answer.found(0), answer.found(1)
    if meta is None or head is None:
        lost = keys.meta if meta is None else keys.head
        raise UntrustedFile(f"{lost!r} is gone from etcd: somebody has removed a part of the log")
    end = End(decode(keys.head, head.value, Head), head.mod_revision)
    return decode_meta(keys.meta, meta.value).identity, end


def read_mark(storage: Storage, prefix: str) -> Mark | None:
    """What the storage knows of the log; None if it has never seen one. Raises UntrustedFile for the storage
    of another engine."""
    kept = storage.hard_state
    if not kept and (restored(storage) or (storage.last == 0 and storage.snapshot is None)):
        return None
    try:
        mark = msgspec.json.decode(kept, type=Mark)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise UntrustedFile(
            "the storage has the log of another engine than 'etcd': take a snapshot with that one, and"
            " restore it into etcd (docs/etcd.md)"
        ) from None
    if mark.prefix != prefix:
        raise UntrustedFile(
            f"the storage belongs to the log under {mark.prefix!r}, and `prefix` is {prefix!r}"
        )
    return mark


def restored(storage: Storage) -> bool:
    """Whether the storage begins with a snapshot that somebody has put there, and nothing else."""
    found = storage.snapshot
    return (
        not storage.hard_state
        and found is not None
        and not found.about
        and found.position == storage.last == storage.compacted[0]
    )


async def first_meeting(client: EtcdClient, keys: Keys, settings: EtcdSettings) -> tuple[str, Head]:
    """The log as it is found, or made. Raises StateUnavailable if etcd does not answer in time."""
    made = uuid.uuid4().hex
    with trio.move_on_after(settings.start):
        try:
            identity, end = await client.until_answered(lambda: look(client, keys, made))
            return identity, end.head
        except EtcdFailure as error:
            raise StateUnavailable(f"etcd at {client.endpoint} refuses: {error}") from error
    raise StateUnavailable(
        f"no etcd answers within {settings.start:g} s: {client.trouble}", retry_after=1.0
    )


@asynccontextmanager
async def open_node(
    name: str,
    config: EtcdSettings,
    storage: Storage,
    folder: pathlib.Path,
    chance: random.Random,
    tell: Callable[[str], None],
) -> AsyncGenerator[Etcd]:
    """A node on the log; files of TLS are relative to the folder, and `tell` is told of trouble with etcd.

    Raises StateUnavailable where it has never seen the log and etcd is away, UntrustedFile, AssemblyError for
    files of TLS.
    """
    mark = read_mark(storage, config.prefix)
    tls = ClientCertificates(config.tls or ClientTlsSettings(), folder)
    async with open_client(
        body=ANSWER, context=tls, server_name=tls.server_name, connect_timeout=config.timeout
    ) as http:
        client = EtcdClient(config, http, chance, tell)
        keys = Keys(config.prefix.encode())
        if mark is None:
            identity, head = await first_meeting(client, keys, config)
        else:
            identity, head = mark.identity, Head(last=mark.position, batch=mark.batch)
        log = Log(client, keys, head)
        etcd = Etcd(config, storage, log, identity, name)
        if restored(storage) and storage.snapshot is not None:
            await etcd.restore(storage.snapshot, storage.read_snapshot())
        if mark is None:
            await etcd.mark()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(etcd.run, mark is None)
            yield etcd
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await etcd.closed()


@asynccontextmanager
async def open_etcd(config: EtcdSettings, context: Context) -> AsyncGenerator[Consensus]:
    """This node on the log, over the node's storage. Raises as `open_node`."""
    from flowcore.assembly import Status

    def tell(trouble: str) -> None:
        context.report(Status.DEGRADED if trouble else Status.OK, trouble)

    storage: Storage = context.component("storage")
    name = context.host.name
    async with open_node(name, config, storage, context.config_dir, context.random, tell) as etcd:
        yield etcd
