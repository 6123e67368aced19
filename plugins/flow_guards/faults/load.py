"""Load on this machine: busy processors, a disk that is full. All of it ends with the block."""

from __future__ import annotations

import errno
import os
import pathlib
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from flowcore.processes import Launcher

BALLAST = "ballast"
"""The name of the file that fills the disk."""
_PIECE = 4 * 2**20
_BUSY = "while True: pass"


async def burn(launcher: Launcher, cores: int) -> None:
    """Keep processors busy until cancelled, by processes that end with this one."""
    async with AsyncExitStack() as stack:
        for _ in range(cores):
            command = [sys.executable, "-I", "-S", "-c", _BUSY]
            await stack.enter_async_context(launcher.open_process(command, term_grace=0.1))
        await trio.sleep_forever()


@asynccontextmanager
async def fill_disk(folder: pathlib.Path, size: int, leave: int) -> AsyncGenerator[int]:
    """Have a file of at most `size` bytes in a folder, that leaves `leave` bytes free; how many it has.

    Raises OSError for what is not a lack of room.
    """
    path = folder / BALLAST
    with trio.CancelScope(shield=True):
        taken = await trio.to_thread.run_sync(_fill, path, size, leave)
    try:
        yield taken
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_remove, path)


async def leftovers(folder: pathlib.Path) -> None:
    """Remove what a node that was killed has left."""
    await trio.to_thread.run_sync(_remove, folder / BALLAST)


def _remove(path: pathlib.Path) -> None:
    path.unlink(missing_ok=True)


def _fill(path: pathlib.Path, size: int, leave: int) -> int:
    taken = 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while taken < size:
            room = os.fstatvfs(file)
            free = room.f_bavail * room.f_frsize - leave
            piece = min(_PIECE, size - taken, max(free, 0))
            if piece <= 0:
                break
            os.posix_fallocate(file, taken, piece)
            taken += piece
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(file)
    return taken
