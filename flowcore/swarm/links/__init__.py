"""Links: one connection to each neighbour, over mutual TLS, with lanes, and streams with credit."""

from flowcore.swarm.links.links import Audit, Connect, Node, OpenLinks, open_links
from flowcore.swarm.links.network import (
    MOST_DATAGRAM,
    CannotListen,
    UdpDatagrams,
    connect_tcp,
    open_ports,
)
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
