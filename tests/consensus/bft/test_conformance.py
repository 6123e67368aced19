"""What holds for every consensus engine holds for a node of four: `flowcore.testing`, and its log on disk."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import attrs

from flow_consensus.bft import BftSettings
from flow_consensus.bft.driver.starting import open_node
from flow_storage.memory import MemoryLog
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.state import Consensus
from flowcore.testing import Trial, check_plugin
from support.bft.keys import Signer, public_key
from support.bft.nodes import ABCD
from support.raft.nodes import Network


class Four:
    """A plugin of this test's: one node over the storage that it is given, and three in the same process."""

    def __init__(self) -> None:
        self._logs: dict[tuple[pathlib.Path, str], MemoryLog] = {}
        """Of the three, by the folder of the one: they are there again where it is."""

    @hookimpl
    def flow_register(self, registry: Registry) -> None:
        registry.add(Factory("consensus", "four", BftSettings, self._open))

    @asynccontextmanager
    async def _open(self, config: BftSettings, context: Context) -> AsyncGenerator[Consensus]:
        network = Network()
        settings = attrs.evolve(config, cluster="test")
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(
                    open_node(
                        name,
                        settings,
                        context.component("storage")
                        if name == "a"
                        else self._logs.setdefault((context.data_dir, name), MemoryLog(name)),
                        network.transport(name),
                        Random(name),
                        sign=Signer(name),
                        key_of=public_key,
                    )
                )
                for name in ABCD
            ]
            yield nodes[0]


async def test_it_holds_what_an_engine_must() -> None:
    settings = {"voters": list(ABCD), "patience": "10s", "outcome": "5m"}
    trial = Trial(settings=settings, within=300)
    report = await check_plugin(Four(), {"four": trial})
    assert len(report.checked["consensus four"]) > 12, report
