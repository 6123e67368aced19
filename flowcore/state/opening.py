"""The state of a node is opened: its file, its thread, and what the log has and it lacks."""

from __future__ import annotations

import pathlib
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio

from flowcore.errors import StorageFull, UntrustedFile
from flowcore.sqlite import FileThread, is_full
from flowcore.state.files import StateFile
from flowcore.state.interfaces import ChecksCommands, Consensus
from flowcore.state.sealed import Seals
from flowcore.state.settings import StateSettings
from flowcore.state.state import State
from flowcore.state.timing import Clock, Timing


@asynccontextmanager
async def open_state(
    consensus: Consensus,
    path: pathlib.Path | None,
    settings: StateSettings | None = None,
    *,
    clock: Clock = time.time,
    seals: Seals | None = None,
) -> AsyncGenerator[State]:
    """Open the state, and apply what the log has and it lacks.

    `path` is the file it is kept in; None, or a consensus that is not durable, keeps it in memory. `clock`
    gives the time of commands, seconds since 1970; a `StateClock` is told how far the state is.
    With `seals`, what the file holds is encrypted; one that is sealed otherwise is written again first.
    Raises UntrustedFile with the reason, StorageFailed, StorageFull.
    """
    settings = StateSettings() if settings is None else settings
    file = await trio.to_thread.run_sync(StateFile, path if consensus.durable else None, seals)
    thread = FileThread("state")
    state: State | None = None
    try:
        timing = Timing(clock, consensus)
        state = await thread.run(partial(_begun, consensus, file, thread, settings, timing))
        if isinstance(consensus, ChecksCommands):
            consensus.check_by(timing.ahead_of)
        async with trio.open_nursery() as nursery:
            ready = trio.Event()
            nursery.start_soon(state.run, ready)
            nursery.start_soon(state.keep)
            await ready.wait()
            await state.tidy()
            nursery.start_soon(state.upkeep)
            yield state
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            if state is not None:
                await state.close_reads()
            await thread.run(file.close)
            thread.end()
            if state is not None:
                state.end_reads()


def _begun(
    consensus: Consensus,
    file: StateFile,
    thread: FileThread,
    settings: StateSettings,
    timing: Timing,
) -> State:
    try:
        file.belongs_to(consensus.identity)
        return State(consensus, file, thread, settings, timing)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if isinstance(error, sqlite3.Error) and is_full(error):
            raise StorageFull(f"there is no room on the disk for {file.path}") from error
        raise UntrustedFile(f"{file.path} cannot be read: {error}") from error
