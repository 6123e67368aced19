"""Nodes of a bft cluster under trio, in one process, over a network in memory that can be cut."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from random import Random

import attrs
import trio

from flow_consensus.bft import Engine, Event
from flow_consensus.bft.driver.node import Bft
from flow_consensus.bft.driver.settings import BftSettings
from flow_consensus.bft.driver.starting import open_node
from flow_storage.memory import MemoryLog
from flowcore.state import Committed, Installed, Storage
from support.bft.keys import Signer, public_key
from support.raft.nodes import Network

ABCD = ("a", "b", "c", "d")


@attrs.define(eq=False)
class Running:
    """A node that runs, and what its state has seen."""

    bft: Bft
    scope: trio.CancelScope
    gone: trio.Event
    seen: list[Committed]
    installed: list[int]
    events: list[Event]

    @property
    def commands(self) -> list[bytes]:
        return [one.data for one in self.seen if one.data]


class Group:
    """Some nodes, each with a storage that outlives it."""

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: BftSettings,
        network: Network,
        engines: Mapping[str, Callable[..., Engine]],
        *,
        follow: bool,
    ) -> None:
        self._nursery = nursery
        self.settings = settings
        self.network = network
        self.engines = engines
        self._stands_alone = not follow
        self.storages: dict[str, Storage] = {}
        self.states: dict[str, list[Committed]] = {}
        self.history: dict[int, bytes] = {}
        """What any honest one has ever applied, by position."""
        self.running: dict[str, Running] = {}
        self._lives = 0

    async def start(self, name: str, storage: Storage | None = None) -> None:
        """Start a node, over the storage it had, unless another one is given."""
        if storage is not None or name not in self.storages:
            self.storages[name] = storage or MemoryLog(name)
            self.states.pop(name, None)
        await self._nursery.start(self._run, name)

    async def _run(self, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        self._lives += 1
        gone = trio.Event()
        events: list[Event] = []
        try:
            with trio.CancelScope() as scope:
                async with open_node(
                    name,
                    self.settings,
                    self.storages[name],
                    self.network.transport(name),
                    Random(f"{name} {self._lives}"),
                    sign=Signer(name),
                    key_of=public_key,
                    told=events.append,
                    engine=self.engines.get(name, Engine),
                ) as bft:
                    one = Running(bft, scope, gone, self.states.setdefault(name, []), [], events)
                    self.running[name] = one
                    task_status.started()
                    if self._stands_alone:
                        await trio.sleep_forever()
                    bft.snapshots_from(lambda: _snapshot(one))
                    await self._follow(name, one)
        finally:
            gone.set()

    async def _follow(self, name: str, one: Running) -> None:
        after = one.seen[-1].position if one.seen else 0
        async with aclosing(one.bft.committed(after)) as stream:
            async for batch in stream:
                if isinstance(batch, Installed):
                    whole = b"".join([piece async for piece in batch.chunks])
                    one.installed.append(batch.position)
                    one.seen[:] = [
                        Committed(at, data) for at, data in enumerate(whole.split(b"\n")[1:], 1)
                    ]
                    assert one.seen[-1].position == batch.position
                else:
                    one.seen.extend(batch)
                if name not in self.engines:
                    for entry in one.seen[-len(batch) if not isinstance(batch, Installed) else 0 :]:
                        assert self.history.setdefault(entry.position, entry.data) == entry.data

    async def stop(self, name: str) -> None:
        """Stop a node, as suddenly as a task can be."""
        one = self.running.pop(name)
        del self.network.inboxes[name]
        one.scope.cancel()
        await one.gone.wait()

    async def agree(self, names: Sequence[str] = ()) -> list[bytes]:
        """Wait until all have seen as much as the one that has decided most; that, the same for all."""
        while True:
            ones = [self.running[one] for one in names or tuple(self.running)]
            last = max(one.bft.engine.standing.position for one in ones)
            if last and all(one.seen and one.seen[-1].position >= last for one in ones):
                break
            await trio.sleep(0.01)
        for one in ones[1:]:
            assert one.seen == ones[0].seen
        return ones[0].commands

    def __getitem__(self, name: str) -> Bft:
        return self.running[name].bft


@asynccontextmanager
async def _snapshot(one: Running) -> AsyncGenerator[tuple[int, AsyncGenerator[bytes]]]:
    """Of what a node has seen: all its commands, a line each."""
    position = one.seen[-1].position
    lines = [entry.data for entry in one.seen]

    async def pieces() -> AsyncGenerator[bytes]:
        for line in lines:
            yield b"\n" + line

    yield position, pieces()


@asynccontextmanager
async def open_group(
    names: Sequence[str] = ABCD,
    settings: BftSettings | None = None,
    network: Network | None = None,
    *,
    only: Sequence[str] = (),
    engines: Mapping[str, Callable[..., Engine]] | None = None,
    storages: Mapping[str, Storage] | None = None,
    follow: bool = True,
) -> AsyncGenerator[Group]:
    """A cluster of these voters, each over a log in memory, or the storage given. `only` some of them are
    started. `follow` False: no state of the test's own stands on them."""
    settings = attrs.evolve(settings or BftSettings(voters=tuple(names)), cluster="test")
    async with trio.open_nursery() as nursery:
        group = Group(nursery, settings, network or Network(), engines or {}, follow=follow)
        for name in only or names:
            await group.start(name, (storages or {}).get(name))
        yield group
        nursery.cancel_scope.cancel()
