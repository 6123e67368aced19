"""A hard state on its own, without a node around it."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flow_consensus.single import Single, SingleConfig
from flow_storage.log_file import LogFile
from flow_storage.memory import MemoryLog
from flow_storage.sqlite import SqliteStorage
from flowcore.sqlite import FileThread
from flowcore.state import PutPattern, PutPatterns, State, StateSettings, Storage, open_state


@attrs.frozen(kw_only=True)
class Kept:
    """What stands on what."""

    state: State
    consensus: Single
    storage: Storage


@asynccontextmanager
async def open_storage(folder: pathlib.Path | None) -> AsyncGenerator[Storage]:
    if folder is None:
        yield MemoryLog("a log")
        return
    await trio.Path(folder).mkdir(parents=True, exist_ok=True)
    file = await trio.to_thread.run_sync(LogFile, folder / "log.sqlite")
    try:
        yield SqliteStorage(file, FileThread("log"), lambda reason: None)
    finally:
        file.close()


@asynccontextmanager
async def open_single(
    storage: Storage, config: SingleConfig | None = None
) -> AsyncGenerator[Single]:
    single = Single(config or SingleConfig(), storage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(single.run)
        yield single
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def keeping(
    folder: pathlib.Path | None,
    settings: StateSettings | None = None,
    config: SingleConfig | None = None,
    clock: Callable[[], float] | None = None,
) -> AsyncGenerator[Kept]:
    """A state in a folder, or in memory."""
    async with open_storage(folder) as storage, open_single(storage, config) as consensus:
        path = None if folder is None else folder / "state.sqlite"
        more: dict[str, Any] = {} if clock is None else {"clock": clock}
        async with open_state(consensus, path, settings, **more) as state:
            yield Kept(state=state, consensus=consensus, storage=storage)


def note(key: str, text: str = "", **fields: object) -> PutPatterns:
    """One pattern of the namespace `notes`."""
    return PutPatterns((PutPattern(namespace="notes", key=key, text=text, **fields),))  # type: ignore[arg-type]
