"""`Neighbours`: the links of swarm nodes, in memory, for an overlay or whatever else uses links.

They hold to `flowcore.swarm.Links`: lanes in order, streams with credit, one link a pair, dialled as long as
it is wanted. What lies between the nodes is `links`, as in a `World` and on `Wires`. What goes into a cut
direction waits; if it is not healed soon, the link is dead on both sides, as keep-alive finds it. There is
neither TLS nor a handshake in it, so that sixty nodes are no matter; for these, real links go over `Wires`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self

import trio

from flowcore.errors import LinkFailed, StreamBroken
from flowcore.swarm import MOST_CHUNK, MOST_HEAD, MOST_MESSAGE, Lane, LinkUser
from flowcore.testing.world import Link, Links, uniform

WINDOW = 256 * 1024
_OVERHEAD = 32
_LANE = 512
"""Messages that may wait on a lane."""
_STREAMS = 256


class Neighbours:
    """The network, and all nodes that have links in it."""

    def __init__(
        self,
        seed: int = 0,
        *,
        link: Link | None = None,
        dead_after: float = 0.5,
        retry: float = 0.05,
        linger: float = 0.5,
    ) -> None:
        """Seconds: until a link is dead over which nothing comes, until who is not there is dialled again,
        and for which a link stands that nobody wants."""
        self.random = random.Random(seed)
        self.links = Links(link or Link(latency=uniform(0.001, 0.003)))
        self.links.watchers.append(self._changed)
        self.dead_after = dead_after
        self.retry = retry
        self.linger = linger
        self.nodes: dict[str, NeighbourLinks] = {}
        self.made = 0
        """Links that were ever made."""
        self.worst = 0
        """Bytes that the receiving end of any stream has ever held."""

    def join(self, name: str, user: LinkUser, nursery: trio.Nursery) -> NeighbourLinks:
        """The links of a node that begins now, until the nursery ends or `crash`; `user` is told of them."""
        return NeighbourLinks(self, name, user, nursery)

    def through(self, one: str, other: str) -> bool:
        """Whether both get through to each other."""
        return self.links.reaches(one, other) and self.links.reaches(other, one)

    def _changed(self) -> None:
        for links in self.nodes.values():
            for end in links.ends.values():
                if not self.through(links.name, end.peer):
                    end.pair.doubt()

    def delay(self, sender: str, receiver: str) -> float:
        return self.links.stream_delay(sender, receiver, self.random)


class _Direction:
    """What goes from one end to the other, each lane in order."""

    def __init__(self, pair: _Pair, source: str, target: str) -> None:
        self._pair = pair
        self._ends = (source, target)
        self._last = [0.0] * len(Lane)
        self.waiting = [0] * len(Lane)
        self._held: list[Callable[[], None]] = []
        self._queues: list[deque[tuple[Callable[[], None], bool]]] = [deque() for _ in Lane]

    def send(self, lane: Lane, deliver: Callable[[], None], *, message: bool) -> bool:
        pair = self._pair
        if message:
            if self.waiting[lane] >= _LANE:
                return False
            self.waiting[lane] += 1
        due = max(self._last[lane], trio.current_time() + pair.net.delay(*self._ends))
        self._last[lane] = due
        self._queues[lane].append((deliver, message))
        pair.later(due, self._arrive, lane)
        return True

    def _arrive(self, lane: Lane) -> None:
        deliver, message = self._queues[lane].popleft()
        if message:
            self.waiting[lane] -= 1
        if self._held or not self._pair.net.links.reaches(*self._ends):
            self._held.append(deliver)
            self._pair.doubt()
        else:
            deliver()

    def flush(self) -> None:
        """It is not cut any more: what was sent meanwhile comes now, as TCP sends it again."""
        held, self._held = self._held, []
        for deliver in held:
            if self._pair.up:
                deliver()


class _Pair:
    """A link with its two ends."""

    def __init__(self, net: Neighbours, one: NeighbourLinks, other: NeighbourLinks) -> None:
        self.net = net
        self.up = True
        self._doubted = False
        self._due: deque[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = deque()
        self.ends = (_Link(self, one, other), _Link(self, other, one))
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]

    def later(self, due: float, call: Callable[..., None], *args: Any) -> None:
        async def wait() -> None:
            await trio.sleep_until(due)
            if self.up:
                call(*args)

        nursery = self.net_nursery
        if nursery is not None:
            nursery.start_soon(wait)

    @property
    def net_nursery(self) -> trio.Nursery | None:
        for end in self.ends:
            if end.owner.alive:
                return end.owner.nursery
        return None

    def doubt(self) -> None:
        """Something did not arrive: keep-alive finds it out."""
        if not self._doubted:
            self._doubted = True
            self.later(trio.current_time() + self.net.dead_after, self._judge)

    def _judge(self) -> None:
        self._doubted = False
        if not self.net.through(*(end.owner.name for end in self.ends)):
            self.break_off("no answer")
        for end in self.ends:
            if self.up:
                end.out.flush()

    def break_off(self, reason: str) -> None:
        if self.up:
            self.up = False
            for end in self.ends:
                end.gone(reason)


class _Link:
    """One end of a link."""

    def __init__(self, pair: _Pair, owner: NeighbourLinks, peer: NeighbourLinks) -> None:
        self.pair = pair
        self.owner = owner
        self.peer = peer.name
        self.address = peer.address
        self.features: frozenset[str] = frozenset()
        self.rtt: float | None = None
        self.down = trio.Event()
        self.other: _Link
        self.out = _Direction(pair, owner.name, peer.name)
        self.streams: dict[tuple[str, int], _Stream] = {}
        self._next = 0

    def post(self, lane: Lane, message: bytes) -> bool:
        if len(message) > MOST_MESSAGE:
            raise ValueError("a message that is too large")
        if not self.pair.up:
            return False
        return self.out.send(lane, lambda: self.other.take(lane, message), message=True)

    def take(self, lane: Lane, message: bytes) -> None:
        if self.owner.alive:
            self.owner.user.message(self, lane, message)

    async def open(self, lane: Lane, head: bytes, *, whole: bool = False) -> _Stream:
        if len(head) > MOST_HEAD:
            raise ValueError("a head that is too large")
        await trio.lowlevel.checkpoint()
        if not self.pair.up:
            raise StreamBroken("the link is down")
        if len(self.streams) >= _STREAMS:
            raise StreamBroken("too many streams")
        self._next += 1
        key = (self.owner.name, self._next)
        stream = self.streams[key] = _Stream(self, key, lane)
        stream.say(lambda: self.other.opened(key, lane, head))
        if whole:
            await stream.finish()
        return stream

    def opened(self, key: tuple[str, int], lane: Lane, head: bytes) -> None:
        if not self.owner.alive:
            return
        stream = self.streams[key] = _Stream(self, key, lane)

        async def serve() -> None:
            try:
                async with stream:
                    await self.owner.user.stream(self, lane, head, stream)
            except StreamBroken as error:
                stream.reset(str(error))

        self.owner.nursery.start_soon(serve)

    def send(self, lane: Lane, deliver: Callable[[], None]) -> None:
        if self.pair.up:
            self.out.send(lane, deliver, message=False)

    def gone(self, reason: str) -> None:
        self.down.set()
        for stream in list(self.streams.values()):
            stream.break_off(reason)
        self.streams.clear()
        if self.owner.ends.get(self.peer) is self:
            del self.owner.ends[self.peer]
            if self.owner.alive:
                self.owner.user.link_down(self, reason)
                self.owner.news()

    def doubt(self, *, grave: bool = False) -> None:
        del grave
        self.pair.doubt()

    def status(self) -> dict[str, Any]:
        return {}


class _Stream:
    """One end of a stream of a link."""

    def __init__(self, link: _Link, key: tuple[str, int], lane: Lane) -> None:
        self._link = link
        self._key = key
        self._lane = lane
        self.peer = link.peer
        self.broken = trio.Event()
        self._reason: str | None = None
        self._credit = WINDOW
        self._inbox: deque[bytes] = deque()
        self._held = 0
        self._lent = 0
        self._mine = self._theirs = self._unread = False
        self._news = trio.Event()
        self._scope: trio.CancelScope | None = None

    def _other(self) -> _Stream | None:
        return self._link.other.streams.get(self._key)

    def say(self, deliver: Callable[[], None]) -> None:
        self._link.send(self._lane, deliver)

    def _tell(self, what: str, *args: Any) -> None:
        def deliver() -> None:
            other = self._other()
            if other is not None:
                getattr(other, what)(*args)

        self.say(deliver)

    def _changed(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        if raised and isinstance(raised[1], trio.Cancelled):
            self.reset("cancelled")
        elif not self._mine:
            self.reset("left before its end")
        elif not self._theirs and self._reason is None:
            self._unread = True
            self._inbox.clear()
            self._tell("take_stop")

    def _check(self) -> None:
        if self._reason is not None:
            raise StreamBroken(self._reason)

    async def send(self, chunk: bytes) -> None:
        assert len(chunk) <= MOST_CHUNK
        assert not self._mine
        await trio.lowlevel.checkpoint()
        while True:
            self._check()
            if self._unread:
                raise StreamBroken("the other side takes nothing more")
            if self._credit >= len(chunk) + _OVERHEAD:
                break
            await self._news.wait()
        self._credit -= len(chunk) + _OVERHEAD
        self._tell("take_data", chunk)

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self._mine:
            self._mine = True
            self._tell("take_finish")
            self._maybe_over()

    async def receive(self) -> bytes | None:
        await trio.lowlevel.checkpoint()
        if self._lent:
            self._tell("take_credit", self._lent)
            self._held -= self._lent
            self._lent = 0
        while not self._inbox:
            self._check()
            if self._theirs:
                return None
            await self._news.wait()
        self._check()
        chunk = self._inbox.popleft()
        self._lent = len(chunk) + _OVERHEAD
        return chunk

    def reset(self, reason: str = "") -> None:
        if self._reason is None and not (self._mine and self._theirs):
            self._tell("break_off", reason or "reset")
            self.break_off(reason or "reset")

    def breaks(self, scope: trio.CancelScope) -> None:
        self._scope = scope

    def take_data(self, chunk: bytes) -> None:
        self._held += len(chunk) + _OVERHEAD
        assert self._held <= WINDOW, "more than there was credit for"
        net = self._link.pair.net
        net.worst = max(net.worst, self._held)
        self._inbox.append(chunk)
        self._changed()

    def take_credit(self, size: int) -> None:
        self._credit += size
        self._changed()

    def take_finish(self) -> None:
        self._theirs = True
        self._changed()
        self._maybe_over()

    def take_stop(self) -> None:
        self._unread = True
        self._changed()

    def _maybe_over(self) -> None:
        if self._mine and self._theirs:
            self._link.streams.pop(self._key, None)

    def break_off(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            self._inbox.clear()
            self.broken.set()
            if self._scope is not None:
                self._scope.cancel()
            self._changed()
            self._link.streams.pop(self._key, None)


class NeighbourLinks:
    """The links of one node, while it lives."""

    def __init__(self, net: Neighbours, name: str, user: LinkUser, nursery: trio.Nursery) -> None:
        self._net = net
        self.name = name
        self.address = f"{name}:7400"
        self.user = user
        self.nursery = nursery
        self.alive = True
        self.ends: dict[str, _Link] = {}
        self.wanted: Mapping[str, str] = {}
        self._news = trio.Event()
        net.nodes[name] = self
        nursery.start_soon(self._keep)

    def want(self, addresses: Mapping[str, str]) -> None:
        self.wanted = dict(addresses)
        self.news()
        for end in self.ends.values():
            end.other.owner.news()

    def up(self) -> Mapping[str, _Link]:
        return dict(self.ends)

    async def dial(self, address: str) -> _Link:
        raise LinkFailed(f"nobody dials {address!r} here")

    def news(self) -> None:
        self._news.set()

    def crash(self, *, silent: bool = False) -> None:
        """Be no more: the others hear of it at once, or when keep-alive finds out."""
        self.alive = False
        if self._net.nodes.get(self.name) is self:
            del self._net.nodes[self.name]
        for end in list(self.ends.values()):
            if silent and end.other.owner.alive:
                end.other.owner.nursery.start_soon(self._found_dead, end.pair)
            else:
                end.pair.break_off("the connection was closed")

    async def _found_dead(self, pair: _Pair) -> None:
        await trio.sleep(self._net.dead_after)
        pair.break_off("no answer")

    async def _keep(self) -> None:
        idle: dict[str, float] = {}
        while True:
            self._news = trio.Event()
            now = trio.current_time()
            for name in self.wanted:
                if name not in self.ends:
                    self._dial(name)
            for name, end in list(self.ends.items()):
                used = name in self.wanted or self.name in end.other.owner.wanted
                if used or end.streams:
                    idle.pop(name, None)
                elif now - idle.setdefault(name, now) >= self._net.linger:
                    end.pair.break_off("nobody wants it")
            settled = not idle and all(name in self.ends for name in self.wanted)
            wait = float("inf") if settled else self._net.retry * self._net.random.uniform(0.5, 1.5)
            with trio.move_on_after(wait):
                await self._news.wait()
            await trio.sleep(self._net.links.default.latency(self._net.random))

    def _dial(self, name: str) -> None:
        net = self._net
        other = net.nodes.get(name)
        if other is None or not other.alive:
            return
        if not net.through(self.name, name):
            return
        net.made += 1
        pair = _Pair(net, self, other)
        for end in pair.ends:
            end.owner.ends[end.peer] = end
        for end in pair.ends:
            end.owner.user.link_up(end)
            end.owner.news()
