"""Frames: what goes over a link, each a MessagePack array behind four bytes of length.

The first bit of the four says that whoever does not know the frame may skip it, so that a newer node can say
more to an older one; the others are the length of what follows. The array begins with the frame's number.
Nothing is allocated for a length: a frame is decoded once all of it has come, and none is longer than
`MOST_FRAME`, its length included. Where the network does not take them at once they are no longer than
`RECORD`, as is a TLS record (RFC 8446 section 5.1): the most that anything urgent then waits behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

from flowcore.errors import LinkFailed
from flowcore.swarm.interfaces import MOST_CHUNK

RECORD = 16 * 1024
"""Bytes that are sent at once, at most, where the network is slow."""
MOST_FRAME = MOST_CHUNK + 64
"""Bytes of one frame with its length, at most."""
PIECE = MOST_FRAME - 64
"""Bytes of a large message or chunk that go in one frame, at most."""
MOST_HELLO = 4096
"""Bytes of a frame before both sides have agreed, at most."""
HEADER = 4
_IGNORABLE = 0x8000_0000
_MOST_REASON = 300


class BrokenProtocol(LinkFailed):
    """The peer has sent what no node sends: the link is closed."""


class Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What all frames are: an array whose first item is the frame's number."""


# ---- before the link stands


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Who speaks. Newer nodes may say more at its end: this one frame is the same in all versions."""

    cluster: str
    name: str
    oldest: int
    """The protocol's versions that it speaks: from this one,"""
    newest: int
    """to that."""
    features: tuple[str, ...]
    address: str
    """Where it takes links: `host:port`."""
    boot: bytes
    """Another one after each start (16 bytes)."""
    number: int
    """Of this connection among all that this start of the node has had: it grows."""
    others: tuple[int, ...]
    """The numbers of the connections that it has with the same peer now."""
    window: int
    """Bytes of credit that each stream to it begins with."""
    streams: int
    """How many streams may be open to it at a time."""


class Welcome(Frame, tag=1, frozen=True):
    """The link stands: said by the one of both whose name comes first."""

    order: int
    """Grows with each welcome of this start of the node: of two, the later one counts."""


class Refusal(Frame, tag=2, frozen=True):
    """It does not, and why: `duplicate`, `cluster`, `version`, `name` or `closing`."""

    code: str
    reason: str


# ---- on a link that stands


class Message(Frame, tag=8, frozen=True):
    """A whole message."""

    lane: int
    data: bytes


class First(Frame, tag=9, frozen=True):
    """The first piece of a message that is `size` bytes long."""

    lane: int
    size: int
    data: bytes


class More(Frame, tag=10, frozen=True):
    """A further piece of the message that is under way on this lane."""

    lane: int
    data: bytes


class Open(Frame, tag=11, frozen=True):
    """A stream begins."""

    stream: int
    """Odd if the link's dialler opens it, else even; one after the other."""
    lane: int
    head: bytes


class Data(Frame, tag=12, frozen=True):
    """A chunk of a stream, or a piece of one."""

    stream: int
    more: bool
    """Whether the chunk goes on in the next one."""
    data: bytes


class Credit(Frame, tag=13, frozen=True):
    """So much more may be sent."""

    stream: int
    size: int


class Finish(Frame, tag=14, frozen=True):
    """Nothing more comes from this side."""

    stream: int


class Stop(Frame, tag=15, frozen=True):
    """Nothing more is taken on this side, which has sent all that it had to."""

    stream: int


class Reset(Frame, tag=16, frozen=True):
    """A stream ends at once, both ways."""

    stream: int
    reason: str
    unserved: bool = False
    """Whether nobody has begun with it."""


class Ping(Frame, tag=17, frozen=True):
    """Is answered by a Pong of the same number."""

    number: int


class Pong(Frame, tag=18, frozen=True):
    number: int


class Wanted(Frame, tag=19, frozen=True):
    """Whether this side has a use of its own for the link."""

    wanted: bool


class Goodbye(Frame, tag=20, frozen=True):
    """This side closes the link; all that it had to say was said."""

    reason: str


Greeting = Hello | Welcome | Refusal
Spoken = (
    Message
    | First
    | More
    | Open
    | Data
    | Credit
    | Finish
    | Stop
    | Reset
    | Ping
    | Pong
    | Wanted
    | Goodbye
)

_encoder = msgspec.msgpack.Encoder()
_number = msgspec.msgpack.Decoder(list[msgspec.Raw])
_any_int = msgspec.msgpack.Decoder(int)
_T = TypeVar("_T")


def encode(frame: Any, *, ignorable: bool = False) -> bytes:
    """A frame as bytes, with its length before it."""
    body = _encoder.encode(frame)
    size = len(body)
    if size > MOST_FRAME - HEADER:
        raise ValueError(f"expected a frame of at most {MOST_FRAME - HEADER} bytes, not {size}")
    return (size | _IGNORABLE if ignorable else size).to_bytes(HEADER, "big") + body


def reason_text(reason: str) -> str:
    """A reason as it is sent: of bounded length, on one line."""
    words = "".join(one if one.isprintable() else " " for one in reason[:_MOST_REASON])
    return words.encode(errors="replace").decode()


class Decoder(Generic[_T]):
    """Bytes, however they come, into frames of one type (a union of structs with numbers)."""

    def __init__(self, of: Any, most: int = MOST_FRAME) -> None:
        self._decode = msgspec.msgpack.Decoder(of).decode
        self._known = frozenset(one.__struct_config__.tag for one in of.__args__)
        self._most = most
        self._rest: list[bytes] = []
        self._needed = 0  # bytes of the rest from which on there may be a whole frame in it
        self._held = 0
        self.skipped = 0
        """Frames that were not known, and did not need to be."""

    @property
    def rest(self) -> bytes:
        """What has come and is not decoded yet."""
        return b"".join(self._rest)

    def keep(self, data: bytes) -> None:
        """Take bytes in that somebody else will decode (`rest`)."""
        self._rest.append(data)
        self._held += len(data)

    def feed(self, data: bytes) -> Iterator[_T]:
        """The frames that are whole now. Raises BrokenProtocol, after those that were right."""
        if self._rest:
            self.keep(data)
            if self._held < self._needed:
                return
            data = b"".join(self._rest)
            self._rest.clear()
        view, at, end = memoryview(data), 0, len(data)
        self._needed = HEADER
        try:
            while end - at >= HEADER:
                head = int.from_bytes(data[at : at + HEADER], "big")
                size = head & ~_IGNORABLE
                if size > self._most - HEADER:
                    raise BrokenProtocol(
                        f"expected a frame of at most {self._most - HEADER} bytes, not {size}"
                    )
                begin = at + HEADER
                if end - begin < size:
                    self._needed = HEADER + size
                    break
                at = begin + size
                try:
                    frame: _T = self._decode(view[begin:at])
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    if not (head & _IGNORABLE and self._unknown(view[begin:at])):
                        raise BrokenProtocol(f"a frame that is none: {error}") from None
                    self.skipped += 1
                    continue
                yield frame
        finally:
            self._held = end - at
            if self._held:
                self._rest.append(data[at:])

    def _unknown(self, body: memoryview) -> bool:
        """Whether it is an array with the number of a frame that is not known here."""
        try:
            items = _number.decode(body)
            return bool(items) and _any_int.decode(items[0]) not in self._known
        except (msgspec.DecodeError, RecursionError):
            return False
