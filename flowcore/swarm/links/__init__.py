"""Links: one connection to each neighbour, over mutual TLS, with lanes, and streams with credit."""

from flowcore.swarm.links.links import Connect, Node, OpenLinks
from flowcore.swarm.links.network import (
    MOST_DATAGRAM,
    CannotListen,
    UdpDatagrams,
    connect_tcp,
    open_ports,
)
from flowcore.swarm.links.opening import open_links
from flowcore.swarm.links.refusals import Audit
from flowcore.swarm.links.settings import LinkSettings

__all__ = [
    "MOST_DATAGRAM",
    "Audit",
    "CannotListen",
    "Connect",
    "LinkSettings",
    "Node",
    "OpenLinks",
    "UdpDatagrams",
    "connect_tcp",
    "open_links",
    "open_ports",
]
