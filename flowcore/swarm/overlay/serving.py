"""Streams that others open to a node, or through it."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

import trio

from flowcore.errors import StreamBroken, Unreachable
from flowcore.swarm.interfaces import Handler, Lane, Link, Stream
from flowcore.swarm.overlay.frames import (
    Accepted,
    Call,
    Malformed,
    Opening,
    Refused,
    encode,
    read_opening,
)
from flowcore.swarm.overlay.relaying import relay
from flowcore.swarm.overlay.seen import Seen
from flowcore.swarm.overlay.streams import FarStream, near_streams
from flowcore.swarm.overlay.ways import Ways

logger = logging.getLogger(__name__)

_ACCEPTED = encode(Accepted())


class Serving:
    """The services of one node, and what passes through it."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._services: dict[str, Handler] = {}
        self._seen: dict[str, Seen] = {}
        self.nursery: trio.Nursery | None = None
        """Where streams of the node to itself are served, while the overlay runs."""
        self.streams = 0
        """Streams that end or pass here."""

    def count(self, more: int) -> None:
        """So many more streams begin here, or fewer."""
        self.streams += more

    def met(self) -> None:
        """Ways or members have changed."""
        known = {*self._ways.members, *self._ways.links}
        if len(self._seen) > 2 * len(known) + 64:
            for name in self._seen.keys() - known:
                del self._seen[name]

    @contextmanager
    def serving(self, service: str, handler: Handler) -> Generator[None]:
        """Serve streams that are opened to a service. Raises ValueError if it is served already."""
        if not 0 < len(service) <= 128:
            raise ValueError(f"expected a service of 1 to 128 characters, not {service!r:.200}")
        if service in self._services:
            raise ValueError(f"the service {service!r} is served already")
        self._services[service] = handler
        try:
            yield
        finally:
            del self._services[service]

    async def take(self, link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        """A neighbour opens a stream, to this node or through it."""
        ways = self._ways
        try:
            opening, call = read_opening(head)
        except Malformed as error:
            ways.counters.malformed += 1
            stream.reset(str(error))
            return
        ways.streams(link, +1)
        self.streams += 1
        try:
            if opening.target == ways.name:
                await self._serve(opening, call, link, stream)
            else:
                await self._pass_on(opening, link, lane, stream)
        except StreamBroken:
            pass  # both sides of it know
        finally:
            self.streams -= 1
            ways.streams(link, -1)

    async def _serve(self, opening: Opening, call: Call, link: Link, stream: Stream) -> None:
        ways, source = self._ways, opening.source
        handler = self._services.get(call.service)
        if not ways.proven("call", opening, link):
            await _refuse(stream, "proof", f"it is not proven that it comes from {source!r}")
            return
        seen = self._seen.setdefault(source, Seen())
        if call.receiver != ways.boot:
            await _refuse(stream, "boot", f"{ways.name!r} has restarted")
        elif seen.has(call.boot, call.number):
            ways.counters.duplicates += 1
            await _refuse(stream, "known", "it has come before, on another way")
        elif handler is None:
            await _refuse(stream, "service", f"{ways.name!r} has no service {call.service!r}")
        else:
            seen.add(call.boot, call.number)
            await stream.send(_ACCEPTED)
            far = FarStream(source, stream, lambda: None)
            await self._handle(handler, source, call.head, far)

    async def _handle(self, handler: Handler, source: str, head: bytes, stream: Stream) -> None:
        try:
            await handler(source, head, stream)
        except StreamBroken:
            raise
        except Exception:
            # one stream's fault is not the link's, in whose task this is
            logger.exception("a stream from %r failed", source)
            stream.reset("the one who served it failed")

    async def _pass_on(self, opening: Opening, link: Link, lane: Lane, stream: Stream) -> None:
        ways = self._ways
        for hop in ways.onward(opening, link.peer):
            way = ways.links.get(hop)
            if way is None:
                continue
            head = encode(
                Opening(
                    opening.source,
                    opening.target,
                    opening.hops - 1,
                    opening.body,
                    opening.signature,
                )
            )
            try:
                further = await way.open(lane, head)
            except StreamBroken:
                continue
            ways.counters.relayed += 1
            ways.streams(way, +1)
            try:
                await relay(stream, further, doubt=way.doubt, after=ways.settings.second_way)
            finally:
                ways.streams(way, -1)
            return
        await _refuse(stream, "way", f"no way leads from {ways.name!r} to {opening.target!r}")

    async def open_here(self, service: str, head: bytes, *, whole: bool) -> Stream:
        """Open a stream of the node to itself. Raises Unreachable."""
        handler = self._services.get(service)
        await trio.lowlevel.checkpoint()
        if handler is None or self.nursery is None:
            raise Unreachable(f"{self._ways.name!r} has no service {service!r}")
        mine, other = near_streams(self._ways.name)
        if whole:
            await mine.finish()

        async def serve() -> None:
            try:
                async with other:
                    await self._handle(handler, self._ways.name, head, other)
            except StreamBroken:
                pass

        self.nursery.start_soon(serve)
        return mine


async def _refuse(stream: Stream, code: str, reason: str) -> None:
    await stream.send(encode(Refused(code, reason[:512])))
    await stream.finish()
