"""Several nodes as one: links, members, topology, overlay, and the agents of all of them."""

from flowcore.swarm.channel import Channel, open_channel
from flowcore.swarm.graph import Graph, GraphTopology
from flowcore.swarm.interfaces import (
    MOST_ABOUT,
    MOST_CHUNK,
    MOST_HEAD,
    MOST_MESSAGE,
    MOST_OPENING,
    Datagrams,
    Handler,
    Lane,
    Link,
    Links,
    LinkUser,
    Member,
    Membership,
    MemberState,
    Overlay,
    Reached,
    Receiver,
    Stream,
    SwarmPort,
    Topology,
)
from flowcore.swarm.settings import FederationSettings, SwarmSettings, is_address
from flowcore.swarm.swarm import Swarm
from flowcore.swarm.tls import NodeTlsSettings
from flowcore.swarm.weather import Rule, Weather
from flowcore.swarm.whole import pieces, receive_whole, send_whole

__all__ = [
    "MOST_ABOUT",
    "MOST_CHUNK",
    "MOST_HEAD",
    "MOST_MESSAGE",
    "MOST_OPENING",
    "Channel",
    "Datagrams",
    "FederationSettings",
    "Graph",
    "GraphTopology",
    "Handler",
    "Lane",
    "Link",
    "LinkUser",
    "Links",
    "Member",
    "MemberState",
    "Membership",
    "NodeTlsSettings",
    "Overlay",
    "Reached",
    "Receiver",
    "Rule",
    "Stream",
    "Swarm",
    "SwarmPort",
    "SwarmSettings",
    "Topology",
    "Weather",
    "is_address",
    "open_channel",
    "pieces",
    "receive_whole",
    "send_whole",
]
