"""Whose request a proxy passed on: forwarding headers, believed only from trusted proxies. Sans-IO.

Anybody can write a forwarding header; only what a trusted proxy has added to it is true. So it is read from
its end: the last entry was added by the peer, the one before by the peer's peer, and so on, as long as each
of them is a trusted proxy. The first that is none is the client; what it says itself is not looked at.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from flowcore.config.validators import Check
from flowcore.http.fields import HeaderMap

Header: TypeAlias = Literal["x-forwarded-for", "forwarded"]
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MOST_HOPS = 32
"""Proxies in a row; nobody has as many, and no header may make us look for longer."""

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = rf'{_WORD}=(?:{_WORD}|"(?:[^"\\]|\\.)*")'
_ELEMENT = re.compile(rf"[ \t]*({_PAIR}(?:;{_PAIR})*)?[ \t]*(?:,|\Z)")
_PAIRS = re.compile(rf'({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")')
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)|([0-9A-Fa-f:.]+))(?::[0-9]{1,5})?")
"""An address as entries write it: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`."""


def is_network(text: str) -> bool:
    """Whether a text is an address, or a network in CIDR form."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


NETWORKS = Check(
    lambda value: all(is_network(one) for one in value),
    'addresses or networks, such as "10.0.0.0/8"',
)
"""A validator for settings that list proxies."""


class Forwarding:
    """Which proxies are trusted, and which header they write.

    Only one header is looked at: a proxy that writes one of them passes the other on as the client made it.
    """

    def __init__(self, trusted: Sequence[str] = (), header: Header = "x-forwarded-for") -> None:
        self._networks: tuple[_Network, ...] = tuple(
            ipaddress.ip_network(one, strict=False) for one in trusted
        )
        self._name = header.encode()
        self._entries = _x_forwarded_for if header == "x-forwarded-for" else _forwarded

    def client(self, peer: str, headers: HeaderMap) -> str:
        """The address a request comes from: the peer's own, unless trusted proxies say another.

        An entry that is malformed, or names no address, ends what can be known: the proxy that wrote it is
        the answer then.
        """
        if not self._networks or not self.trusts(peer):
            return peer
        values = headers.getall(self._name)
        if not values:
            return peer
        answer = peer
        entries = self._entries(b",".join(values).decode("latin-1"))
        for _, entry in zip(range(_MOST_HOPS), entries, strict=False):
            address = _address(entry)
            if address is None:
                return answer
            answer = address
            if not self.trusts(address):
                return answer
        return answer

    def trusts(self, text: str) -> bool:
        """Whether an address is a trusted proxy's."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


def _x_forwarded_for(text: str) -> Iterator[str]:
    """The entries of X-Forwarded-For, the last one first."""
    while text:
        text, _, entry = text.rpartition(",")
        yield entry.strip(" \t")


def _forwarded(text: str) -> Iterator[str]:
    """The `for` of each element of Forwarded (RFC 7239 section 4), the last one first; none if malformed."""
    found: list[str] = []
    at = 0
    while at < len(text):
        match = _ELEMENT.match(text, at)
        if match is None:
            return
        at = match.end()
        if match[1] is not None:
            nodes = [
                pair[2] or pair[3] for pair in _PAIRS.finditer(match[1]) if pair[1].lower() == "for"
            ]
            found.append(re.sub(r"\\(.)", r"\1", nodes[0] or "") if len(nodes) == 1 else "")
    yield from reversed(found)


def _address(entry: str) -> str | None:
    """The address in an entry, in its usual form; None if there is none (`unknown`, `_hidden`)."""
    match = _NODE.fullmatch(entry)
    if match is None:
        return None
    try:
        return str(ipaddress.ip_address(match[1] or match[2] or match[3]))
    except ValueError:
        return None
