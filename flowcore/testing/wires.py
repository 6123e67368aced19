"""`Wires`: connections and datagrams between named nodes, in memory, for code that runs on trio.

Under `trio.testing.MockClock` an hour of it takes no time. What lies between the nodes is `links`, as in
a `World`: latency, loss, cuts, partitions, also while connections stand.
"""

from __future__ import annotations

import errno
import heapq
import math
import operator
import random
from collections import deque
from collections.abc import Callable

import trio

from flowcore.testing.world import Link, Links


class Wires:
    """The network. Streams keep order and lose nothing while they stand; datagrams may do anything."""

    def __init__(
        self, seed: int = 0, *, link: Link | None = None, capacity: int = 65536, backlog: int = 64
    ) -> None:
        if capacity < 1 or backlog < 1:
            raise ValueError(f"expected at least 1, not {capacity!r} bytes and {backlog!r}")
        self.random = random.Random(seed)
        self.links = Links(link)
        self.capacity = capacity
        """Bytes under way in one direction of a connection at which senders wait."""
        self.backlog = backlog
        """Connections that may wait to be accepted, and datagrams to be read, by the hundred."""
        self._listeners: dict[tuple[str, str], WireListener] = {}
        self._inboxes: dict[str, WireDatagrams] = {}
        self._pipes: set[_Pipe] = set()
        self._changed = trio.lowlevel.ParkingLot()
        self.links.watchers.append(self._wake)

    def listen(self, name: str, service: str = "") -> WireListener:
        """Accept connections to a node. Raises OSError if somebody does already."""
        if (name, service) in self._listeners:
            raise OSError(errno.EADDRINUSE, f"{name!r} listens for {service!r} already")
        return self._listeners.setdefault(
            (name, service), WireListener(self, name, service, self._forget)
        )

    async def connect(self, name: str, to: str, service: str = "") -> WireStream:
        """Connect a node to another one; waits as long as nothing gets there, or nothing back.

        Raises OSError if nobody listens there, or too many wait.
        """
        await trio.lowlevel.checkpoint()
        for one, other in ((name, to), (to, name)):
            while not self.links.reaches(one, other):
                await self._changed.park()
            await trio.sleep(self.links.stream_delay(one, other, self.random))
        listener = self._listeners.get((to, service))
        if listener is None or listener.waiting >= self.backlog:
            raise OSError(errno.ECONNREFUSED, f"{to!r} takes no connection for {service!r}")
        there, back = _Pipe(self, name, to), _Pipe(self, to, name)
        self._pipes |= {there, back}
        listener.arrive(WireStream(to, name, back, there))
        return WireStream(name, to, there, back)

    def datagrams(self, name: str) -> WireDatagrams:
        """Where a node sends and gets datagrams. Raises OSError if it has one already."""
        if name in self._inboxes:
            raise OSError(errno.EADDRINUSE, f"{name!r} has its datagrams already")
        box = self._inboxes[name] = WireDatagrams(self, name, self._forget)
        return box

    def reset(self, one: str, other: str | None = None) -> int:
        """Break the connections of a node, or those with another one; how many there were."""
        broken = [
            pipe
            for pipe in self._pipes
            if one in pipe.ends and (other is None or other in pipe.ends)
        ]
        for pipe in broken:
            pipe.reset()
        self._pipes.difference_update(broken)
        return len(broken) // 2

    def crash(self, name: str) -> None:
        """Be as if the node's process were gone: its connections break, and nobody listens there."""
        for listener in [one for one in self._listeners.values() if one.name == name]:
            listener.close()
        if name in self._inboxes:
            self._inboxes[name].close()
        self.reset(name)

    def post(self, sender: str, receiver: str, data: bytes) -> None:
        """Give a datagram to the network; `WireDatagrams.send` does."""
        box = self._inboxes.get(receiver)
        now = trio.current_time()
        for delay in self.links.delays(sender, receiver, now, self.random):
            if box is not None:
                box.arrive(now + delay, sender, data)

    def due(self, pipe: _Pipe) -> float:
        """When the next part comes that is sent now over one direction of a connection."""
        delay = self.links.stream_delay(*pipe.ends, self.random)
        return max(pipe.last_due, trio.current_time() + delay)

    def close_pipe(self, pipe: _Pipe) -> None:
        """Forget a direction that nobody uses any more."""
        self._pipes.discard(pipe)

    def _forget(self, gone: WireListener | WireDatagrams) -> None:
        if isinstance(gone, WireListener):
            self._listeners.pop((gone.name, gone.service), None)
        else:
            self._inboxes.pop(gone.name, None)

    def _wake(self) -> None:
        self._changed.unpark_all()
        for pipe in self._pipes:
            pipe.changed.unpark_all()


