"""What the swarm gives to its membership plugin, and who takes what comes over its links."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Awaitable, Callable

from flowcore.errors import LinkFailed, StreamBroken
from flowcore.swarm.identity import Identity
from flowcore.swarm.interfaces import Datagrams, Lane, Link, Links, LinkUser, Stream
from flowcore.swarm.whole import receive_whole, send_whole

EXCHANGE = b"exchange"
"""The head of the streams by which memberships compare what they know."""
MOST_EXCHANGE = 8 * 2**20
"""Bytes of what one side may say in an exchange."""

Answer = Callable[[str, bytes], Awaitable[bytes]]
"""What a node is answered, by its proven name and what it said."""


class Port:
    """`flowcore.swarm.SwarmPort`, of one node."""

    def __init__(
        self,
        identity: Identity,
        links: Links,
        datagrams: Datagrams,
        *,
        cluster: str,
        address: str,
        seeds: tuple[str, ...],
        chance: random.Random,
        data_dir: pathlib.Path,
    ) -> None:
        self.name = identity.name
        self.cluster = cluster
        self.address = address
        self.seeds = seeds
        self.datagrams = datagrams
        self.chance = chance
        self.data_dir = data_dir
        self.sign = identity.sign
        self.verify = identity.verify
        self.certificate = identity.certificate
        self.learn = identity.learn
        self._links = links

    async def exchange(self, address: str, data: bytes) -> tuple[str, bytes]:
        """Ask whoever is at an address, over mutual TLS: its proven name, and its answer.

        Raises LinkFailed.
        """
        link = await self._links.dial(address)
        try:
            async with await link.open(Lane.GOSSIP, EXCHANGE) as stream:
                await send_whole(stream, data)
                return link.peer, await receive_whole(stream, MOST_EXCHANGE)
        except StreamBroken as error:
            raise LinkFailed(f"the exchange with {address} has failed: {error}") from None

    def linked(self) -> frozenset[str]:
        """The nodes to which a link stands now."""
        return frozenset(self._links.up())


class Sorting:
    """The user of a node's links: exchanges go to the membership, all else to the overlay."""

    def __init__(self, overlay: LinkUser, answer: Answer) -> None:
        self._answer = answer
        self._overlay = overlay
        self.link_up = overlay.link_up
        self.link_down = overlay.link_down
        self.message = overlay.message

    async def stream(self, link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        """Serve a stream that a neighbour has opened."""
        if head != EXCHANGE:
            await self._overlay.stream(link, lane, head, stream)
            return
        try:
            async with stream:
                data = await receive_whole(stream, MOST_EXCHANGE)
                await send_whole(stream, await self._answer(link.peer, data))
        except StreamBroken:
            return  # it will ask again
