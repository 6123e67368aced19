"""Sealed datagrams: who has sent one is proved, what is altered, doubled or a stranger's is refused.

    datagram = version (1) | the sender's key, its first 8 bytes | counter (8) | sealed body and tag (16)

Each node makes an X25519 key for each boot, and says it in its signed `Alive` claim. Two nodes share a secret
by their keys; from it come two keys of ChaCha20-Poly1305 (RFC 8439), one for each direction, bound to the
swarm's name and to both nodes' names (BLAKE2b). So

- what was meant for another node, another swarm, or the other direction does not open;
- the counter is the nonce. It begins at 0 with each boot, whose key is new, so it never comes twice; the
  receiver keeps which of the latest it has had (RFC 4303, section 3.4.3) and refuses those, and older ones.
  No clock is needed, and what was recorded before a restart of either side is worth nothing;
- strangers cost a look into a table.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

VERSION = 1
"""The version of the protocol that is spoken here."""
KEY = 32
HEAD = 1 + 8 + 8
OVERHEAD = HEAD + 16
"""Bytes that a datagram has besides its body."""
WINDOW = 1024
"""Datagrams by which one may be late."""


class Refused(ValueError):
    """A datagram that is not taken; `why` is what it is counted under."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@attrs.define(eq=False)
class Peer:
    """Another node's boot: its keys, and what of it has been seen."""

    name: str
    key: bytes
    seal: ChaCha20Poly1305
    open: ChaCha20Poly1305
    highest: int = -1
    """The counter of the latest datagram that was opened."""
    seen: int = 0
    """A bit for each of the `WINDOW` counters up to the highest, the highest as the lowest bit."""

    def take(self, counter: int) -> bool:
        """Whether this counter was not there before; it is from now on."""
        ahead = counter - self.highest
        if ahead > 0:
            self.seen = (self.seen << ahead | 1) & _MASK if ahead < WINDOW else 1
            self.highest = counter
            return True
        bit = 1 << -ahead
        if -ahead >= WINDOW or self.seen & bit:
            return False
        self.seen |= bit
        return True


_MASK = (1 << WINDOW) - 1


class Sessions:
    """One boot's key, and the peers that can be spoken to."""

    def __init__(self, cluster: str, name: str, secret: bytes | None = None) -> None:
        """`secret` is the boot's private key, 32 bytes; drawn by the system if it is not given."""
        self._cluster = cluster
        self._name = name
        self._private = (
            X25519PrivateKey.generate()
            if secret is None
            else X25519PrivateKey.from_private_bytes(secret)
        )
        self.key = self._private.public_key().public_bytes_raw()
        self._head = bytes((VERSION,)) + self.key[:8]
        self._counter = 0
        self._by_key: dict[bytes, Peer] = {}
        self._known: dict[bytes, tuple[str, bytes]] = {}
        self.refused: Counter[str] = Counter()

    def meet(self, name: str, key: bytes) -> None:
        """Let datagrams of a node's boot in. Its keys are made when they are first needed."""
        if len(key) != KEY:
            raise ValueError(f"a key has {len(key)} bytes (expected {KEY})")
        self._known[key[:8]] = (name, key)

    def is_others(self, name: str, key: bytes) -> bool:
        """Whether another node has this key: then nobody else can have it."""
        known = self._known.get(key[:8])
        return key[:8] == self.key[:8] or (known is not None and known[0] != name)

    def part(self, key: bytes) -> None:
        """Let nothing in from this boot any more."""
        self._known.pop(key[:8], None)
        self._by_key.pop(key[:8], None)

    def seal(self, key: bytes, body: bytes) -> bytes | None:
        """A datagram for the node whose boot has this key; None if it is not known, or no key."""
        peer = self._by_key.get(key[:8]) or self._made(key[:8])
        if peer is None:
            return None
        self._counter += 1
        counter = self._counter.to_bytes(8, "big")
        head = self._head + counter
        return head + peer.seal.encrypt(b"\0\0\0\0" + counter, body, head)

    def open(self, datagram: bytes) -> tuple[Peer, bytes]:
        """Who has sent a datagram, and its body. Raises Refused, and counts it."""
        try:
            return self._open(datagram)
        except Refused as error:
            self.refused[error.why] += 1
            raise

    def _open(self, datagram: bytes) -> tuple[Peer, bytes]:
        if len(datagram) < OVERHEAD:
            raise Refused("garbage")
        if datagram[0] != VERSION:
            raise Refused("version")
        ident = datagram[1:9]
        peer = self._by_key.get(ident) or self._made(ident)
        if peer is None:
            raise Refused("stranger")
        counter = datagram[9:HEAD]
        try:
            body = peer.open.decrypt(b"\0\0\0\0" + counter, datagram[HEAD:], datagram[:HEAD])
        except InvalidTag:
            raise Refused("altered") from None
        if not peer.take(int.from_bytes(counter, "big")):
            raise Refused("replayed")
        return peer, body

    def _made(self, ident: bytes) -> Peer | None:
        known = self._known.get(ident)
        if known is None:
            return None
        name, key = known
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(key))
        except ValueError:  # a key of small order: everybody would share the same secret with it
            del self._known[ident]
            return None
        here, there = (self._name, self.key), (name, key)
        peer = Peer(
            name,
            key,
            ChaCha20Poly1305(self._direction(shared, here, there)),
            ChaCha20Poly1305(self._direction(shared, there, here)),
        )
        self._by_key[ident] = peer
        return peer

    def _direction(
        self, shared: bytes, sender: tuple[str, bytes], receiver: tuple[str, bytes]
    ) -> bytes:
        """The key of what goes from one to the other."""
        parts = [
            self._cluster.encode(),
            sender[0].encode(),
            sender[1],
            receiver[0].encode(),
            receiver[1],
        ]
        # each with its length before it, so that no two sets of parts are the same bytes
        told = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
        return hashlib.blake2b(told, digest_size=KEY, key=shared, person=b"flow swim v1").digest()