class _Pipe:
    """One direction of a connection: parts with the time at which they come."""

    def __init__(self, wires: Wires, sender: str, receiver: str) -> None:
        self.ends = (sender, receiver)
        self.last_due = -math.inf
        self.changed = trio.lowlevel.ParkingLot()
        self._wires = wires
        self._parts: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._eof: float | None = None
        self._sends = True
        self._receives = True
        self._reset = False

    def check_send(self) -> None:
        if not self._sends:
            raise trio.ClosedResourceError("this end of the connection was closed")
        if self._reset or not self._receives:
            raise trio.BrokenResourceError("the other end of the connection is gone")

    async def room(self) -> None:
        """Until more can be sent. Raises as trio's streams do."""
        self.check_send()
        while self._size >= self._wires.capacity:
            await self.changed.park()
            self.check_send()

    def put(self, data: bytes) -> None:
        self.last_due = self._wires.due(self)
        self._parts.append((self.last_due, data))
        self._size += len(data)
        self.changed.unpark_all()

    def end(self) -> None:
        """Nothing more is sent; what was sent comes."""
        if self._eof is None:
            self._eof = self.last_due = self._wires.due(self)
        self.changed.unpark_all()

    @property
    def ended(self) -> bool:
        return self._eof is not None

    async def get(self, most: int) -> bytes:
        """What has come, at least one byte, or none at the end. Raises as trio's streams do."""
        while True:
            if not self._receives:
                raise trio.ClosedResourceError("this end of the connection was closed")
            if self._reset:
                raise trio.BrokenResourceError("the connection was reset")
            due = math.inf
            if self._wires.links.reaches(*self.ends):
                due = self._parts[0][0] if self._parts else math.inf
                if due <= trio.current_time():
                    return self._take(most)
                if not self._parts and self._eof is not None:
                    due = self._eof
                    if due <= trio.current_time():
                        return b""
            with trio.move_on_at(due):
                await self.changed.park()

    def _take(self, most: int) -> bytes:
        due, data = self._parts.popleft()
        if len(data) > most:
            self._parts.appendleft((due, data[most:]))
            data = data[:most]
        self._size -= len(data)
        self.changed.unpark_all()
        return data

    def stop_sending(self) -> None:
        self._sends = False
        if not self._reset:
            self.end()
        self._left()

    def stop_receiving(self) -> None:
        self._receives = False
        self._parts.clear()
        self._size = 0
        self._left()

    def reset(self) -> None:
        self._reset = True
        self._parts.clear()
        self._size = 0
        self.changed.unpark_all()

    def _left(self) -> None:
        self.changed.unpark_all()
        if not self._sends and not self._receives:
            self._wires.close_pipe(self)


class WireStream(trio.abc.HalfCloseableStream):
    """One end of a connection: `name` is whose, `peer` who is at the other."""

    def __init__(self, name: str, peer: str, there: _Pipe, back: _Pipe) -> None:
        self.name = name
        self.peer = peer
        self._there = there
        self._back = back
        self._sending = False
        self._receiving = False
        self._open = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits while too many are under way."""
        with _Alone(self, "_sending"):
            await trio.lowlevel.checkpoint()
            if self._open and self._there.ended:
                raise trio.ClosedResourceError("send_eof was called")
            self._there.check_send()
            rest = bytes(data)
            while rest:
                await self._there.room()
                self._there.put(rest[:16384])
                rest = rest[16384:]

    async def wait_send_all_might_not_block(self) -> None:
        """Until there is room."""
        with _Alone(self, "_sending"):
            await trio.lowlevel.checkpoint()
            if self._open and self._there.ended:
                raise trio.ClosedResourceError("send_eof was called")
            await self._there.room()

    async def send_eof(self) -> None:
        """Say that nothing more will be sent."""
        with _Alone(self, "_sending"):
            await trio.lowlevel.checkpoint()
            if not self._open:
                raise trio.ClosedResourceError("this end of the connection was closed")
            self._there.end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has come; b"" at the end."""
        with _Alone(self, "_receiving"):
            await trio.lowlevel.checkpoint()
            most = 65536 if max_bytes is None else operator.index(max_bytes)
            if most < 1:
                raise ValueError(f"expected at least 1 byte, not {max_bytes!r}")
            return await self._back.get(most)

    async def aclose(self) -> None:
        """Close it at once; the other end is told as soon as the links let it."""
        if self._open:
            self._open = False
            self._there.stop_sending()
            self._back.stop_receiving()
        await trio.lowlevel.checkpoint()


