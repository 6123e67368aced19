"""What the parts of a swarm are to each other, from below.

| part | what it gives | made of |
|---|---|---|
| links | one connection to each neighbour: lanes, streams with credit | sockets, certificates |
| membership | who is there, and alive | a plugin, over datagrams and exchanges |
| topology | which links there shall be, and which way leads where | a plugin: pure functions of the members |
| overlay | messages and streams from any node to any node | links, along the topology |
| federation | the agents of all nodes in one directory | the overlay, the members |

A node is spoken of by its name, which its certificate proves.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

import attrs
import trio


class Lane(enum.IntEnum):
    """What goes before what on one link: a lower number never waits behind a higher one's bytes."""

    CONSENSUS = 0
    GOSSIP = 1
    CONTROL = 2
    REQUESTS = 3
    BULK = 4


# ---- links


class Stream(Protocol):
    """Two ways of bytes between two nodes, each bounded by the credit that its receiver gives.

    Chunks keep their borders and their order. One task may send while another receives. Leaving its block
    without `finish` cancels it on both sides; after `finish` it tells the other side that nothing more is
    taken, and what was sent still arrives. Whoever serves a stream need not open the block.
    """

    @property
    def peer(self) -> str:
        """The node at the other end, wherever it is."""
        ...

    @property
    def broken(self) -> trio.Event:
        """Set once it was reset, by either side, or its way is lost; not by a proper end."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *raised: object) -> None: ...

    async def send(self, chunk: bytes) -> None:
        """Send a chunk of at most `MOST_CHUNK` bytes; waits for credit. Raises StreamBroken."""
        ...

    async def finish(self) -> None:
        """Nothing more comes from this side."""
        ...

    async def receive(self) -> bytes | None:
        """The next chunk; None once the other side has finished. Raises StreamBroken.

        Credit for it is given back when the next one is asked for.
        """
        ...

    def reset(self, reason: str = "") -> None:
        """End it at once, both ways: the other side's calls raise StreamBroken with the reason."""
        ...

    def breaks(self, scope: trio.CancelScope) -> None:
        """Cancel a scope when it is broken: as a task that waits for `broken` would, without the task.

        One scope at a time; the latest holds.
        """
        ...


MOST_CHUNK = 64 * 1024
"""Bytes of one chunk of a stream, at most."""
MOST_HEAD = 15 * 1024
"""Bytes of the head of a stream to a neighbour, at most."""
MOST_OPENING = 13 * 1024
"""Bytes of the head of a stream to any node, at most."""
MOST_MESSAGE = 1024 * 1024
"""Bytes of one message without a stream, at most."""


class Link(Protocol):
    """A connection to a neighbour, whose name its certificate has proved."""

    @property
    def peer(self) -> str: ...
    @property
    def address(self) -> str:
        """Where the peer takes links, as it says itself: `host:port`."""
        ...

    @property
    def features(self) -> frozenset[str]:
        """What both sides know beyond the version that they have agreed upon."""
        ...

    @property
    def rtt(self) -> float | None:
        """Seconds of a round trip, smoothed; None before the first."""
        ...

    @property
    def down(self) -> trio.Event:
        """Set once it is broken or closed."""
        ...

    def post(self, lane: Lane, message: bytes) -> bool:
        """Put a message on a lane, without waiting; False, and counted, if the lane is full or it is down.

        Messages of one lane arrive in order, or not at all.
        """
        ...

    async def open(self, lane: Lane, head: bytes, *, whole: bool = False) -> Stream:
        """Open a stream. Raises StreamBroken if the link is down, or has too many of them.

        The head is of at most `MOST_HEAD` bytes, else ValueError. If it is all that this side has to say
        (`whole`), this side has finished with it.
        """
        ...

    def doubt(self, *, grave: bool = False) -> None:
        """Something suggests that the peer is not there (`grave`: its members are sure): ask it, and let the
        link be dead soon if it does not answer. May be said any number of times."""
        ...

    def status(self) -> dict[str, Any]: ...


