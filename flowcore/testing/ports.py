"""What a membership plugin is given, on `Wires`: identities of a small authority, datagrams, exchanges."""

from __future__ import annotations

import pathlib
import random
from typing import Any

import msgspec
import trio
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from flowcore.errors import LinkFailed
from flowcore.swarm import Membership
from flowcore.testing.wires import WireDatagrams, Wires

_PATIENCE = 3.0
"""Seconds after which who asks somebody behind a cut gives up."""


def address_of(name: str) -> str:
    """Where a node takes links."""
    return f"{name}:7400"


class Ports:
    """The ports of some nodes, and the authority that knows their names.

    A certificate is a name and an Ed25519 key, signed by the authority.
    """

    def __init__(self, wires: Wires, seed: int = 0) -> None:
        self.wires = wires
        self.chance = random.Random(seed)
        self._authority = SigningKey(self.chance.randbytes(32))
        self.answering: dict[str, tuple[str, Membership]] = {}
        """Who answers exchanges, by where they are: the name of a node that runs, and its membership."""
        self.links: set[frozenset[str]] = set()
        """Pairs between which a link stands."""
        self.exchanged = 0

    def port(
        self,
        name: str,
        folder: pathlib.Path,
        *,
        seeds: tuple[str, ...] = (),
        cluster: str = "flow",
        at: str = "",
    ) -> Port:
        """What one boot of a node is given; its certificate is new. It is at `at` on the wires, if that is
        not its name, as of two nodes that go by one name.
        """
        key = SigningKey(self.chance.randbytes(32))
        return Port(self, name, folder, key, seeds, cluster, at or name)

    def issue(self, name: str, key: VerifyKey) -> bytes:
        body = msgspec.msgpack.encode((name, bytes(key)))
        return self._authority.sign(body).signature + body

    def check(self, certificate: bytes) -> tuple[str, VerifyKey] | None:
        """Whose it is; None if the authority has not issued it."""
        try:
            body = self._authority.verify_key.verify(certificate[64:], certificate[:64])
        except (BadSignatureError, ValueError):
            return None
        name, key = msgspec.msgpack.decode(body, type=tuple[str, bytes])
        return name, VerifyKey(key)

    async def exchange(self, sender: Port, address: str, data: bytes) -> tuple[str, bytes]:
        here, there, links = sender.at, address.partition(":")[0], self.wires.links
        for one, other in ((here, there), (there, here)):
            if not links.reaches(one, other):
                await trio.sleep(_PATIENCE)
                raise LinkFailed(f"{address} does not answer")
        await trio.sleep(links.between(here, there).latency(self.chance))
        found = self.answering.get(there)
        if found is None or address != address_of(there):
            raise LinkFailed(f"nobody is at {address}")
        self.exchanged += 1
        name, membership = found
        answer = await membership.answer(sender.name, data)
        await trio.sleep(links.between(there, here).latency(self.chance))
        return name, answer


class _Box:
    """`Datagrams` on wires.

    A node that crashes is cancelled, and what of it was woken in that moment still runs up to where it waits
    next: as with a socket, what it sends then is dropped, and nothing comes to it any more.
    """

    def __init__(self, wires: WireDatagrams) -> None:
        self._wires = wires
        self.posted = self.unsent = 0

    def post(self, address: str, data: bytes) -> None:
        try:
            self._wires.send(address.partition(":")[0], data)
        except trio.ClosedResourceError:
            self.unsent += 1
        else:
            self.posted += len(data)

    async def receive(self) -> tuple[str, bytes]:
        try:
            sender, data = await self._wires.receive()
        except trio.ClosedResourceError:
            await trio.sleep_forever()
        return address_of(sender), data


class Port:
    """`SwarmPort` of one boot of one node."""

    def __init__(
        self,
        ports: Ports,
        name: str,
        folder: pathlib.Path,
        key: SigningKey,
        seeds: tuple[str, ...],
        cluster: str,
        at: str,
    ) -> None:
        self._ports = ports
        self.at = at
        self._key = key
        self.name = name
        self.cluster = cluster
        self.address = address_of(at)
        self.seeds = seeds
        self.data_dir: Any = folder
        self.chance: Any = random.Random(ports.chance.getrandbits(64))
        self._box = ports.wires.datagrams(at)
        self.datagrams = _Box(self._box)
        self._certificates = {name: ports.issue(name, key.verify_key)}
        self._keys = {name: [key.verify_key]}

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data).signature

    def verify(self, name: str, data: bytes, signature: bytes) -> bool:
        return any(_is_by(key, data, signature) for key in self._keys.get(name, ()))

    def certificate(self, name: str) -> bytes | None:
        return self._certificates.get(name)

    def learn(self, certificate: bytes) -> str | None:
        found = self._ports.check(certificate)
        if found is None:
            return None
        name, key = found
        if name != self.name:
            self._certificates[name] = certificate
        keys = self._keys.setdefault(name, [])
        if key not in keys:
            keys.append(key)
        return name

    async def exchange(self, address: str, data: bytes) -> tuple[str, bytes]:
        return await self._ports.exchange(self, address, data)

    def linked(self) -> frozenset[str]:
        return frozenset(
            other for pair in self._ports.links if self.name in pair for other in pair - {self.name}
        )

    def close(self) -> None:
        """It is gone: nothing comes or goes any more."""
        self._box.close()


def _is_by(key: VerifyKey, data: bytes, signature: bytes) -> bool:
    try:
        key.verify(data, signature)
    except (BadSignatureError, ValueError):
        return False
    return True
