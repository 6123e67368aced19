"""The links of a node: those that are wanted, those that others want, and who may have one at all."""

from __future__ import annotations

import logging
import math
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from flowcore.errors import LinkFailed
from flowcore.swarm.authorities import NodeCertificate, NotVouchedFor
from flowcore.swarm.identity import Identity
from flowcore.swarm.interfaces import LinkUser
from flowcore.swarm.links.frames import Hello
from flowcore.swarm.links.greeting import (
    NEWEST,
    OLDEST,
    Greeter,
    Phase,
    Refused,
    is_duplicate,
    latest,
    refusal,
)
from flowcore.swarm.links.link import CLOSING, LiveLink
from flowcore.swarm.links.neighbour import Neighbour
from flowcore.swarm.links.refusals import Audit, Refusals
from flowcore.swarm.links.secure import SecureWire, wire_of
from flowcore.swarm.links.settings import LinkSettings
from flowcore.swarm.weather import Weather, Weathered, Wire

logger = logging.getLogger(__name__)

Connect = Callable[[str], Awaitable[trio.abc.Stream]]
"""Gives a connection to an address. Raises LinkFailed or OSError."""
_CHECK = 1.0
"""Seconds between two looks at files and dates of certificates."""


@attrs.frozen(kw_only=True)
class Node:
    """What a node says of itself in its hello."""

    cluster: str
    address: str
    """Where others reach it: `host:port`."""
    features: tuple[str, ...] = ()
    oldest: int = OLDEST
    newest: int = NEWEST
    boot: bytes = attrs.field(factory=lambda: secrets.token_bytes(16))


