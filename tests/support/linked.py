"""Nodes with links, over real sockets or in memory, with real certificates."""

from __future__ import annotations

import datetime
import functools
import pathlib
import random
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from trio.testing import memory_stream_pair

from flowcore.certs import CertFolder, Kind, Wanted
from flowcore.errors import LinkFailed
from flowcore.swarm import Lane, Link, Stream
from flowcore.swarm.identity import Identity
from flowcore.swarm.links import (
    LinkSettings,
    Node,
    OpenLinks,
    UdpDatagrams,
    connect_tcp,
    open_links,
    open_ports,
)
from flowcore.swarm.tls import NodeTlsSettings

NAMES = ("alpha", "beta", "gamma", "delta")
QUICK = LinkSettings(retry_first=0.01, retry_most=0.1, drain=0.5)
Serve = Callable[[Link, Lane, bytes, Stream], Awaitable[None]]


def make_certificates(path: pathlib.Path, *names: str, **changes: Any) -> pathlib.Path:
    """A folder of certificates of a new CA, for nodes of these names."""
    folder = CertFolder(path)
    leaves = [
        Wanted(**{"kind": Kind.NODE, "name": name, "algorithm": "ed25519", **changes})
        for name in names
    ]
    folder.init(leaves, datetime.datetime.now(datetime.UTC))
    return path


@functools.cache
def certificates() -> pathlib.Path:
    """The certificates of `NAMES`, made once."""
    return make_certificates(pathlib.Path(tempfile.mkdtemp()) / "certs", *NAMES)


def identity(name: str, folder: pathlib.Path | None = None, **settings: str) -> Identity:
    files = {"cert": f"{name}.pem", "key": f"{name}.key", "ca": "ca.pem"} | settings
    return Identity(NodeTlsSettings(**files), folder or certificates())


async def echo(link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
    """Send the head and every chunk back."""
    await stream.send(head)
    while (chunk := await stream.receive()) is not None:
        await stream.send(chunk)
    await stream.finish()


class User:
    """Who uses the links: keeps what it is told."""

    def __init__(self, serve: Serve = echo) -> None:
        self.events: list[tuple[str, str]] = []
        self.messages: list[tuple[str, Lane, bytes]] = []
        self.reasons: list[str] = []
        self.heads: list[bytes] = []
        self._serve = serve
        self._changed = trio.Event()

    def link_up(self, link: Link) -> None:
        self.events.append(("up", link.peer))
        self._change()

    def link_down(self, link: Link, reason: str) -> None:
        self.events.append(("down", link.peer))
        self.reasons.append(reason)
        self._change()

    def message(self, link: Link, lane: Lane, message: bytes) -> None:
        self.messages.append((link.peer, lane, message))
        self._change()

    async def stream(self, link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        self.heads.append(head)
        self._change()
        await self._serve(link, lane, head, stream)

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until something is so that can only become so by what this user is told."""
        with trio.fail_after(60):
            while not done():
                await self._changed.wait()


@attrs.define(eq=False)
class Peer:
    """A node of a test."""

    name: str
    address: str
    links: OpenLinks
    user: User
    audited: list[tuple[str, dict[str, Any]]]
    datagrams: UdpDatagrams | None = None

    async def link(self, name: str) -> Link:
        """Its link to a peer, once it stands."""
        await self.user.until(lambda: name in self.links.up())
        return self.links.up()[name]

    def refusals(self) -> list[str]:
        """What was audited of refusals."""
        return [told["reason"] for event, told in self.audited if event == "link.refused"]


@asynccontextmanager
async def open_peer(
    name: str,
    *,
    who: Identity | None = None,
    serve: Serve = echo,
    bind: str = "127.0.0.1:0",
    settings: LinkSettings = QUICK,
    **about: Any,
) -> AsyncGenerator[Peer]:
    """A node on a real socket of this machine."""
    async with open_ports(bind) as (listener, datagrams, address):
        node = Node(**{"cluster": "test", "address": str(address), **about})
        user, audited = User(serve), list[tuple[str, dict[str, Any]]]()
        async with open_links(
            who or identity(name),
            node,
            user,
            listeners=[listener],
            connect=connect_tcp,
            settings=settings,
            chance=random.Random(name),
            audit=lambda event, told: audited.append((event, dict(told))),
        ) as links:
            yield Peer(name, str(address), links, user, audited, datagrams)


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Takes connections that `MemoryNetwork` makes."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[trio.abc.Stream](64)

    async def accept(self) -> trio.abc.Stream:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError from None

    async def aclose(self) -> None:
        self.send.close()
        await trio.lowlevel.checkpoint()


class Line(trio.abc.Stream):
    """One end of a connection in memory, which can be frozen: nothing gets through, and nobody is told."""

    def __init__(self, stream: trio.abc.Stream, peer: str) -> None:
        self._stream = stream
        self.peer = peer
        self.frozen = False
        self.held: dict[int, float] = {}
        """By how many seconds a part is late that is sent, by its number."""
        self._parts = 0
        self._lost = False
        self._scope = trio.CancelScope()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.frozen:
            await trio.lowlevel.checkpoint()
        else:
            self._parts += 1
            await trio.sleep(self.held.get(self._parts, 0))
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        with trio.CancelScope() as self._scope:
            if not self.frozen and not self._lost:
                data = await self._stream.receive_some(max_bytes)
                if not self.frozen:
                    return data
        if self._lost:
            raise trio.BrokenResourceError("lost")
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        if self.frozen:
            await trio.lowlevel.checkpoint()
        else:
            await self._stream.aclose()

    def lose(self) -> None:
        """This end notices that the connection is lost; the other does not."""
        self._lost = True
        self._scope.cancel()


class MemoryNetwork:
    """Connections in memory, by address."""

    def __init__(self) -> None:
        self.listeners: dict[str, MemoryListener] = {}
        self.lines: list[Line] = []
        """Both ends of each connection that was made: the dialler's first."""

    async def connect(self, address: str) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if address not in self.listeners:
            raise LinkFailed("nobody listens there")
        ours, theirs = memory_stream_pair()
        pair = Line(ours, address), Line(theirs, "the dialler")
        self.lines += pair
        self.made(len(self.lines) // 2, *pair)
        await self.listeners[address].send.send(pair[1])
        return pair[0]

    def made(self, number: int, dialler: Line, dialled: Line) -> None:
        """A connection was made: what a test wants of it."""

    def freeze(self) -> None:
        """Let nothing through any more on the connections that there are."""
        for line in self.lines:
            line.frozen = True
        self.lines.clear()

    @asynccontextmanager
    async def peer(
        self, name: str, *, serve: Serve = echo, settings: LinkSettings = QUICK, **about: Any
    ) -> AsyncGenerator[Peer]:
        """A node on this network; its address is its name."""
        listener = self.listeners[f"{name}:1"] = MemoryListener()
        user, audited = User(serve), list[tuple[str, dict[str, Any]]]()
        node = Node(**{"cluster": "test", "address": f"{name}:1", **about})
        try:
            async with open_links(
                identity(name),
                node,
                user,
                listeners=[listener],
                connect=self.connect,
                settings=settings,
                chance=random.Random(name),
                audit=lambda event, told: audited.append((event, dict(told))),
            ) as links:
                yield Peer(name, f"{name}:1", links, user, audited)
        finally:
            if self.listeners.get(f"{name}:1") is listener:
                del self.listeners[f"{name}:1"]


async def everything(stream: Stream) -> bytes:
    """All chunks of a stream, joined. Raises StreamBroken."""
    parts = []
    while (chunk := await stream.receive()) is not None:
        parts.append(chunk)
    return b"".join(parts)
