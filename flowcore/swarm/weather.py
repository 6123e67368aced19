"""What can be wrong with the way between two nodes, on purpose: for who rehearses failure.

In fair weather nothing of it is asked. A rule says how bytes and datagrams to or from some nodes fare:

| | links (TCP) | datagrams (UDP) |
|---|---|---|
| delay, jitter | everything comes so much later, in order | each comes so much later |
| loss | comes later by a retransmission (RFC 6298: 200 ms at least) | is lost |
| cut | nothing comes until it is healed; a link dies of it as it would of a cut cable | is lost |

A rule is for what comes `in`, what goes `out`, or `both`: a cut one way is half of a cable.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import attrs
import trio

from flowcore.swarm.interfaces import Datagrams

Way = Literal["in", "out"]
_ON_THE_WAY = 256
"""Pieces that may be late at a time, each way of a link."""
RETRANSMISSION = 0.2
"""Seconds by which what is lost on TCP comes later."""


@attrs.frozen(kw_only=True)
class Rule:
    """How what passes between this node and some others fares."""

    nodes: frozenset[str] = frozenset()
    """Whom it is about; empty: everybody."""
    way: Literal["in", "out", "both"] = "both"
    delay: float = 0.0
    """Seconds."""
    jitter: float = 0.0
    """Seconds more or less, evenly."""
    loss: float = 0.0
    """The share that is lost, 0 to 1."""
    cut: bool = False

    def meets(self, node: str, way: Way) -> bool:
        """Whether it is about what passes this way."""
        return self.way in ("both", way) and (not self.nodes or node in self.nodes)


class Weather:
    """The rules that hold now, and what they have done."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._rules: dict[str, Rule] = {}
        self._changed = trio.Event()
        self.delayed = self.lost = self.held = 0

    @property
    def fair(self) -> bool:
        """Whether there is no rule."""
        return not self._rules

    def set(self, name: str, rule: Rule) -> None:
        """Have a rule from now on, in the place of the one of its name."""
        self._rules[name] = rule
        self._change()

    def lift(self, name: str) -> None:
        """Have it no more; nothing happens if there is none."""
        if self._rules.pop(name, None) is not None:
            self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def cut(self, node: str, way: Way) -> bool:
        """Whether nothing passes now."""
        return any(one.cut and one.meets(node, way) for one in self._rules.values())

    def delay(self, node: str, way: Way) -> float:
        """How much later something comes, in seconds, without what loss adds."""
        later = 0.0
        for one in self._rules.values():
            if one.meets(node, way) and (one.delay or one.jitter):
                later += one.delay + self._chance.uniform(-one.jitter, one.jitter)
        return max(0.0, later)

    def loses(self, node: str, way: Way) -> bool:
        """Whether this one is lost."""
        for one in self._rules.values():
            if one.loss and one.meets(node, way) and self._chance.random() < one.loss:
                self.lost += 1
                return True
        return False

    def due(self, node: str, way: Way, now: float) -> float:
        """When something that sets out now may pass, as far as no cut holds it, on trio's clock."""
        later = self.delay(node, way)
        if self.loses(node, way):
            later += RETRANSMISSION
        if later:
            self.delayed += 1
        return now + later

    async def pass_on(self, node: str, way: Way, due: float) -> None:
        """Wait until what is due then may pass."""
        if due > trio.current_time():
            await trio.sleep_until(due)
        if self.cut(node, way):
            self.held += 1
            while self.cut(node, way):
                await self._changed.wait()


class Wire(Protocol):
    """The bytes of a link, after TLS. One task may receive while another sends."""

    async def receive(self) -> bytes: ...
    async def records(self) -> list[bytes]: ...
    async def send(self, data: bytes) -> bool: ...
    @property
    def prompt(self) -> bool: ...
    def send_now(self, data: bytes) -> bool: ...
    async def close(self, *, polite: bool) -> None: ...


