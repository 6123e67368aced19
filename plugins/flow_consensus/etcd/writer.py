"""Writing: what waits goes out as one transaction, on condition that the log still ends where it did.

The condition makes an answer that was lost harmless: the same transaction is sent again. Either it is done
now, or the condition fails, and what stands in its place says by its id whether it was done the first time.
Once the head has moved on, a transaction that is still on its way can never be done.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import attrs
import trio

from flow_consensus.etcd import messages
from flow_consensus.etcd.failures import (
    AnswerTooLarge,
    Compacted,
    EtcdFailure,
    NoRoom,
    NotSignedIn,
    Refused,
    Unanswered,
)
from flow_consensus.etcd.log import End, Log
from flow_consensus.etcd.records import FORMAT, Batch, Head, decode_batch, encode, encode_batch
from flow_consensus.etcd.settings import EtcdSettings
from flow_consensus.waiting import Proposal, Waiting
from flowcore.errors import OutcomeUnknown, StateUnavailable, TooLarge, UntrustedFile
from flowcore.telemetry import Histogram

_TURN = 0.005
"""Seconds for which who has had to contend lets the others go first, at most."""
_OVERHEAD = 16
"""Bytes that an entry needs beside its own, about."""


@attrs.define(eq=False)
class _Proposal(Proposal):
    """A command, and whether it is on its way."""

    flying: bool = False
    """Whether it may be committed already."""


class Writer:
    """A queue, and one task that writes."""

    def __init__(self, log: Log, settings: EtcdSettings) -> None:
        self._log = log
        self._settings = settings
        self._waiting: Waiting[_Proposal] = Waiting(
            settings, "to be sent", largest=settings.command_size
        )
        self._flying: list[_Proposal] = []
        self._wake = trio.Event()
        self._end: End | None = None
        """Where the log ended when it was last seen; None if etcd is to be asked first."""
        self.took = Histogram()
        self._proposals = self._unknown = 0
        self._batches = self._largest = self._conflicts = self._found_again = 0

    # ---- who proposes

    async def propose(self, command: bytes) -> int:
        """As `Consensus.propose`."""
        self._log.check()
        proposal = _Proposal(command)
        self._waiting.put(proposal)
        self._wake.set()
        with trio.move_on_after(self._settings.patience):
            await proposal.done.wait()
        if not proposal.done.is_set():
            self._give_up(proposal)
        position = await proposal.decided()
        self.took.record(trio.current_time() - proposal.since)
        return position

    def _give_up(self, proposal: _Proposal) -> None:
        """It has waited for too long."""
        trouble = self._log.client.trouble or "etcd is slow"
        proposal.done.set()
        if proposal.flying:
            self._unknown += 1
            raise OutcomeUnknown(f"{trouble}: it may be committed, now or later")
        self._waiting.refused += 1
        self._waiting.give_up(proposal)
        raise StateUnavailable(f"no commands are taken just now: {trouble}", retry_after=0.5)

    # ---- the task

    async def run(self) -> None:
        """Write what is proposed, until cancelled. Raises UntrustedFile if the log cannot be believed."""
        log = self._log
        try:
            while True:
                if not self._waiting:
                    self._wake = trio.Event()
                    await self._wake.wait()
                if self._end is None:
                    # so that what is proposed while etcd is away is refused for certain
                    try:
                        self._end = await log.client.until_answered(log.read_end)
                    except (Refused, Compacted, AnswerTooLarge, NotSignedIn) as error:
                        self._refuse(error)
                        continue
                batch = self._next_batch()
                if batch:
                    lost, began = self._conflicts, trio.current_time()
                    await self._commit(batch, self._end)
                    if self._conflicts > lost:  # others wait as well: it is their turn
                        await trio.sleep(min(_TURN, trio.current_time() - began))
        except UntrustedFile as error:
            log.distrust(str(error))
            self.stop(str(error))
            raise
        finally:
            self.stop("the node is being stopped")

    def stop(self, why: str) -> None:
        """Nothing is written any more."""
        self._log.stop(f"no commands are taken: {why}")
        stopped = self._log.stopped
        self._waiting.end(lambda: StateUnavailable(stopped))
        for one in self._flying:
            one.end(_unknown(why) if one.flying else lambda: StateUnavailable(stopped))
        self._flying = []

    def _refuse(self, error: Exception) -> None:
        """etcd says no to what is not even sent."""
        why = f"no commands are taken just now: {self._log.client.endpoint}: {error}"
        self._waiting.end(lambda: StateUnavailable(why, retry_after=1.0))

    def _next_batch(self) -> list[_Proposal]:
        batch: list[_Proposal] = []
        size, settings, waiting = 0, self._settings, self._waiting
        while waiting and len(batch) < settings.batch:
            size += len(waiting.first.data) + _OVERHEAD
            if batch and size > settings.command_size:
                break
            one = waiting.pop()
            if not one.done.is_set():
                batch.append(one)
        return batch

    async def _commit(self, proposals: Sequence[_Proposal], end: End) -> None:
        """Have these follow each other in the log, after what is there."""
        log, keys = self._log, self._log.keys
        self._flying = list(proposals)
        identifier = secrets.token_bytes(16)
        unsure = False
        while self._flying:
            if not unsure:  # else it must stay the very same transaction
                self._flying = [one for one in self._flying if not one.done.is_set()]
                if not self._flying:
                    break
                batch = Batch(FORMAT, identifier, [one.data for one in self._flying])
            first, last = end.last + 1, end.last + len(batch.entries)
            head = Head(last=last, batch=identifier.hex())
            key = keys.log(first)
            request = messages.txn(
                [*self._ends_at(end), messages.unchanged(key, 0)],
                [messages.put(key, encode_batch(batch)), messages.put(keys.head, encode(head))],
                [messages.look(keys.head), messages.look(key)],
            )
            self._fly(True)
            try:
                answer = await log.client.write(request)
                if answer.succeeded:
                    self._committed(first, batch, answer.header.revision)
                    return
                self._fly(unsure)  # this one never will be
                there = answer.found(1)
                now = log.end_of(answer.found(0), end.last)
            except Unanswered as error:
                self._end = None
                unsure = unsure or error.sent
                if not unsure:
                    self._put_back()
                    return
                if all(one.done.is_set() for one in self._flying):
                    self._flying = []
                    return
                await log.client.pause()
                continue
            except (Refused, NotSignedIn, Compacted, AnswerTooLarge) as error:
                self._end = None
                if await self._never(end, batch, error, unsure):
                    self._end_all(self._refusal(error))
                else:
                    self._end_all(_unknown(f"{log.client.endpoint}: {error}"))
                return
            if there is not None:
                other = decode_batch(key, there.value)
                if other.id == identifier:
                    self._found_again += 1
                    self._committed(first, batch, there.mod_revision)
                    self._end = now
                    return
                log.add(first, other)
            if there is None and unsure and now.last >= first:
                self._end = now
                self._end_all(_unknown("what came of it is not kept any more"))
                return
            if now.revision == end.revision:
                raise UntrustedFile(
                    f"{key!r} in etcd lies beyond the end of the log, {end.last}, or that is not as it was"
                    " written"
                )
            unsure = False
            self._conflicts += 1
            self._fly(False)
            end = now
            await trio.lowlevel.checkpoint()

    def _ends_at(self, end: End) -> list[messages.Request]:
        """The condition. A revision alone may come again, in an etcd that was put back from an older copy."""
        head = self._log.keys.head
        return [messages.unchanged(head, end.revision), messages.holds(head, encode(end.head))]

    async def _never(self, end: End, batch: Batch, error: Exception, unsure: bool) -> bool:
        """Whether a batch that is refused surely is not committed, and never will be; those who wait for it
        are told where it is. `unsure`: it was sent before."""
        if not unsure and not isinstance(error, NoRoom):
            return True
        log, keys = self._log, self._log.keys
        first = end.last + 1
        key = keys.log(first)
        known = not unsure
        try:
            if unsure:
                with suppress(NoRoom):
                    if await self._fenced(end):
                        return True
                    # another head is there; where nothing came with it, what was sent will find it
                    known = (await log.read_end()).last < first
            found = (await log.client.read(messages.get(key))).kvs
        except EtcdFailure:
            return False
        if found and decode_batch(key, found[0].value).id == batch.id:
            self._found_again += 1
            self._committed(first, batch, found[0].mod_revision)
            self._end = None
            return True
        return known or bool(found)

    async def _fenced(self, end: End) -> bool:
        """Put the same head anew, so that what is still on its way finds it changed; whether it was as it
        was. Raises EtcdFailure."""
        put = messages.put(self._log.keys.head, encode(end.head))
        return (await self._log.client.write(messages.txn(self._ends_at(end), [put], []))).succeeded

    def _fly(self, flying: bool) -> None:
        for one in self._flying:
            one.flying = flying

    def _put_back(self) -> None:
        """It was not sent: they wait as before."""
        self._fly(False)
        self._waiting.put_back(one for one in self._flying if not one.done.is_set())
        self._flying = []

    def _committed(self, first: int, batch: Batch, revision: int) -> None:
        head = Head(last=first + len(batch.entries) - 1, batch=batch.id.hex())
        self._end = End(head, revision)
        self._log.add(
            first, batch
        )  # or, where others' are missing before it, when the watch gives them
        self._batches += 1
        self._proposals += len(batch.entries)
        self._largest = max(self._largest, len(batch.entries))
        for position, one in enumerate(self._flying, start=first):
            one.position = position
            one.end(None)
        self._flying = []

    def _refusal(self, error: Exception) -> Callable[[], Exception]:
        why = f"{self._log.client.endpoint}: {error}"
        if "too large" in str(error) or isinstance(error, AnswerTooLarge):
            limit = self._settings.command_size
            return lambda: TooLarge(
                f"etcd takes no request of this size; its --max-request-bytes must be more than"
                f" `command_size`, {limit}",
                data={"limit": limit},
            )
        return lambda: StateUnavailable(f"nothing was written: {why}", retry_after=1.0)

    def _end_all(self, error: Callable[[], Exception]) -> None:
        for one in self._flying:
            one.end(error)
        self._flying = []

    def status(self) -> dict[str, Any]:
        """What it wrote and refused."""
        return {
            "waiting": len(self._waiting) + len(self._flying),
            "proposals": self._proposals,
            "refused": self._waiting.refused,
            "unknown": self._unknown,
            "batches": self._batches,
            "largest_batch": self._largest,
            "conflicts": self._conflicts,
            "found_again": self._found_again,
            "commit_seconds": attrs.asdict(self.took.durations()),
        }


def _unknown(why: str) -> Callable[[], Exception]:
    return lambda: OutcomeUnknown(f"{why}: it may be committed, now or later")
