"""Streams that a node opens: on the best way, on a second one, until it is known what has begun.

A stream is *taken* when its target says so with the first chunk; until then its opener waits. Whoever cannot
pass it on says so, too, and the opener tries another way. A way that breaks before the answer, or gives none
for a while, leaves open whether the target has it: the same stream, of the same number, is then opened on
another way, and the target, which serves a number once, either takes it or says that it has come before. So
`open` tells for certain whether anything may have begun: Unreachable if not, StreamBroken if so.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from flowcore.errors import StreamBroken, Unreachable
from flowcore.swarm.interfaces import MOST_OPENING, Lane, Link, Stream
from flowcore.swarm.overlay.frames import (
    Accepted,
    Call,
    Malformed,
    Refused,
    encode,
    read_answer,
)
from flowcore.swarm.overlay.numbers import Numbers
from flowcore.swarm.overlay.streams import FarStream
from flowcore.swarm.overlay.ways import Ways

_AGAIN = 0.02
"""Seconds until a way is tried again over which none led on."""
_MOST_WAYS = 2
"""Ways on which a stream is opened at a time."""


@attrs.define(eq=False)
class _Try:
    """One way on which a stream is opened, and what has come of it."""

    hop: str
    link: Link | None = None
    stream: Stream | None = None
    refused: Refused | None = None
    broken: str | None = None
    answered: bool = False

    @property
    def over(self) -> bool:
        return self.answered or self.refused is not None or self.broken is not None

    def doubt(self) -> None:
        """It has been long without an answer: perhaps the neighbour is not there."""
        if self.link is not None and not self.over:
            self.link.doubt()


@attrs.define(eq=False)
class _Opening:
    """A stream that is being opened."""

    node: str
    lane: Lane
    body: bytes
    whole: bool
    tried: set[str] = attrs.field(factory=set)
    running: list[_Try] = attrs.field(factory=list)
    taken: _Try | None = None
    doubtful: str | None = None
    """Why it may have come to its target nevertheless."""
    refusal: Refused | None = None
    """What was said last."""
    settled: bool = False
    """Whether no other way would do any better."""
    news: trio.Event = attrs.field(factory=trio.Event)

    def look(self) -> None:
        """See what has come of the ways that are tried."""
        for one in [one for one in self.running if one.over]:
            self.running.remove(one)
            if one.answered:
                self.taken = one
            elif one.broken is not None:
                self.doubtful = one.broken
            elif one.refused is not None:
                self.refusal = one.refused
                if one.refused.code == "known":
                    self.doubtful = self.doubtful or one.refused.reason
                self.settled |= one.refused.code in ("known", "service", "boot")


class Openings:
    """The streams that one node opens."""

    def __init__(
        self, ways: Ways, since: Callable[[str], float], ended: Callable[[int], None]
    ) -> None:
        """`since` tells since when a member cannot be reached; `ended` counts open streams."""
        self._ways = ways
        self._since = since
        self._count = ended
        self._numbers: Numbers[str] = Numbers()
        self._racing: set[_Opening] = set()
        self._changed = trio.Event()

    def met(self) -> None:
        """Ways or members have changed."""
        self._numbers.forget(self._ways.members)
        self._changed.set()
        self._changed = trio.Event()
        for opening in self._racing:
            opening.news.set()

    async def open(
        self, node: str, service: str, head: bytes, lane: Lane, *, whole: bool
    ) -> Stream:
        """Open a stream. Raises Unreachable: nothing has begun there; StreamBroken: it may have."""
        if len(head) > MOST_OPENING:
            raise ValueError(f"expected a head of at most {MOST_OPENING} bytes, not {len(head)}")
        ways = self._ways
        until = trio.current_time() + ways.settings.wait
        boot: int | None = None
        while True:
            boot = await self._wait_reachable(node, until, boot)
            number = self._numbers.next(node)
            body = encode(Call(ways.boot, boot, number, service, head))
            opening = _Opening(node, lane, body, whole)
            first = _Try(ways.routes.next_hops(node)[0])
            await self._start(opening, first)
            if first.stream is not None:
                try:
                    with trio.move_on_after(ways.settings.second_way):
                        await self._answer(first)
                except trio.Cancelled:
                    first.stream.reset("given up before it was taken")
                    raise
            opening.running.append(first)
            opening.look()
            if opening.taken is None:
                first.doubt()
                await self._race(opening, until)
            if opening.taken is not None:
                return self._taken(opening, opening.taken)
            if opening.doubtful is not None:
                raise StreamBroken(f"a stream to {node!r} may have begun: {opening.doubtful}")
            refusal = opening.refusal
            if refusal is None or refusal.code != "boot" or trio.current_time() >= until:
                why = "no way leads there" if refusal is None else refusal.reason
                raise Unreachable(f"{node!r} cannot be reached: {why}")

    async def _wait_reachable(self, node: str, until: float, former: int | None) -> int:
        """The boot of a node once a way leads there, another one than a former. Raises Unreachable if none
        does in time."""
        ways = self._ways
        while True:
            boot = ways.reports.boot(node)
            if boot is not None and boot != former and ways.routes.next_hops(node):
                return boot
            if node not in ways.members:
                raise Unreachable(f"{node!r} is no member of the swarm now")
            with trio.move_on_at(min(until, self._since(node) + ways.settings.wait)):
                await self._changed.wait()
                continue
            raise Unreachable(f"no way leads to {node!r} now")

    async def _start(self, opening: _Opening, one: _Try) -> None:
        """Open it on one way."""
        opening.tried.add(one.hop)
        link = one.link = self._ways.links.get(one.hop)
        head = self._ways.opening(opening.node, one.hop, opening.body)
        if link is None or head is None:
            one.refused = Refused("way", f"there is no link to {one.hop!r}")
            return
        try:
            one.stream = await link.open(opening.lane, head, whole=opening.whole)
        except StreamBroken as error:
            one.refused = Refused("way", str(error))

    async def _answer(self, one: _Try) -> None:
        """Wait for what its target says, or for its end."""
        stream = one.stream
        assert stream is not None
        try:
            chunk = await stream.receive()
            answer = read_answer(b"" if chunk is None else chunk)
        except StreamBroken as error:
            if error.unserved:
                one.refused = Refused("way", str(error))
            else:
                one.broken = str(error)
            return
        except Malformed as error:
            one.broken = str(error)
            stream.reset("no answer that can be read")
            return
        if isinstance(answer, Accepted):
            one.answered = True
        else:
            one.refused = answer
            stream.reset("refused")

    async def _race(self, opening: _Opening, until: float) -> None:
        """Try further ways until one is taken, or it is clear that none will be."""
        ways = self._ways
        self._racing.add(opening)
        try:
            async with trio.open_nursery() as nursery:
                for one in opening.running:
                    nursery.start_soon(self._run, opening, one)
                second_at = trio.current_time()
                while opening.taken is None and not (opening.settled and not opening.running):
                    now = trio.current_time()
                    opening.news = trio.Event()
                    until = self._until(opening.node, until)
                    due = until if not opening.running else float("inf")
                    if len(opening.running) < _MOST_WAYS and not opening.settled:
                        hop = self._next_way(opening)
                        if opening.running and hop is not None and now < second_at:
                            due = second_at
                        elif hop is not None and (opening.running or now < until):
                            for silent in opening.running:
                                silent.doubt()
                            one = _Try(hop)
                            opening.running.append(one)
                            nursery.start_soon(self._run, opening, one)
                            second_at = now + ways.settings.second_way
                        elif not opening.running:
                            if now >= until:
                                break
                            # ways may have changed in a moment: then all of them may be tried again
                            opening.tried.clear()
                            due = min(due, now + _AGAIN)
                    with trio.move_on_at(due):
                        await opening.news.wait()
                    opening.look()
                nursery.cancel_scope.cancel()
        finally:
            self._racing.discard(opening)

    async def _run(self, opening: _Opening, one: _Try) -> None:
        try:
            if one.stream is None:
                await self._start(opening, one)
            if not one.over:
                await self._answer(one)
        finally:
            if one.stream is not None and not one.over:
                one.stream.reset("given up before it was taken")
            opening.news.set()

    def _until(self, node: str, until: float) -> float:
        """Until when a way is waited for: longer, if all ways were lost while one was tried."""
        if node in self._ways.routes.reachable or node not in self._ways.members:
            return until  # nobody waits for who has left
        return max(until, self._since(node) + self._ways.settings.wait)

    def _next_way(self, opening: _Opening) -> str | None:
        routes = self._ways.routes
        for hop in (*routes.next_hops(opening.node), *routes.second_ways(opening.node)):
            if hop not in opening.tried:
                return hop
        return None

    def _taken(self, opening: _Opening, one: _Try) -> Stream:
        assert one.stream is not None
        assert one.link is not None
        ways, link = self._ways, one.link
        ways.streams(link, +1)
        ways.counters.rerouted += ways.routes.is_around(opening.node, one.hop)
        self._count(+1)

        def ended() -> None:
            self._count(-1)
            ways.streams(link, -1)

        return FarStream(opening.node, one.stream, ended, whole=opening.whole)
