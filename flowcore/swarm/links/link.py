"""A link that stands: one task reads, one writes, and its users are told in the one that reads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import trio

from flowcore.errors import LinkFailed, StreamBroken
from flowcore.http.wakeup import Wakeup
from flowcore.swarm.authorities import NodeCertificate
from flowcore.swarm.interfaces import Lane, LinkUser, Stream
from flowcore.swarm.links.flows import Flow
from flowcore.swarm.links.frames import MOST_FRAME, RECORD, BrokenProtocol
from flowcore.swarm.links.greeting import Agreed
from flowcore.swarm.links.session import LinkDead, Session
from flowcore.swarm.links.settings import LinkSettings
from flowcore.swarm.links.stream import LinkStream
from flowcore.swarm.weather import Wire

logger = logging.getLogger(__name__)

_TURN = 65536
"""Bytes after which the writer lets others have a turn, if it did not have to wait."""
CLOSING = 0.5
"""Seconds that the peer has to take the goodbye, and to close as well."""


class Owner(Protocol):
    """Whose links they are."""

    @property
    def nursery(self) -> trio.Nursery:
        """Where those run who serve streams."""
        ...

    def ended(self, link: LiveLink, reason: str) -> None:
        """A link is no more."""
        ...


class LiveLink:
    """See `flowcore.swarm.Link`."""

    def __init__(
        self,
        owner: Owner,
        wire: Wire,
        agreed: Agreed,
        certificate: NodeCertificate,
        settings: LinkSettings,
        user: LinkUser,
        *,
        dialled: bool,
        number: int,
        order: int,
        begin: bytes,
        rest: bytes,
    ) -> None:
        now = trio.current_time()
        self._owner = owner
        self._wire = wire
        self.agreed = agreed
        self.certificate = certificate
        self._user = user
        self.dialled = dialled
        self.number = number
        """Of its connection among all that this node has had."""
        self.order = order
        """Of the welcome."""
        self._begin = begin
        self.session = Session(agreed, settings, self, now, dialled=dialled, rest=rest)
        self._down = trio.Event()
        self.reason = ""
        """Why it is down."""
        self.since = now
        self.peer_wants: bool | None = None
        """Whether the peer has a use of its own for it; None until it has said so."""
        self.unwanted_since: float | None = None
        self._scope = trio.CancelScope()
        self._to_send = Wakeup()
        self._posting = False
        """What is pending now is sent by who posts it."""
        self._left = False
        """The wire has something that the network has not taken at once."""
        self._broken: trio.BrokenResourceError | None = None
        """Why something could not be sent at once."""
        self._quiet = trio.Event()
        self._polite = False
        self._farewell = ""
        self.closing = False

    # ---- Link

    @property
    def peer(self) -> str:
        """The neighbour's name, which its certificate has proved."""
        return self.agreed.peer.name

    @property
    def address(self) -> str:
        """Where the peer takes links, as it says itself."""
        return self.agreed.peer.address

    @property
    def features(self) -> frozenset[str]:
        """What both sides know."""
        return self.agreed.features

    @property
    def rtt(self) -> float | None:
        """Seconds of a round trip, smoothed."""
        return self.session.round_trip.smoothed

    @property
    def down(self) -> trio.Event:
        """Set once it is broken or closed."""
        return self._down

    def post(self, lane: Lane, message: bytes) -> bool:
        """Put a message on a lane; False, and counted, if it is full or the link is down.

        What nodes agree by is on its way when this returns, where nothing waits before it and the network
        takes it: a turn of the scheduler sooner than by the task that writes.
        """
        if lane is not Lane.CONSENSUS or not self._to_send.waited or not self._wire.prompt:
            return self.session.post(lane, message)
        self._posting = True
        try:
            taken = self.session.post(lane, message)
        finally:
            self._posting = False
        if taken:
            self._send_now()
        return taken

    def _send_now(self) -> None:
        """Send what there is, and leave to the task that writes what the network does not take."""
        try:
            sent = self._wire.send_now(self.session.take(trio.current_time()))
        except trio.BrokenResourceError as error:
            self._broken = error
        else:
            self._left = not sent
            if sent and not self.session.outgoing:
                return
        self._to_send.set()

    async def open(self, lane: Lane, head: bytes, *, whole: bool = False) -> Stream:
        """Open a stream. Raises StreamBroken."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._down.is_set():
            raise StreamBroken(f"the link to {self.peer!r} is down: {self.reason}", unserved=True)
        return LinkStream(self.session.open(lane, head, whole=whole), self.peer)

    def doubt(self, *, grave: bool = False) -> None:
        """Something suggests that the peer is not there: ask it, and wait less long for its answer."""
        if not self._down.is_set():
            now = trio.current_time()
            self.session.round_trip.doubt(now, grave=grave)
            self.session.ask(
                now
            )  # judged by who knows how late this side is itself: `Links.keep_time`

    def status(self) -> dict[str, Any]:
        """What it is, has carried and holds; times in seconds, sizes in bytes."""
        session = self.session
        outgoing, (mine, theirs) = session.outgoing, session.streams
        trip = session.round_trip
        return {
            "peer": self.peer,
            "address": self.address,
            "dialled": self.dialled,
            "version": self.agreed.version,
            "features": sorted(self.features),
            "since": self.since,
            "rtt": trip.smoothed,
            "rtt_variation": trip.variation,
            "wanted_there": self.peer_wants,
            "bytes": {"in": session.bytes_in, "out": session.bytes_out},
            "frames": {
                "in": session.frames_in,
                "out": outgoing.frames,
                "late": session.late,
                "skipped": session.skipped,
            },
            "streams": {"ours": mine, "theirs": theirs},
            "lanes": {
                lane.name.lower(): {
                    "waiting": len(outgoing.messages[lane]),
                    "bytes": outgoing.messages[lane].bytes,
                    "dropped": outgoing.messages[lane].dropped,
                }
                for lane in Lane
            },
        }

    # ---- its life

    async def run(self) -> None:
        """Until it is down. What breaks it is its end, and nobody else's."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._guarded, self._write)
                    await self._guarded(self._read)
                    nursery.cancel_scope.cancel()
        finally:
            self.end("closed")
            with trio.move_on_after(CLOSING, shield=True):
                await self._wire.close(polite=self._polite)

    def end(self, reason: str) -> None:
        """It is down, and its users know it when this returns."""
        if self._down.is_set():
            return
        reason = self._farewell or reason  # that the peer hangs up then is no news
        self.reason = reason
        self._down.set()
        self._quiet.set()
        self.session.fail(f"the link to {self.peer!r} is down: {reason}")
        self._scope.cancel()
        self._owner.ended(self, reason)

    async def close(self, reason: str, seconds: float) -> None:
        """Send what waits, let streams end, say goodbye: within so many seconds, and `CLOSING` for that."""
        session = self.session
        self.closing = session.closing = True
        with trio.move_on_after(seconds):
            await self._until(lambda: session.idle)
        if not self._down.is_set():
            self._polite = True
            self._farewell = reason
            session.goodbye(reason)
            with trio.move_on_after(CLOSING):
                await self._until(lambda: not session.outgoing)
                await self._down.wait()  # the peer hangs up
        self.end(reason)

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait for what can only come true while something is sent or comes."""
        while not self._down.is_set() and not done():
            self._quiet = trio.Event()
            await self._quiet.wait()

    async def _guarded(self, part: Callable[[], Any]) -> None:
        try:
            await part()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.end(f"the connection was lost: {error}")
        except LinkFailed as error:
            if isinstance(error, BrokenProtocol):
                logger.error("the link to %r is closed: it has sent %s", self.peer, error)
            self.end(str(error))
        except Exception:
            logger.exception("the link to %r failed", self.peer)
            self.end("a fault of this side")

    async def _write(self) -> None:
        session, wire = self.session, self._wire
        sent, most = 0, RECORD
        if self._begin:
            await wire.send(self._begin)
        while True:
            if self._broken is not None:
                raise self._broken
            data = session.take(trio.current_time(), most)
            if data or self._left:
                self._left = False
                # where the network takes it at once, more of it is no longer a wait for what is urgent
                most = MOST_FRAME if await wire.send(data) else RECORD
                sent += len(data)
                if sent >= _TURN:  # others come in between
                    sent = 0
                    await trio.lowlevel.checkpoint()
            else:
                self._quiet.set()
                await self._to_send.wait()

    async def _read(self) -> None:
        session, wire = self.session, self._wire
        session.feed(b"", trio.current_time())
        while records := await wire.records():
            now = trio.current_time()
            for one in records:
                session.feed(one, now)
        self.end("the other side hung up")

    def tick(self, now: float) -> None:
        """Let time pass."""
        try:
            self.session.tick(now)
        except LinkDead as error:
            self.end(str(error))

    # ---- what the session tells

    def message(self, lane: Lane, message: bytes) -> None:
        self._user.message(self, lane, message)

    def opened(self, flow: Flow, head: bytes) -> None:
        self._owner.nursery.start_soon(self._serve, LinkStream(flow, self.peer), flow.lane, head)

    async def _serve(self, stream: LinkStream, lane: Lane, head: bytes) -> None:
        """Let the user serve a stream; whatever happens there, the stream ends."""
        try:
            await self._user.stream(self, lane, head, stream)
        except StreamBroken as error:
            stream.reset(str(error))
        except Exception:
            logger.exception("whoever served a stream of %r failed", self.peer)
            stream.reset("whoever served it failed")
        except BaseException:
            stream.reset("cancelled")
            raise
        else:
            stream.leave()

    def pending(self) -> None:
        if not self._posting:
            self._to_send.set()

    def wanted(self, wanted: bool) -> None:
        self.peer_wants = wanted

    def goodbye(self, reason: str) -> None:
        self._polite = True
        self.end(f"closed by the other side: {reason}")
