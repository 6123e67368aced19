"""The engine under trio: datagrams and exchanges of the swarm's port, the clock, and the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import trio

from flow_membership import incarnations
from flow_membership.incarnations import RESERVE
from flow_membership.measures import of_swim
from flow_membership.swim.engine import Swim
from flow_membership.swim.oneself import Own
from flow_membership.swim.settings import SwimConfig
from flow_membership.swim.syncing import Record, refusal
from flow_membership.swim.wire import Malformed
from flowcore.errors import LinkFailed, StorageFailed
from flowcore.swarm import MOST_ABOUT, Member, MemberState, SwarmPort
from flowcore.telemetry import Reading

logger = logging.getLogger(__name__)

LEAVE_ROUNDS = 6
"""Gossip intervals for which a node that leaves answers on, so that its farewell gets around."""
_AT_ONCE = 8
"""Datagrams that are taken in at each turn of a busy event loop: an answer must not wait behind others."""
_MOST_ASKS = 4
"""Exchanges at a time that this node begins."""
_EXCHANGE = 10.0
"""Seconds that an exchange may take."""
_AGAIN = 5.0
"""Seconds until a disk that failed is tried again."""


class SwimMembership:
    """`Membership` by SWIM."""

    def __init__(self, config: SwimConfig) -> None:
        self._config = config
        self._engine: Swim | None = None
        self._about = b""
        self._revision = -1
        self._members: Mapping[str, Member] = MappingProxyType({})
        self._asks: dict[str, str] = {}
        self._asking: set[str] = set()
        self._sooner = trio.Event()
        self._due = 0.0
        self._wanted = trio.Event()
        self._low = trio.Event()
        self._told: set[str] = set()
        self.exchanges = self.failed = self.answered = self.malformed = 0
        self.unreached: dict[str, str] = {}
        """Addresses that could not be compared with, and why."""

    async def run(
        self,
        port: SwarmPort,
        changed: Callable[[Member], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take part until cancelled. Raises StorageFailed or UntrustedFile if no incarnation can be kept."""
        before = await trio.to_thread.run_sync(incarnations.last_reserved, port.data_dir)
        reserved = before + RESERVE
        await trio.to_thread.run_sync(incarnations.reserve, port.data_dir, reserved)
        self._port, self._changed = port, changed
        now = trio.current_time()
        self._engine = engine = Swim(
            self._config,
            Own(cluster=port.cluster, name=port.name, address=port.address, seeds=port.seeds),
            port,
            port.chance,
            now,
            incarnation=before + 1,
            reserved=reserved,
        )
        if self._about:
            engine.tell(self._about, now)
        try:
            async with trio.open_nursery() as nursery:
                self._flush(engine)
                for part in (self._tick, self._ask, self._reserve, *[self._receive] * _AT_ONCE):
                    nursery.start_soon(part, engine)
                task_status.started()
        finally:
            self._engine = None

    # ---- what the engine wants

    def _flush(self, engine: Swim) -> None:
        """Do what the engine wants done, now that something has happened."""
        post = self._port.datagrams.post
        for address, datagram in engine.take_datagrams():
            post(address, datagram)
        for member in engine.take_changes():
            self._tell_log(member, engine)
            self._changed(member)
        asks = engine.take_asks()
        if asks:
            self._asks |= asks
            self._wanted.set()
        if engine.take_reserve() is not None:
            self._low.set()
        if engine.due < self._due:
            self._sooner.set()
        for conflict in engine.beliefs.conflicts.values():
            if conflict.name not in self._told:
                self._told.add(conflict.name)
                logger.error(
                    "two nodes are called %r, one of them at %s: give each a name and certificate of its own",
                    conflict.name,
                    conflict.address,
                )

    def _tell_log(self, member: Member, engine: Swim) -> None:
        if member.state is MemberState.DEAD:
            known = engine.beliefs.known.get(member.name)
            accuser = known.accused.accuser if known and known.accused else "nobody"
            logger.warning("member %r at %s is dead, says %r", member.name, member.address, accuser)

    async def _receive(self, engine: Swim) -> None:
        receive = self._port.datagrams.receive
        while True:
            _, datagram = await receive()
            engine.receive(datagram, trio.current_time())
            self._flush(engine)

    async def _tick(self, engine: Swim) -> None:
        while True:
            self._sooner = trio.Event()
            self._due = engine.due
            with trio.move_on_at(self._due):
                await self._sooner.wait()
            now = trio.current_time()
            if now >= engine.due:
                engine.tick(now)
                self._flush(engine)

    async def _reserve(self, engine: Swim) -> None:
        """Keep on disk how far the incarnation may go, before it goes there."""
        while True:
            await self._low.wait()
            self._low = trio.Event()
            upto = engine.take_reserve()
            if upto is None:
                continue
            try:
                await trio.to_thread.run_sync(incarnations.reserve, self._port.data_dir, upto)
            except StorageFailed as error:
                logger.error("%s; until it can, accusations of this node are not refuted", error)
                await trio.sleep(_AGAIN)
                self._low.set()
            else:
                engine.reserve(upto, trio.current_time())
                self._flush(engine)

    # ---- exchanges

    async def _ask(self, engine: Swim) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                for address in list(self._asks):
                    if len(self._asking) >= _MOST_ASKS:
                        break
                    del self._asks[address]
                    if address not in self._asking and address != self._port.address:
                        self._asking.add(address)
                        nursery.start_soon(self._compare, engine, address)

    async def _compare(self, engine: Swim, address: str) -> None:
        """Exchange all that is known with whoever is at an address."""
        try:
            with trio.fail_after(_EXCHANGE):
                await self._exchange(engine, address)
        except trio.TooSlowError:
            self._not_reached(address, f"no answer within {_EXCHANGE:g} s")
        except (LinkFailed, Malformed) as error:
            self._not_reached(address, str(error))
        finally:
            self._asking.discard(address)
            self._wanted.set()

    async def _exchange(self, engine: Swim, address: str) -> None:
        name, data = await self._port.exchange(address, engine.syncing.ask())
        engine.met(address, name, trio.current_time())
        if name == self._port.name:
            return
        answer = engine.syncing.read_answer(data)
        if answer.refused:
            self._not_reached(address, answer.refused)
            return
        self.exchanges += 1
        self.unreached.pop(address, None)
        await self._take(engine, answer.records, name)
        if answer.wants:
            await self._port.exchange(address, engine.syncing.bring(answer.wants))

    def _not_reached(self, address: str, why: str) -> None:
        self.failed += 1
        if self.unreached.get(address) != why:
            logger.info("members are not compared with %s: %s", address, why)
        while len(self.unreached) >= _MOST_UNREACHED and address not in self.unreached:
            del self.unreached[next(iter(self.unreached))]
        self.unreached[address] = why

    async def _take(self, engine: Swim, records: list[Record], teller: str) -> None:
        """Believe records one by one: signatures take their time, and others are served between."""
        for record in records:
            try:
                engine.syncing.take(record, teller, trio.current_time())
            except Malformed:
                self.malformed += 1
            self._flush(engine)
            await trio.lowlevel.checkpoint()

    async def answer(self, name: str, data: bytes) -> bytes:
        engine = self._engine
        if engine is None:
            return refusal("membership does not run here")
        try:
            ask = engine.syncing.read_ask(data)
        except Malformed as error:
            self.malformed += 1
            return refusal(f"this cannot be read: {error}")
        why = engine.syncing.unlike(ask)
        if why:
            return refusal(why)
        self.answered += 1
        await self._take(engine, ask.records, name)
        return engine.syncing.answer(ask)

    # ---- what the swarm asks

    def members(self) -> Mapping[str, Member]:
        engine = self._engine
        if engine is not None and engine.beliefs.revision != self._revision:
            self._revision = engine.beliefs.revision
            self._members = MappingProxyType(engine.members())
        return self._members

    def tell(self, about: bytes) -> None:
        if len(about) > MOST_ABOUT:
            raise ValueError(f"{len(about)} bytes to tell (expected at most {MOST_ABOUT})")
        self._about = about
        if self._engine is not None:
            self._engine.tell(about, trio.current_time())
            self._flush(self._engine)

    async def leave(self) -> None:
        engine = self._engine
        interval = self._config.times().gossip_interval
        for turn in range(LEAVE_ROUNDS):
            if engine is None or self._engine is not engine or engine.beliefs.count() == 1:
                break
            if turn in (
                0,
                2,
            ):  # datagrams may be lost: to everybody twice, besides what gossip does
                engine.leave(trio.current_time())
                self._flush(engine)
            await trio.sleep(interval)
        await trio.lowlevel.checkpoint()

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        engine = self._engine
        return iter(()) if engine is None else of_swim(engine.status(trio.current_time()))

    def status(self) -> dict[str, Any]:
        """What was measured since it began; times in seconds."""
        engine = self._engine
        if engine is None:
            return {"type": "swim", "running": False}
        return {
            "type": "swim",
            "running": True,
            "profile": self._config.profile,
            **engine.status(trio.current_time()),
            "exchanges": {
                "made": self.exchanges,
                "failed": self.failed,
                "answered": self.answered,
                "malformed": self.malformed,
                "unreached": dict(self.unreached),
            },
        }


_MOST_UNREACHED = 64
