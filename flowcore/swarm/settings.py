"""What can be set of a swarm: the `[swarm]` table."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

import attrs

from flowcore.config import Duration, Selection, Size, selection, setting
from flowcore.config import validators as v
from flowcore.resilience import BreakerSettings
from flowcore.swarm.links.settings import LinkSettings
from flowcore.swarm.overlay.settings import OverlaySettings
from flowcore.swarm.tls import NodeTlsSettings

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?")


def is_address(text: str) -> bool:
    """Whether a text is `host:port`, with a port of 1 to 65535 (0: any that is free); IPv6 in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return False
    if host.startswith("["):
        return host.endswith("]") and _is_ip(host[1:-1], ipaddress.IPv6Address)
    if host.replace(".", "").isdigit():  # a name is not of digits alone
        return _is_ip(host, ipaddress.IPv4Address)
    return _HOST.fullmatch(host) is not None


def _is_ip(text: str, kind: Callable[[str], object]) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def is_reachable(text: str) -> bool:
    """Whether a text is an address that others can connect to: of one host, with a port."""
    if not is_address(text):
        return False
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    return int(port) > 0 and not (host[0] in "0:" and _is_ip(host, _wildcard))


def _wildcard(host: str) -> None:
    if not ipaddress.ip_address(host).is_unspecified:
        raise ValueError(host)


def _seeds(seeds: Sequence[str]) -> bool:
    for seed in seeds:
        if not is_reachable(seed):
            raise ValueError(f"expected addresses of nodes, host:port each, not {seed[:100]!r}")
    return True


_ADDRESS = v.Check(is_address, "host:port")
_REACHABLE = v.Check(is_reachable, "host:port of this node, as others reach it")


def _node_breaker() -> BreakerSettings:
    return BreakerSettings(calls=5, window=30.0, open=5.0)


@attrs.frozen(kw_only=True)
class FederationSettings:
    """How the agents of other nodes are used."""

    loads: Duration = setting(
        1.0,
        validator=v.gt(0),
        help="how often a node tells how busy its agents are, if that has changed",
    )
    largest: Size = setting(
        64 * 2**20,
        validator=v.ge(2**16),
        help="largest request or result between nodes",
    )
    breaker: BreakerSettings = setting(
        factory=_node_breaker,
        help="when nothing is sent to a node for a while, since it keeps failing",
    )


@attrs.frozen(kw_only=True)
class SwarmSettings:
    """Several nodes as one: any of them serves the agents of all."""

    cluster: str = setting(
        "flow",
        validator=v.matches(r"[a-z0-9][a-z0-9-]{0,62}"),
        help="the swarm's name: nodes of another one are refused",
    )
    bind: str = setting(
        "127.0.0.1:7400",
        validator=_ADDRESS,
        help="where links (TCP) and gossip (UDP) of other nodes are taken",
    )
    advertise: str | None = setting(
        None,
        validator=_REACHABLE,
        help="where other nodes reach this one; unset: as `bind` says",
    )
    seeds: tuple[str, ...] = setting(
        (),
        validator=v.Check(_seeds, "a list of host:port"),
        help="where nodes of the swarm may be found; this node's own address may be among them",
    )
    tls: NodeTlsSettings = setting(help="who this node is, and whom it believes")
    topology: Selection = selection(
        "topology", "mesh", help="which nodes link to which", reloadable=True
    )
    membership: Selection = selection("membership", "swim", help="how it is known who is there")
    links: LinkSettings = setting(
        factory=LinkSettings, help="how links are kept, and what each of them may hold"
    )
    overlay: OverlaySettings = setting(
        factory=OverlaySettings, help="how ways are found, and how long is waited for them"
    )
    federation: FederationSettings = setting(
        factory=FederationSettings, help="how the agents of other nodes are used"
    )