class Weathered:
    """A wire to a node, as the weather lets it be: what is late does not hold up what comes after it."""

    def __init__(self, wire: Wire, node: str, weather: Weather, nursery: trio.Nursery) -> None:
        self._wire = wire
        self._node = node
        self._weather = weather
        self._nursery = nursery
        self._scopes = trio.CancelScope(), trio.CancelScope()
        self._outgoing: trio.MemorySendChannel[tuple[float, bytes]] | None = None
        self._incoming: trio.MemoryReceiveChannel[tuple[float, list[bytes]]] | None = None
        self._failure: Exception | None = None

    async def receive(self) -> bytes:
        """As the wire does, later."""
        return b"".join(await self.records())

    async def records(self) -> list[bytes]:
        """As the wire does, later."""
        if self._incoming is None:
            if self._weather.fair:
                records = await self._wire.records()
                if self._weather.fair:
                    return records
                await self._weather.pass_on(self._node, "in", trio.current_time())
                return records
            send, self._incoming = trio.open_memory_channel[tuple[float, list[bytes]]](_ON_THE_WAY)
            self._nursery.start_soon(self._take_in, send)
        try:
            due, records = await self._incoming.receive()
        except trio.EndOfChannel:
            raise self._failure or trio.BrokenResourceError("the connection is closed") from None
        await self._weather.pass_on(self._node, "in", due)
        return records

    async def _take_in(self, send: trio.MemorySendChannel[tuple[float, list[bytes]]]) -> None:
        with self._scopes[0], send:
            try:
                while True:
                    records = await self._wire.records()
                    due = self._weather.due(self._node, "in", trio.current_time())
                    await send.send((due, records))
                    if not records:
                        return
            except Exception as error:
                self._failure = error

    async def send(self, data: bytes) -> bool:
        """As the wire does, later."""
        if self._failure is not None:
            raise self._failure
        if self._outgoing is None:
            if self._weather.fair:
                return await self._wire.send(data)
            self._outgoing, receive = trio.open_memory_channel[tuple[float, bytes]](_ON_THE_WAY)
            self._nursery.start_soon(self._send_out, receive)
        await self._outgoing.send((self._weather.due(self._node, "out", trio.current_time()), data))
        return False

    @property
    def prompt(self) -> bool:
        """Whether `send_now` may be asked: in fair weather, where the wire lets it be."""
        fair = self._weather.fair and self._outgoing is None and self._failure is None
        return fair and self._wire.prompt

    def send_now(self, data: bytes) -> bool:
        """As the wire does."""
        return self._wire.send_now(data)

    async def _send_out(self, receive: trio.MemoryReceiveChannel[tuple[float, bytes]]) -> None:
        with self._scopes[1], receive:
            try:
                async for due, data in receive:
                    await self._weather.pass_on(self._node, "out", due)
                    await self._wire.send(data)
            except Exception as error:
                self._failure = error

    async def close(self, *, polite: bool) -> None:
        """As the wire does."""
        for scope in self._scopes:
            scope.cancel()
        await self._wire.close(polite=polite and self._weather.fair)


class WeatheredDatagrams:
    """Datagrams, as the weather lets them be."""

    def __init__(
        self,
        datagrams: Datagrams,
        weather: Weather,
        nodes: Callable[[], Mapping[str, str]],
        nursery: trio.Nursery,
    ) -> None:
        """`nodes` gives the names of nodes by their addresses."""
        self._datagrams = datagrams
        self._weather = weather
        self._nodes = nodes
        self._nursery = nursery

    def post(self, address: str, data: bytes) -> None:
        """As the socket does, later or not at all."""
        weather = self._weather
        if weather.fair:
            self._datagrams.post(address, data)
            return
        node = self._nodes().get(address, "")
        if weather.cut(node, "out") or weather.loses(node, "out"):
            return
        later = weather.delay(node, "out")
        if later:
            weather.delayed += 1
            self._nursery.start_soon(self._post_later, later, address, data)
        else:
            self._datagrams.post(address, data)

    async def _post_later(self, later: float, address: str, data: bytes) -> None:
        await trio.sleep(later)
        self._datagrams.post(address, data)

    async def receive(self) -> tuple[str, bytes]:
        """As the socket does, without what is lost."""
        while True:
            address, data = await self._datagrams.receive()
            weather = self._weather
            if weather.fair:
                return address, data
            node = self._nodes().get(address, "")
            if not weather.cut(node, "in") and not weather.loses(node, "in"):
                return address, data
