"""Nodes of a Raft cluster under trio, in one process, over a network in memory that can be cut."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from random import Random

import attrs
import trio

from flow_consensus.raft.driver.node import Raft
from flow_consensus.raft.driver.opening import open_node
from flow_consensus.raft.driver.settings import RaftSettings
from flow_storage.memory import MemoryLog
from flowcore.state import Committed, Installed, Storage


class Network:
    """Who sends what to whom. Messages arrive at once, unless a link is cut or `lose` says so."""

    def __init__(self, most: int = 2**20) -> None:
        self.most = most
        self.inboxes: dict[str, trio.MemorySendChannel[tuple[str, bytes]]] = {}
        self.cut: set[tuple[str, str]] = set()
        self.lose: Callable[[str, str, bytes], bool] = lambda sender, to, message: False
        self.bytes = 0

    def isolate(self, *names: str) -> None:
        """Cut these off from all others, not from each other."""
        for other in self.inboxes:
            for name in names:
                if other not in names:
                    self.cut |= {(name, other), (other, name)}

    def heal(self) -> None:
        self.cut.clear()

    def transport(self, name: str) -> Wire:
        send, receive = trio.open_memory_channel[tuple[str, bytes]](10_000)
        self.inboxes[name] = send
        return Wire(self, name, receive)


@attrs.define(eq=False)
class Wire:
    """One node's transport."""

    network: Network
    name: str
    inbox: trio.MemoryReceiveChannel[tuple[str, bytes]]

    @property
    def most(self) -> int:
        return self.network.most

    def send(self, to: str, message: bytes) -> bool:
        network = self.network
        assert len(message) <= network.most
        if to not in network.inboxes:
            return False
        if (self.name, to) in network.cut or network.lose(self.name, to, message):
            return True  # it does not know
        network.bytes += len(message)
        try:
            network.inboxes[to].send_nowait((self.name, message))
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        return True

    async def receive(self) -> tuple[str, bytes]:
        return await self.inbox.receive()

    @property
    def waiting(self) -> int:
        return self.inbox.statistics().current_buffer_used


@attrs.define(eq=False)
class Running:
    """A node that runs, and what its state has seen."""

    raft: Raft
    scope: trio.CancelScope
    gone: trio.Event
    seen: list[Committed]
    installed: list[tuple[int, list[bytes]]]

    @property
    def commands(self) -> list[bytes]:
        return [one.data for one in self.seen if one.data]


class Group:
    """Some nodes, each with a storage that outlives it."""

    def __init__(
        self, nursery: trio.Nursery, settings: RaftSettings, network: Network, *, follow: bool
    ) -> None:
        self._nursery = nursery
        self._follow = follow
        self.settings = settings
        self.network = network
        self.storages: dict[str, Storage] = {}
        self.states: dict[str, list[Committed]] = {}
        """What each node's state has applied; that outlives it, too."""
        self.history: dict[int, bytes] = {}
        """What any of them has ever applied, by position: also what is only in snapshots by now."""
        self.running: dict[str, Running] = {}
        self._lives = 0

    async def start(
        self, name: str, storage: Storage | None = None, *, joins: bool = False
    ) -> None:
        """Start a node, over the storage it had, unless another one is given."""
        if storage is not None or name not in self.storages:
            self.storages[name] = storage or MemoryLog(name)
            self.states.pop(name, None)
        await self._nursery.start(self._run, name, joins)

    async def _run(self, name: str, joins: bool, *, task_status: trio.TaskStatus[None]) -> None:
        settings = attrs.evolve(self.settings, voters=()) if joins else self.settings
        self._lives += 1
        chance = Random(f"{name} {self._lives}")
        gone = trio.Event()
        try:
            with trio.CancelScope() as scope:
                storage = self.storages[name]
                wire = self.network.transport(name)
                async with open_node(name, settings, storage, wire, chance) as raft:
                    one = Running(raft, scope, gone, self.states.setdefault(name, []), [])
                    self.running[name] = one
                    task_status.started()
                    if self._follow:
                        raft.snapshots_from(lambda: _snapshot(one))
                        await self._follow_one(one)
                    await trio.sleep_forever()
        finally:
            gone.set()

    async def _follow_one(self, one: Running) -> None:
        async with aclosing(one.raft.committed(one.seen[-1].position if one.seen else 0)) as stream:
            async for batch in stream:
                if isinstance(batch, Installed):
                    pieces = [piece async for piece in batch.chunks]
                    one.installed.append((batch.position, pieces))
                    # a mark: what stood at that position is in the snapshot
                    one.seen[:] = [Committed(batch.position, b"")]
                else:
                    for entry in batch:
                        assert self.history.setdefault(entry.position, entry.data) == entry.data
                    one.seen.extend(batch)

    async def stop(self, name: str) -> None:
        """Stop a node, as suddenly as a task can be."""
        one = self.running.pop(name)
        del self.network.inboxes[name]
        one.scope.cancel()
        await one.gone.wait()

    async def leader(self, among: Sequence[str] = ()) -> str:
        """Wait until somebody leads, of these, and is followed by a majority."""
        while True:
            for name in among or tuple(self.running):
                raft = self.running[name].raft
                if (
                    raft.engine.role == "leader"
                    and raft.engine.log.term(raft.last) == raft.engine.term
                ):
                    return name
            await trio.sleep(0.01)

    async def agree(self, names: Sequence[str] = ()) -> list[bytes]:
        """Wait until all have seen as much as the one that has seen most; that, the same for all."""
        while True:
            ones = [self.running[one] for one in names or tuple(self.running)]
            last = max(one.raft.engine.log.commit for one in ones)
            if all(one.seen and one.seen[-1].position >= last for one in ones):
                break
            await trio.sleep(0.01)
        for one in ones[1:]:
            common = max(one.seen[0].position, ones[0].seen[0].position)
            assert [entry for entry in one.seen if entry.position > common][-50:] == [
                entry for entry in ones[0].seen if entry.position > common
            ][-50:]
        return max((one.commands for one in ones), key=len)

    def __getitem__(self, name: str) -> Raft:
        return self.running[name].raft


@asynccontextmanager
async def _snapshot(one: Running) -> AsyncGenerator[tuple[int, AsyncGenerator[bytes]]]:
    """Of what a node has seen: all its commands."""

    async def pieces() -> AsyncGenerator[bytes]:
        for entry in list(one.seen):
            yield entry.data

    yield one.seen[-1].position, pieces()


@asynccontextmanager
async def open_group(
    names: Sequence[str],
    settings: RaftSettings | None = None,
    network: Network | None = None,
    storages: dict[str, Storage] | None = None,
    *,
    follow: bool = True,
    only: Sequence[str] = (),
) -> AsyncGenerator[Group]:
    """A cluster of these voters, each over a log in memory, or the storage given.

    `follow` False: no state of the test's own stands on them. `only` some of them are started.
    """
    settings = attrs.evolve(settings or RaftSettings(), voters=tuple(names))
    async with trio.open_nursery() as nursery:
        group = Group(nursery, settings, network or Network(), follow=follow)
        for name in only or names:
            await group.start(name, (storages or {}).get(name))
        yield group
        nursery.cancel_scope.cancel()