class OpenLinks:
    """See `flowcore.swarm.Links`. Made by `open_links`."""

    def __init__(
        self,
        identity: Identity,
        node: Node,
        user: LinkUser,
        connect: Connect,
        settings: LinkSettings,
        chance: random.Random,
        audit: Audit,
        weather: Weather | None,
        nursery: trio.Nursery,
        served: trio.Nursery,
    ) -> None:
        self._identity = identity
        self._node = node
        self._user = user
        self._connect = connect
        self._settings = settings
        self._chance = chance
        self._audit = audit
        self._weather = weather
        self._nursery = nursery
        self.nursery = served
        """Where those run who serve streams."""
        self._links: dict[str, LiveLink] = {}
        self._wanted: dict[str, Neighbour] = {}
        self._numbers = self._orders = 0
        self._open: dict[str, set[int]] = {}
        """Numbers of the connections that there are, by peer."""
        self._greeting = 0
        self._dialling: dict[str, trio.Lock] = {}
        self._arrivals = trio.lowlevel.ParkingLot()
        self._closing = False
        self.refusals = Refusals(audit)
        """Connections that came to nothing."""
        self.links_made = 0

    @property
    def name(self) -> str:
        """This node's."""
        return self._identity.name

    # ---- Links

    def want(self, addresses: Mapping[str, str]) -> None:
        """Have a link to each of these nodes (name → `host:port`), and let others go that nobody wants."""
        wanted = {name: one for name, one in addresses.items() if name != self.name}
        for name in self._wanted.keys() - wanted.keys():
            self._wanted.pop(name).stop()
            self._say_wanted(name)
        for name, address in sorted(wanted.items()):
            known = self._wanted.get(name)
            if known is not None:
                known.move(address)
                continue
            made = Neighbour(name, address, self, self._settings, self._chance)
            self._wanted[name] = made
            self._say_wanted(name)
            self._nursery.start_soon(made.run)

    def up(self) -> Mapping[str, LiveLink]:
        """The links that stand, by the name of their peers."""
        return dict(self._links)

    async def dial(self, address: str) -> LiveLink:
        """A link to whoever is at an address; the standing one if it is there already. Raises LinkFailed."""
        lock = self._dialling.setdefault(address, trio.Lock())
        try:
            async with lock:
                for link in self._links.values():
                    if link.address == address and not link.closing:
                        return link
                return await self.reach(address, None)
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._dialling.pop(address, None)

    def status(self) -> dict[str, Any]:
        """The links, the neighbours that are wanted and not there, and what was refused."""
        now = trio.current_time()
        return {
            "links": {name: link.status() for name, link in sorted(self._links.items())},
            "wanted": {
                name: one.status(now, up=name in self._links)
                for name, one in sorted(self._wanted.items())
            },
            "refused": dict(sorted(self.refusals.counts.items())),
            "made": self.links_made,
            "greeting": self._greeting,
        }

    def _say_wanted(self, name: str) -> None:
        link = self._links.get(name)
        if link is not None:
            link.session.say_wanted(name in self._wanted)

    # ---- connections

    async def reach(self, address: str, expected: str | None) -> LiveLink:
        """Dial: the link that comes of it, or that stands already. Raises LinkFailed."""
        seconds = self._settings.handshake_timeout
        try:
            with trio.fail_after(seconds):
                stream = await self._connected(address)
                try:
                    return await self._greet(stream, expected, dialled=True)
                except Refused as error:
                    if error.code != "duplicate":
                        raise
                    name = error.peer
                while (link := self._links.get(name)) is None:
                    await self._arrivals.park()
                return link
        except trio.TooSlowError:
            late = f"no link within {seconds:g} s"
            now = trio.current_time()
            self.refusals.add("timeout", late, address, expected, now, dialled=True)
            raise LinkFailed(f"no link to {address}: {late}") from None
        except LinkFailed as error:
            raise LinkFailed(f"no link to {address}: {error}") from error

    async def _connected(self, address: str) -> trio.abc.Stream:
        try:
            return await self._connect(address)
        except OSError as error:
            raise LinkFailed(f"cannot connect: {error.strerror or error}") from None

    async def accepted(self, stream: trio.abc.Stream) -> LiveLink:
        """A connection has come in. Raises LinkFailed; the stream is closed then."""
        return await self._greet(stream, None, dialled=False)

    async def _greet(
        self, stream: trio.abc.Stream, expected: str | None, *, dialled: bool
    ) -> LiveLink:
        """Shake hands, prove names, agree: the link that stands then. Raises LinkFailed."""
        remote = remote_of(stream)
        number, name, kept = 0, expected, False
        secure = SecureWire(
            wire_of(stream), self._identity.context(server=not dialled), server=not dialled
        )
        wire: Wire = secure
        certificate: NodeCertificate | None = None
        self._greeting += 1
        try:
            certificate = self._identity.check(await secure.handshake())
            name = certificate.name
            if expected not in (None, name):
                raise NotVouchedFor(f"{name!r} is there, and {expected!r} was dialled")
            # in one go with the hello, which names the others: of what has a larger number it knows nothing
            self._numbers += 1
            number = self._numbers
            self._open.setdefault(name, set()).add(number)
            if self._weather is not None:
                wire = Weathered(wire, name, self._weather, self._nursery)
            greeter = Greeter(self._hello(number, name), name, expected)
            await wire.send(greeter.begin())
            link = await self._agree(wire, greeter, certificate, number, dialled=dialled)
            kept = True
            return link
        except (
            LinkFailed,
            NotVouchedFor,
            trio.BrokenResourceError,
            trio.ClosedResourceError,
        ) as error:
            now = trio.current_time()
            raise self.refusals.found(error, remote, name, now, dialled=dialled) from None
        finally:
            self._greeting -= 1
            if not kept:
                if certificate is not None:
                    self._gone(certificate.name, number)
                with trio.move_on_after(CLOSING, shield=True):
                    await wire.close(polite=True)

    async def _agree(
        self,
        wire: Wire,
        greeter: Greeter,
        certificate: NodeCertificate,
        number: int,
        *,
        dialled: bool,
    ) -> LiveLink:
        """Hear the other side's hello; decide, or hear what it decides."""
        begin = b""
        try:
            while greeter.phase in (Phase.HELLO, Phase.WAIT):
                data = await wire.receive()
                if not data:
                    raise LinkFailed("the other side hung up during the greeting")
                greeter.feed(data)
            agreed = greeter.agreed
            assert agreed is not None
            standing = self._links.get(certificate.name)
            if self._closing:
                raise Refused("closing", "this node is being closed", ours=True)
            if greeter.phase is Phase.DECIDE:
                if standing is not None and is_duplicate(standing.agreed.peer, agreed.peer):
                    raise Refused("duplicate", "there is a link already", ours=True)
                self._orders += 1
                begin = greeter.welcome(self._orders)
            elif (
                standing is not None
                and standing.agreed.peer.boot == agreed.peer.boot
                and standing.order > greeter.order
            ):
                raise Refused("duplicate", "there is a newer link already", ours=True)
        except Refused as error:
            error.peer = certificate.name
            if error.ours:
                await wire.send(refusal(error.code, str(error)))
            raise
        if standing is not None:
            standing.end("replaced by a new connection")
        link = LiveLink(
            self,
            wire,
            agreed,
            certificate,
            self._settings,
            self._user,
            dialled=dialled,
            number=number,
            order=greeter.order,
            begin=begin,
            rest=greeter.rest,
        )
        self._stands(link)
        return link

    def _hello(self, number: int, peer: str) -> Hello:
        node, settings = self._node, self._settings
        return Hello(
            cluster=node.cluster,
            name=self.name,
            oldest=node.oldest,
            newest=node.newest,
            features=node.features,
            address=node.address,
            boot=node.boot,
            number=number,
            others=latest(self._open[peer] - {number}),
            window=settings.window,
            streams=settings.streams,
        )

    # ---- what becomes of them

    def _stands(self, link: LiveLink) -> None:
        name = link.peer
        self._links[name] = link
        self.links_made += 1
        if name in self._wanted:
            self._wanted[name].arrived()
        link.session.say_wanted(name in self._wanted)
        self._nursery.start_soon(self._live, link)
        logger.info("a link to %r at %s stands", name, link.address)
        self._audit("link.up", {"peer": name, "address": link.address, "dialled": link.dialled})
        self._user.link_up(link)
        self._notice(name)

    async def _live(self, link: LiveLink) -> None:
        try:
            await link.run()
        finally:
            self._gone(link.peer, link.number)

    def ended(self, link: LiveLink, reason: str) -> None:
        """A link is no more."""
        name = link.peer
        if self._links.get(name) is link:
            del self._links[name]
        self._open.get(name, set()).discard(link.number)
        logger.info("the link to %r is down: %s", name, reason)
        self._audit("link.down", {"peer": name, "address": link.address, "reason": reason})
        neighbour = self._wanted.get(name)
        if neighbour is not None:
            neighbour.ended(trio.current_time() - link.since, reason)
        self._user.link_down(link, reason)
        self._notice(name)

    def _notice(self, name: str) -> None:
        self._arrivals.unpark_all()
        neighbour = self._wanted.get(name)
        if neighbour is not None:
            neighbour.notice()

    def _gone(self, name: str, number: int) -> None:
        numbers = self._open.get(name)
        if numbers is not None:
            numbers.discard(number)
            if not numbers:
                del self._open[name]

    # ---- time

    async def keep_time(self) -> None:
        """Keep-alive, links that nobody wants, certificates that count no more; until cancelled."""
        every = min(0.1, self._settings.keepalive / 4, self._settings.dead_after / 4)
        checked, changes = -math.inf, self._identity.changes
        due = trio.current_time()
        while True:
            now = trio.current_time()
            late = now - due
            for link in tuple(self._links.values()):
                link.session.round_trip.slept(late)
                link.tick(now)
                self._let_go(link, now)
            if now - checked >= _CHECK:
                checked = now
                self._identity.refresh()
                for link in tuple(self._links.values()):
                    self._check(link, anew=self._identity.changes != changes)
                changes = self._identity.changes
            due = now + every
            await trio.sleep_until(due)

    def _let_go(self, link: LiveLink, now: float) -> None:
        if link.peer in self._wanted or link.peer_wants is not False or not link.session.idle:
            link.unwanted_since = None
        elif link.unwanted_since is None:
            link.unwanted_since = now
        elif now - link.unwanted_since >= self._settings.linger and not link.closing:
            self._nursery.start_soon(link.close, "nobody wants it", self._settings.drain)

    def _check(self, link: LiveLink, *, anew: bool) -> None:
        due = anew or not self._identity.in_time(link.certificate)
        if due and not self._identity.counts(link.certificate):
            reason, now = "its certificate counts no more", trio.current_time()
            self.refusals.add(
                "certificate", reason, link.address, link.peer, now, dialled=link.dialled
            )
            link.end(reason)

    async def close(self) -> None:
        """Take no more connections, send what waits on the links, and say goodbye."""
        self._closing = True
        for one in self._wanted.values():
            one.stop()
        self._wanted.clear()
        async with trio.open_nursery() as nursery:
            for link in tuple(self._links.values()):
                nursery.start_soon(link.close, "this node is being closed", self._settings.drain)


def remote_of(stream: trio.abc.Stream) -> str:
    """Where a connection is from, or goes to."""
    if isinstance(stream, trio.SocketStream):
        try:
            name = stream.socket.getpeername()
        except OSError:
            return "somebody who is gone"
        return f"{name[0]}:{name[1]}"
    return str(getattr(stream, "peer", "a stream"))