class LinkUser(Protocol):
    """Who uses the links of a node: told in the link's own task, so it must be quick and not raise."""

    def link_up(self, link: Link) -> None: ...
    def link_down(self, link: Link, reason: str) -> None: ...
    def message(self, link: Link, lane: Lane, message: bytes) -> None: ...
    async def stream(self, link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        """Serve a stream that the peer has opened, in a task of its own; its end ends the stream."""
        ...


class Links(Protocol):
    """The links of a node: as many as are wanted, and those that others want with it."""

    def want(self, addresses: Mapping[str, str]) -> None:
        """Have a link to each of these nodes (name → `host:port`), and let others go that nobody wants.

        Dialled again and again while they are wanted, with a wait that grows and is drawn by chance.
        """
        ...

    def up(self) -> Mapping[str, Link]:
        """The links that stand, by the name of their peers."""
        ...

    async def dial(self, address: str) -> Link:
        """A link to whoever is at an address, such as a seed; the standing one if it is there already.

        It is let go if nobody wants it. Raises LinkFailed.
        """
        ...


# ---- members


class MemberState(enum.StrEnum):
    """What is believed of a member."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"

    @property
    def present(self) -> bool:
        """Whether it counts as part of the swarm: suspects do, until they are dead."""
        return self in (MemberState.ALIVE, MemberState.SUSPECT)


MOST_ABOUT = 512
"""Bytes that a member may tell of itself with each message of gossip."""


@attrs.frozen(kw_only=True)
class Member:
    """A member, as this node knows it."""

    name: str
    address: str
    """Where it takes links: `host:port`."""
    state: MemberState
    incarnation: int
    since: float
    """When it came into this state here, in seconds on trio's clock."""
    about: bytes = b""
    """What it tells of itself, at most `MOST_ABOUT` bytes: the federation's own form."""


class Datagrams(Protocol):
    """Small messages to any address: they may be lost, late, doubled, and read by others."""

    def post(self, address: str, data: bytes) -> None:
        """Send, without waiting; what cannot be sent is dropped and counted."""
        ...

    async def receive(self) -> tuple[str, bytes]:
        """The next one: from which address, and what."""
        ...


class SwarmPort(Protocol):
    """What the swarm gives to the membership plugin."""

    @property
    def name(self) -> str: ...
    @property
    def cluster(self) -> str:
        """The swarm's name: what is signed or sealed for another one is refused."""
        ...

    @property
    def address(self) -> str:
        """Where this node takes links and datagrams, as others reach it: `host:port`."""
        ...

    @property
    def seeds(self) -> tuple[str, ...]:
        """Addresses to begin with."""
        ...

    @property
    def datagrams(self) -> Datagrams: ...
    @property
    def chance(self) -> Any:
        """A seeded `random.Random`."""
        ...

    @property
    def data_dir(self) -> Any:
        """A folder for what must outlast a restart, such as the incarnation."""
        ...

    def sign(self, data: bytes) -> bytes:
        """An Ed25519 signature (64 bytes) of this node's."""
        ...

    def verify(self, name: str, data: bytes, signature: bytes) -> bool:
        """Whether a node has signed it; False for a node whose certificate is not known."""
        ...

    def certificate(self, name: str) -> bytes | None:
        """A node's certificate (DER), as far as it is known; one's own is."""
        ...

    def learn(self, certificate: bytes) -> str | None:
        """Take another node's certificate in, if the swarm's CA has issued it: its name; None if not."""
        ...

    async def exchange(self, address: str, data: bytes) -> tuple[str, bytes]:
        """Ask whoever is at an address, over mutual TLS: its proven name, and its answer.

        `answer` of the other node's membership gives the answer. Raises LinkFailed.
        """
        ...

    def linked(self) -> frozenset[str]:
        """The nodes to which a link stands now."""
        ...


class Membership(Protocol):
    """Who is there. Opened by the plugin, run by the swarm."""

    async def run(
        self,
        port: SwarmPort,
        changed: Callable[[Member], None],
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Take part until cancelled. Started once `members` can be asked; that needs nobody else.

        `changed` is called with each member that is new, or whose state, address or `about` is another.
        """
        ...

    def members(self) -> Mapping[str, Member]:
        """Everybody known, by name, oneself included; the dead and those who left for some while."""
        ...

    def tell(self, about: bytes) -> None:
        """This is what this node tells of itself from now on; raises ValueError beyond `MOST_ABOUT`."""
        ...

    async def answer(self, name: str, data: bytes) -> bytes:
        """What `name`, whose certificate has proved it, is answered on its `exchange`."""
        ...

    async def leave(self) -> None:
        """Say farewell to the others: they need not wait to know that this node is gone."""
        ...

    def status(self) -> dict[str, Any]: ...


# ---- topology


class Topology(Protocol):
    """Which links there are among members. Pure: the same on every node that knows the same members.

    `members` are names in order, each once, with `node` among them.
    """

    def neighbours(self, node: str, members: Sequence[str]) -> tuple[str, ...]:
        """To whom a node has links: it is in the list of each of them, too."""
        ...

    def next_hops(self, node: str, target: str, members: Sequence[str]) -> tuple[str, ...]:
        """Neighbours by which `target` is reached, the shortest way first; () if it is no member."""
        ...

    def children(self, root: str, node: str, members: Sequence[str]) -> tuple[str, ...]:
        """To whom a node passes on what `root` broadcasts: a tree that reaches each once."""
        ...

    def reach(self, members: int) -> int:
        """The most hops between two of so many members."""
        ...

    def tolerates(self, members: int) -> int:
        """How many of so many members may be lost at once, whichever, with the rest still connected before
        anything has been computed anew; at least two of them, for one alone is nothing to connect.

        Whoever is lost, the links computed anew among the rest connect them all.
        """
        ...


# ---- overlay

Handler = Callable[[str, bytes, Stream], Awaitable[None]]
"""Serves one stream: who opened it, its head, the stream."""
Receiver = Callable[[str, bytes], None]
"""Takes one message: from whom, and what. It must be quick and not raise."""


@attrs.frozen(kw_only=True)
class Reached:
    """What became of a broadcast: names, in order."""

    reached: tuple[str, ...]
    missed: tuple[str, ...]


class Overlay(Protocol):
    """From any node to any node, whatever the topology.

    Messages are of at most 1022 KiB, topics and services of 1 to 128 characters; else it is a ValueError.
    """

    @property
    def name(self) -> str:
        """This node's name."""
        ...

    def reachable(self) -> Mapping[str, int]:
        """The nodes that can be reached now, and over how many hops; without oneself."""
        ...

    def unreachable(self) -> Mapping[str, float]:
        """Members that are present and cannot be reached, and since when (trio's clock)."""
        ...

    def drawn(self) -> list[tuple[str, str]]:
        """The links of the whole swarm, as far as this node knows: each pair of names once, in order."""
        ...

    def serve(self, service: str, handler: Handler) -> AbstractAsyncContextManager[None]:
        """Serve streams that others open to a service of this node, each in a task of its own."""
        ...

    async def open(
        self,
        node: str,
        service: str,
        head: bytes,
        lane: Lane = Lane.REQUESTS,
        *,
        whole: bool = False,
    ) -> Stream:
        """Open a stream to a service of another node; it has been taken there when this returns.

        Raises Unreachable: nothing has begun there; StreamBroken: it may have. The head is of at most
        `MOST_OPENING` bytes, else ValueError; it is served once, whichever ways it comes. If it is all that
        this side has to say (`whole`), this side has finished with it.
        """
        ...

    def listen(self, topic: str, receiver: Receiver) -> AbstractAsyncContextManager[None]:
        """Take messages of a topic, from `post`, `send` and `broadcast`, as long as the block lasts."""
        ...

    def post(self, node: str, topic: str, message: bytes, lane: Lane) -> bool:
        """Send a message that may be lost, without waiting; False if it surely does not arrive."""
        ...

    async def send(self, node: str, topic: str, message: bytes, lane: Lane = Lane.CONTROL) -> None:
        """Send a message that arrives once and in order after those sent before to this node and topic,
        also over links that break and come back. Returns when it was taken there. Raises Unreachable once
        that cannot be kept any more: it may be lost; the receiver is told of the gap, too (`Receiver` of
        topic `topic + "/gap"`, with words for a person), before the next message that it gets."""
        ...

    async def broadcast(
        self, topic: str, message: bytes, *, deadline: float, lane: Lane = Lane.CONTROL
    ) -> Reached:
        """Send a message to every other member along the tree; who has confirmed it by the deadline.

        The deadline is on trio's clock. A member that is missed may have it nevertheless.
        """
        ...

    def use(self, topology: Topology) -> None:
        """Follow another topology from now on, without losing what is under way."""
        ...

    def changes(self) -> AsyncGenerator[None]:
        """Once at first, and after each change of what can be reached."""
        ...

    def status(self) -> dict[str, Any]: ...
