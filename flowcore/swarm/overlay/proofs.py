"""Who has said what: signatures over what goes from end to end.

**What is believed of whom.** Every node of a swarm is admitted by its CA, and a link proves its
neighbour's name. Beyond the neighbour nothing is proven by links, for others pass it on. So whatever a
relay may touch is signed by its source with the node's own key (Ed25519), for this swarm, this kind of
thing, this source and this target:

| a relay that is not honest | so |
|---|---|
| makes or changes a message, an opening, a broadcast, a report | refused and counted: it is not signed |
| plays a message or an opening again | dropped: numbered, and for one start of its target |
| plays an old report again | ignored: the newest holds; a node outdoes what it hears of itself |
| says that a link stands which does not | ignored: a link counts if both of its ends say so |
| says that somebody has a broadcast | refused: confirmations are signed by who has it |
| says that somebody has taken a message | refused: so are these |
| drops, delays, reorders | messages are sent again, streams end at their deadline |
| reads what passes | it can: links are encrypted from hop to hop |
| changes chunks of a stream that passes | it can: only the head is signed |
| says that it has not passed a stream on, and has | it can: its opener may then try elsewhere |

So a relay is trusted with the content of streams, as any member of the swarm is with its own. Where it
must not be, take a topology in which the two have a link: `mesh`. A broadcast that was recorded can be
played again to a node that has restarted since.

A signature costs 17 us to make and 45 us to check, and none is made for a message that goes to a
neighbour: there the link is proof enough. What is known to be old or double is dropped before it is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

Sign = Callable[[bytes], bytes]
"""An Ed25519 signature (64 bytes) of this node's."""
Verify = Callable[[str, bytes, bytes], bool]
"""Whether a node, by its name, has signed something; False where its certificate is not known."""

Certificate = Callable[[str], bytes | None]
"""A node's certificate (DER), as far as it is known; one's own is."""
Learn = Callable[[bytes], str | None]
"""Takes another node's certificate in, if the swarm's CA has issued it: its name; None if not."""


class Proofs:
    """Signatures of this node's, and checks of others', all for one swarm."""

    def __init__(
        self,
        cluster: str,
        sign: Sign,
        verify: Verify,
        certificate: Certificate = lambda name: None,
        learn: Learn = lambda certificate: None,
    ) -> None:
        self._about = b"flow overlay 1\0" + cluster.encode() + b"\0"
        self._sign = sign
        self._verify = verify
        self.certificate = certificate
        self._learn = learn

    def meet(self, name: str, certificate: bytes) -> bool:
        """Take a certificate in: whether it is that of a node of this name, and was not known."""
        return (
            bool(certificate)
            and self.certificate(name) != certificate
            and self._learn(certificate) == name
        )

    def make(self, kind: str, source: str, target: str, body: bytes) -> bytes:
        """This node's signature under something of a kind that goes from one to another."""
        return self._sign(self._said(kind, source, target, body))

    def hold(self, kind: str, source: str, target: str, body: bytes, signature: bytes) -> bool:
        """Whether the source has signed it."""
        if len(signature) != 64:
            return False
        return self._verify(source, self._said(kind, source, target, body), signature)

    def _said(self, kind: str, source: str, target: str, body: bytes) -> bytes:
        # names, clusters and kinds have no NUL, so no two things are written alike; the digest keeps the
        # two passes that Ed25519 makes over what it signs short
        digest = hashlib.blake2b(body, digest_size=32).digest()
        return self._about + f"{kind}\0{source}\0{target}\0".encode() + digest
