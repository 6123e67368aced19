"""`[consensus]` with `type = "raft"`: this node of the cluster, from what its storage holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import attrs
import trio

from flow_consensus.raft.core import Role
from flow_consensus.raft.driver.node import Raft
from flow_consensus.raft.driver.port import Alone, Transport
from flow_consensus.raft.driver.settings import RaftSettings
from flow_consensus.raft.engine import Engine
from flow_consensus.raft.restored import Restored
from flowcore.errors import AssemblyError
from flowcore.hookspecs import Context
from flowcore.state import Consensus, Storage
from flowcore.swarm import open_channel


@asynccontextmanager
async def open_node(
    name: str, settings: RaftSettings, storage: Storage, transport: Transport, chance: Random
) -> AsyncGenerator[Raft]:
    """A node of a cluster. Raises UntrustedFile, with the reason, for a log that no engine has written."""
    restored = Restored(
        storage.hard_state,
        storage.compacted,
        storage.snapshot,
        last=storage.last,
        voters=settings.voters,
        node=name,
        cluster=settings.cluster,
        memory_bytes=settings.memory,
    )
    at = restored.first
    while at <= storage.last:
        entries = await storage.read(at, storage.last, 4 * 2**20)
        restored.add(entries)
        at += len(entries)
    engine = Engine(name, restored, settings.engine(), Random(chance.getrandbits(64)))
    raft = Raft(engine, storage, transport, settings, chance)
    async with trio.open_nursery() as nursery:
        await nursery.start(raft.run)
        if engine.membership.deciders == {name}:
            engine.campaign()  # nobody else is to be asked, or waited for
            raft.wake()
            while engine.role is not Role.LEADER and not raft.stopped and not raft.trouble:
                await raft.wait_moved()
        raft.wake()
        yield raft
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_raft(config: RaftSettings, context: Context) -> AsyncGenerator[Consensus]:
    """This node of the cluster, over the links of the swarm; without a swarm it is all there is."""
    storage = context.component("storage")
    host = context.host
    async with AsyncExitStack() as stack:
        transport: Transport = Alone()
        settings, name = config, host.name
        if mentions_swarm(config) or host.linked:
            swarm = host.swarm
            transport = await stack.enter_async_context(open_channel(swarm.overlay, "raft"))
            settings = attrs.evolve(config, cluster=config.cluster or swarm.cluster)
        elif not config.voters:
            settings = attrs.evolve(config, voters=(name,))
        elif config.voters != (name,):
            raise AssemblyError(
                f"the only voter is {config.voters[0]!r}, this node is {name!r}, and there is no [swarm]:"
                " nobody can lead"
            )
        raft = await stack.enter_async_context(
            open_node(name, settings, storage, transport, context.random)
        )
        yield raft


def mentions_swarm(config: RaftSettings) -> tuple[tuple[str, str], ...]:
    """Several voters need a way to talk to each other."""
    return (("swarm", "swarm"),) if len(config.voters) > 1 else ()
