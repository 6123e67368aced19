"""Following: a watch of the batches that are committed, and a look at the head where it may miss some."""

from __future__ import annotations

import trio

from flow_consensus.etcd import messages
from flow_consensus.etcd.failures import Compacted, EtcdFailure, Refused, Unanswered
from flow_consensus.etcd.log import Log
from flow_consensus.etcd.messages import WatchAnswer
from flow_consensus.etcd.records import after_all, decode_batch
from flow_consensus.etcd.settings import EtcdSettings
from flowcore.errors import UntrustedFile


class Follower:
    """One task: it has the log move on as etcd tells."""

    def __init__(self, log: Log, settings: EtcdSettings) -> None:
        self._log = log
        self._settings = settings
        self._heard = 0
        self._failures = 0
        self.watches = 0
        """How many were begun."""
        self.ended = ""
        """Why the last one ended."""

    async def run(self) -> None:
        """Follow, until cancelled. Raises UntrustedFile if the log cannot be believed."""
        while True:
            began = trio.current_time()
            try:
                await self._once()
            except* EtcdFailure as group:
                self.ended = str(group.exceptions[0])
            # reads may be answered where watches are not: these wait by themselves
            settings = self._settings
            if trio.current_time() - began > settings.backoff_most:
                self._failures = 0
            longest = settings.backoff * 2.0 ** min(self._failures, 30)
            self._failures += 1
            await trio.sleep(min(settings.backoff_most, longest))

    async def _once(self) -> None:
        """One watch, from where the log is to its end. Raises EtcdFailure."""
        log = self._log
        end = await log.client.until_answered(log.read_end)
        await log.verify(end)
        log.jump(end.head)
        prefix = log.keys.all_log
        request = messages.watch(prefix, after_all(prefix), end.revision + 1)
        self.watches += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, request)
            nursery.start_soon(self._make_sure)

    async def _listen(self, request: messages.Request) -> None:
        async with self._log.client.lines(messages.WATCH, request, WatchAnswer) as answers:
            async for answer in answers:
                self._heard += 1
                if answer.compact_revision:
                    raise Compacted(f"revisions up to {answer.compact_revision} are gone")
                if answer.canceled:
                    raise Refused(answer.cancel_reason or "the watch was cancelled")
                self._take(answer)

    def _take(self, answer: WatchAnswer) -> None:
        log = self._log
        for event in answer.events:
            if event.type != "PUT":
                continue
            first = log.keys.first_of(event.kv.key)
            batch = decode_batch(event.kv.key, event.kv.value)
            if event.kv.mod_revision != event.kv.create_revision:
                raise UntrustedFile(f"{event.kv.key!r} in etcd was written over")
            if not log.add(first, batch):
                raise Unanswered(f"a watch gave {first} where {log.last + 1} is next")
            self._failures = 0
            log.client.saw(event.kv.mod_revision)

    async def _make_sure(self) -> None:
        """Where it is silent, see whether there was something to say: a member may be cut off."""
        log = self._log
        heard, expected = self._heard, 0
        while True:
            await trio.sleep(self._settings.silence)
            if self._heard != heard:
                heard, expected = self._heard, 0
                continue
            if log.last < expected:
                raise Unanswered(f"the watch is silent, and the log goes on to {expected}")
            expected = (await log.client.until_answered(log.read_end)).last