class _Alone:
    """One task at a time. Raises BusyResourceError for a second one."""

    def __init__(self, stream: WireStream, flag: str) -> None:
        self._stream = stream
        self._flag = flag

    def __enter__(self) -> None:
        if getattr(self._stream, self._flag):
            raise trio.BusyResourceError("another task uses this end of the connection")
        setattr(self._stream, self._flag, True)

    def __exit__(self, *_: object) -> None:
        setattr(self._stream, self._flag, False)


class WireListener(trio.abc.Listener[WireStream]):
    """Where connections to a node come in; `trio.serve_listeners` serves it."""

    def __init__(
        self, wires: Wires, name: str, service: str, gone: Callable[[WireListener], None]
    ) -> None:
        self.name = name
        self.service = service
        self._gone = gone
        self._send, self._receive = trio.open_memory_channel[WireStream](wires.backlog)

    @property
    def waiting(self) -> int:
        """Connections that nobody has accepted yet."""
        return self._receive.statistics().current_buffer_used

    def arrive(self, stream: WireStream) -> None:
        """Take in a connection; `Wires.connect` does."""
        self._send.send_nowait(stream)

    async def accept(self) -> WireStream:
        """The next connection. Raises ClosedResourceError when it is closed, or its node has crashed."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError("nobody listens here any more") from None

    def close(self) -> None:
        """Listen no more; connections that wait stay unanswered."""
        self._gone(self)
        self._receive.close()
        self._send.close()

    async def aclose(self) -> None:
        """Listen no more."""
        self.close()
        await trio.lowlevel.checkpoint()


class WireDatagrams(trio.abc.AsyncResource):
    """A node's datagrams: sent to a name, lost, doubled and overtaken as the links say."""

    def __init__(self, wires: Wires, name: str, gone: Callable[[WireDatagrams], None]) -> None:
        self.name = name
        self.dropped = 0
        """How many came when too many waited."""
        self._wires = wires
        self._gone = gone
        self._waiting: list[tuple[float, int, str, bytes]] = []
        self._number = 0
        self._changed = trio.lowlevel.ParkingLot()
        self._open = True

    def send(self, receiver: str, data: bytes) -> None:
        """Send a datagram; nobody says whether it comes. Raises ClosedResourceError."""
        if not self._open:
            raise trio.ClosedResourceError("these datagrams were closed")
        self._wires.post(self.name, receiver, bytes(data))

    async def receive(self) -> tuple[str, bytes]:
        """Who sent it, and what. Raises ClosedResourceError when it is closed, or its node has crashed."""
        await trio.lowlevel.checkpoint()
        while True:
            if not self._open:
                raise trio.ClosedResourceError("these datagrams were closed")
            due = self._waiting[0][0] if self._waiting else math.inf
            if due <= trio.current_time():
                _, _, sender, data = heapq.heappop(self._waiting)
                return sender, data
            with trio.move_on_at(due):
                await self._changed.park()

    def arrive(self, due: float, sender: str, data: bytes) -> None:
        """Take in a datagram that comes at a time; `Wires` does."""
        if len(self._waiting) >= 100 * self._wires.backlog:
            self.dropped += 1
            return
        self._number += 1
        heapq.heappush(self._waiting, (due, self._number, sender, data))
        self._changed.unpark_all()

    def close(self) -> None:
        """Neither send nor get any more."""
        if self._open:
            self._open = False
            self._gone(self)
            self._changed.unpark_all()

    async def aclose(self) -> None:
        """Neither send nor get any more."""
        self.close()
        await trio.lowlevel.checkpoint()
