"""Opening the links of a node, and taking connections in."""

from __future__ import annotations

import errno
import logging
import random
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from flowcore.errors import LinkFailed
from flowcore.http.arrival import Arrival
from flowcore.http.room import Room
from flowcore.swarm.identity import Identity
from flowcore.swarm.interfaces import LinkUser
from flowcore.swarm.links.link import CLOSING
from flowcore.swarm.links.links import Connect, Node, OpenLinks, remote_of
from flowcore.swarm.links.refusals import Audit
from flowcore.swarm.links.settings import LinkSettings
from flowcore.swarm.weather import Weather

logger = logging.getLogger(__name__)

_FULL = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_RETRY = 0.1
"""Seconds until the next try to accept when there was no room for a connection."""


def _no_audit(event: str, details: Mapping[str, Any]) -> None:
    del event, details


@asynccontextmanager
async def open_links(
    identity: Identity,
    node: Node,
    user: LinkUser,
    *,
    listeners: Iterable[trio.abc.Listener[trio.abc.Stream]],
    connect: Connect,
    settings: LinkSettings | None = None,
    chance: random.Random | None = None,
    audit: Audit = _no_audit,
    weather: Weather | None = None,
) -> AsyncGenerator[OpenLinks]:
    """The links of a node, taking connections when entered. When the block is left they are drained.

    `listeners` and `connect` are what is under TLS: `open_ports` and `connect_tcp`, or a simulated network.
    `weather` is what links fare in, where somebody rehearses failure.
    """
    settings = settings or LinkSettings()
    async with trio.open_nursery() as served, trio.open_nursery() as nursery:
        links = OpenLinks(
            identity,
            node,
            user,
            connect,
            settings,
            chance or random.Random(),
            audit,
            weather,
            nursery,
            served,
        )
        anteroom = Anteroom(links, settings, nursery)
        for listener in listeners:
            nursery.start_soon(anteroom.accept, listener)
        nursery.start_soon(links.keep_time)
        try:
            yield links
        finally:
            with trio.move_on_after(settings.drain + 4 * CLOSING, shield=True):
                await links.close()
            nursery.cancel_scope.cancel()
            served.cancel_scope.cancel()


class Anteroom:
    """Where connections are from when they come in until they are links. When it is full, the oldest goes."""

    def __init__(self, links: OpenLinks, settings: LinkSettings, nursery: trio.Nursery) -> None:
        self._links = links
        self._timeout = settings.handshake_timeout
        self._nursery = nursery
        self._room = Room(settings.handshakes, max(1, settings.handshakes // 2))

    async def accept(self, listener: trio.abc.Listener[trio.abc.Stream]) -> None:
        """Take connections in until the listener is closed, which a simulated crash does."""
        links = self._links
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                logger.info("nobody listens for links to %r any more", links.name)
                return
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                words = f"no connection can be accepted for want of resources: {error}"
                links.refusals.complain("full", words, trio.current_time())
                self._room.evict()
                await trio.sleep(_RETRY)
            else:
                self._nursery.start_soon(self._meet, stream)

    async def _meet(self, stream: trio.abc.Stream) -> None:
        """One connection; whatever becomes of it, others do not notice."""
        remote, refusals = remote_of(stream), self._links.refusals
        guest = Arrival(_host(stream), trio.current_time())
        if not self._room.admit(guest):  # never: each of them can go
            await trio.aclose_forcefully(stream)
            return
        reason = "busy", "too many connections that say nothing"
        try:
            with guest.scope:
                with trio.fail_after(self._timeout):
                    await self._links.accepted(stream)
                return
        except trio.TooSlowError:
            reason = "timeout", f"no greeting within {self._timeout:g} s"
        except LinkFailed:
            return  # told, counted and audited where it was found
        except Exception:
            logger.exception("a connection of %s failed", remote)
            reason = "fault", "a fault of this side"
        finally:
            self._room.leave(guest)
        refusals.add(*reason, remote, None, trio.current_time(), dialled=False)


def _host(stream: trio.abc.Stream) -> str:
    """Whose connection it is, for the room: an address without its port."""
    if isinstance(stream, trio.SocketStream):
        try:
            return str(stream.socket.getpeername()[0])
        except OSError:
            return "gone"
    return "somebody"
