"""A node, from what its storage holds."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from random import Random

import trio

from flow_consensus.bft.driver.members import KeyOf
from flow_consensus.bft.driver.node import Bft, Told
from flow_consensus.bft.driver.port import Transport
from flow_consensus.bft.driver.settings import BftSettings
from flow_consensus.bft.engine import Engine
from flow_consensus.bft.epochs import Epoch
from flow_consensus.bft.restored import Restored
from flow_consensus.bft.signing import Sign
from flowcore.errors import AssemblyError
from flowcore.state import Storage


@asynccontextmanager
async def open_node(
    name: str,
    settings: BftSettings,
    storage: Storage,
    transport: Transport,
    chance: Random,
    *,
    sign: Sign,
    key_of: KeyOf,
    told: Told = lambda event: None,
    engine: Callable[..., Engine] = Engine,
) -> AsyncGenerator[Bft]:
    """A node of a cluster. Raises UntrustedFile, with the reason, for a log that no engine has written.

    `sign` signs as this node; `key_of` gives the public key of a node by its name. `engine` makes the engine:
    a test may give one that lies.
    """
    genesis = None
    if not storage.hard_state:
        keys = {one: key_of(one) for one in settings.voters}
        genesis = Epoch.first(keys, exclude=settings.exclude, checkpoint=settings.checkpoint)
    restored = Restored(
        genesis,
        settings.cluster,
        storage.hard_state,
        storage.compacted,
        storage.snapshot,
        node=name,
    )
    at = max(restored.first, storage.compacted[0] + 1)
    while at <= storage.last:
        some = await storage.read(at, storage.last, 4 * 2**20)
        restored.add(some)
        at += len(some)
    known = restored.standing.epoch.keys.get(name)
    if known is not None and known != key_of(name):
        raise AssemblyError(
            f"the other voters know {name!r} by another key than that of its certificate: take the"
            " certificate that it had, or have it removed and added anew"
        )
    boot = int(time.time())
    made = engine(name, restored, sign, settings.engine(), boot=boot)
    bft = Bft(made, storage, transport, settings, chance, key_of, told)
    async with trio.open_nursery() as nursery:
        await nursery.start(bft.run)
        bft.wake()
        yield bft
        nursery.cancel_scope.cancel()
