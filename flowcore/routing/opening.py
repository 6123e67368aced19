"""Opening a router: what was kept is taken up, and followed from there."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from flowcore.agents.directory import Directory
from flowcore.errors import CallError, OtherSpace
from flowcore.routing.experts import Experts
from flowcore.routing.following import Following
from flowcore.routing.interfaces import Embedder, Gates, Space, VectorIndex, VectorIndexes
from flowcore.routing.learning import Learning
from flowcore.routing.memory import Memory
from flowcore.routing.porting import Porting
from flowcore.routing.reembedding import Reembedding
from flowcore.routing.router import Router, Sights
from flowcore.routing.settings import RouterSettings
from flowcore.routing.shelf import Shelf
from flowcore.routing.troubles import Troubles
from flowcore.state import State

logger = logging.getLogger(__name__)

SHELVES = ("routes", "memory")
_TEXTS = 200_000
"""Texts of routes that are at hand, to be told as reasons: some 30 MB."""
_DRIFT_EVERY = 5.0
"""Seconds between two looks at whether what is asked has drifted."""


@asynccontextmanager
async def open_router(
    settings: RouterSettings,
    *,
    embedder: Embedder,
    indexes: VectorIndexes,
    gates: Gates,
    state: State,
    directory: Directory,
    about: Callable[[str], str],
    apart: frozenset[str],
    sights: Callable[[], Sights],
    loads: Callable[[], Mapping[str, float]],
    folder: pathlib.Path | None,
    seed: int,
    report: Callable[[str], None],
) -> AsyncGenerator[Router]:
    """A router over the tools of a directory, and memory beside it.

    `about` says what an agent is; the tools of the agents in `apart` are never routed to; `loads` says how
    busy agents are, 0 to 1, where they are at all. `folder` keeps what would take long to make again;
    `report` is told what is wrong with keeping it, and an empty text when nothing is any more.
    """
    space, troubles = Space(identity=embedder.identity), Troubles(report)
    async with AsyncExitStack() as stack:
        shelves = {}
        for name in SHELVES:
            index = await _open_index(indexes, name, space, stack)
            shelves[name] = Shelf(index, texts=_TEXTS if name == "routes" else 0)
        following = Following(
            state, shelves, str(embedder.identity), folder, settings.save, troubles
        )
        memory = Memory(settings.memory, state, embedder, following)
        learning = Learning(
            state,
            following,
            gates,
            embedder.identity,
            seed,
            settings.practice,
            folder,
            settings.save,
            troubles,
            learned=lambda vector: router.drift.learned(vector),
        )
        experts = Experts(directory, embedder, about, apart)
        porting = Porting(state, embedder, memory, following, learning)
        reembedding = Reembedding(state, embedder, following, learning)
        router = Router(
            settings, embedder, experts, memory, learning, porting, reembedding, sights, loads
        )
        await following.begin()
        await learning.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(following.run)
            nursery.start_soon(learning.run)
            nursery.start_soon(learning.bring_texts)
            nursery.start_soon(memory.run)
            nursery.start_soon(_watch_drift, router, learning, settings)
            try:
                yield router
                await memory.touch()
            finally:
                nursery.cancel_scope.cancel()
        try:
            await learning.save()
            await following.save()
        except OSError as error:
            logger.error(
                "what the router has learned is not saved, and will be made again: %s", error
            )


async def _open_index(
    indexes: VectorIndexes, name: str, space: Space, stack: AsyncExitStack
) -> VectorIndex:
    """The index of a name. One made for another embedder goes: it is a copy of what the state has."""
    try:
        return await stack.enter_async_context(indexes.open_index(name, space))
    except OtherSpace as error:
        logger.warning("the index %r is made anew: %s", name, error)
        await indexes.discard(name)
        return await stack.enter_async_context(indexes.open_index(name, space))


async def _watch_drift(router: Router, learning: Learning, settings: RouterSettings) -> None:
    trained = learning.retrained
    while True:
        await trio.sleep(_DRIFT_EVERY)
        if learning.retrained != trained:  # here or on another node: it is a command of the log
            trained = learning.retrained
            router.drift.relearned()
        if not router.drift.exceeded:
            continue
        value = router.drift.value
        if not settings.drift.retrain:
            logger.warning("what is asked has drifted from what was learned: %.1f times", value)
            router.drift.relearned()
            continue
        logger.warning(
            "what is asked has drifted from what was learned, %.1f times: gates are trained anew",
            value,
        )
        try:
            await learning.retrain()
        except CallError as error:
            logger.warning("gates cannot be trained anew for now: %s", error.message)
