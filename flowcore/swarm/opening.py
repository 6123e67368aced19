"""Opening a node's part in a swarm: identity, ports, links, overlay, membership."""

from __future__ import annotations

import logging
import pathlib
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from flowcore.errors import AssemblyError
from flowcore.swarm.identity import Identity
from flowcore.swarm.interfaces import Member, Membership, MemberState, Topology
from flowcore.swarm.links import Audit, CannotListen, Node, connect_tcp, open_links, open_ports
from flowcore.swarm.overlay import SwarmOverlay
from flowcore.swarm.port import Port, Sorting
from flowcore.swarm.settings import SwarmSettings
from flowcore.swarm.swarm import Swarm
from flowcore.swarm.weather import Weather, WeatheredDatagrams
from flowcore.wall import WallClock

logger = logging.getLogger(__name__)

FAREWELL = 2.0
"""Seconds that a farewell may take."""
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  # nosec B104 - to refuse it as the address of a node


@asynccontextmanager
async def open_swarm(
    settings: SwarmSettings,
    *,
    name: str,
    config_dir: pathlib.Path,
    data_dir: pathlib.Path,
    topology: Topology,
    membership: Membership,
    chance: random.Random,
    audit: Audit,
    weather: Weather,
    wall: WallClock,
) -> AsyncGenerator[Swarm]:
    """Be a node of a swarm as long as the block lasts; leaving it says farewell.

    Entering waits for nobody else. Raises AssemblyError if the identity cannot be used, or the address not
    be listened on.
    """
    identity = Identity(settings.tls, config_dir, wall.moment)
    if identity.name != name:
        raise AssemblyError(
            f"{settings.tls.cert!r} is the certificate of node {identity.name!r}, and this is {name!r}:"
            " set [node] name, or have another one issued"
        )
    try:
        async with open_ports(settings.bind) as (listener, datagrams, bound):
            if bound.host in _WILDCARDS and settings.advertise is None:
                raise AssemblyError(
                    f"swarm.bind = {settings.bind!r} is no address where others can reach this node:"
                    " set swarm.advertise"
                )
            address = settings.advertise or str(bound)
            overlay = SwarmOverlay(
                name,
                topology,
                cluster=settings.cluster,
                sign=identity.sign,
                verify=identity.verify,
                certificate=identity.certificate,
                learn=identity.learn,
                chance=chance,
                settings=settings.overlay,
            )
            node = Node(cluster=settings.cluster, address=address)
            user = Sorting(overlay, membership.answer)
            async with (
                open_links(
                    identity,
                    node,
                    user,
                    listeners=[listener],
                    connect=connect_tcp,
                    settings=settings.links,
                    chance=chance,
                    audit=audit,
                    weather=weather,
                ) as links,
                overlay.running(links),
                trio.open_nursery() as late,
            ):
                under = WeatheredDatagrams(
                    datagrams,
                    weather,
                    lambda: {one.address: one.name for one in membership.members().values()},
                    late,
                )
                port = Port(
                    identity,
                    links,
                    under,
                    cluster=settings.cluster,
                    address=address,
                    seeds=tuple(one for one in settings.seeds if one != address),
                    chance=chance,
                    data_dir=data_dir,
                )
                swarm = Swarm(
                    settings,
                    name=name,
                    address=address,
                    topology=topology,
                    membership=membership,
                    links=links,
                    overlay=overlay,
                    sign=identity.sign,
                    key_in=identity.key_in,
                )
                async with _taking_part(swarm, overlay, port):
                    yield swarm
                late.cancel_scope.cancel()
    except CannotListen as error:
        raise AssemblyError(f"swarm.bind: {error}") from None


@asynccontextmanager
async def _taking_part(swarm: Swarm, overlay: SwarmOverlay, port: Port) -> AsyncGenerator[None]:
    """Have the membership run, and the overlay follow it."""

    followed: dict[str, str] = {}

    def changed(member: Member) -> None:
        nonlocal followed
        there = {
            one.name: one.address
            for one in swarm.members().values()
            if one.state.present and one.name != swarm.name
        }
        if there != followed:  # most changes are of what a member tells of itself
            followed = there
            overlay.follow(there)
        link = swarm.links.up().get(member.name)
        if link is not None and member.state in (MemberState.SUSPECT, MemberState.DEAD):
            link.doubt(grave=member.state is MemberState.DEAD)
        swarm.changed(member)

    async with trio.open_nursery() as nursery:
        await nursery.start(swarm.membership.run, port, changed)
        for member in tuple(swarm.members().values()):
            changed(member)
        try:
            yield
        finally:
            with trio.move_on_after(FAREWELL, shield=True) as farewell:
                await swarm.leave()
            if farewell.cancelled_caught:
                logger.warning("the others could not be told in time that this node leaves")
            nursery.cancel_scope.cancel()
