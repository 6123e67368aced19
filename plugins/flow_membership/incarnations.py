"""The incarnation, on disk: a restart never begins with one that was claimed before."""

from __future__ import annotations

import pathlib

from flowcore.errors import StorageFailed, UntrustedFile
from flowcore.secrets import write_private

FILE = "incarnation"
MOST_INCARNATION = 2**40
"""More than a node can have restarted: a larger one is nonsense."""
RESERVE = 1000
"""Incarnations that are reserved at a time, so that the disk is seldom waited for."""


def last_reserved(folder: pathlib.Path) -> int:
    """The highest incarnation that an earlier boot may have claimed; 0 if there was none.

    Raises UntrustedFile if the file is none, StorageFailed if it cannot be read.
    """
    path = folder / FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageFailed(f"{path} cannot be read: {error}") from error
    if not text.endswith(b"\n") or not text[:-1].isdigit() or len(text) > 16:
        raise UntrustedFile(
            f"{path} holds {text[:40]!r} (expected a number, and a line's end); if it is removed, the node"
            " goes on above what the others have heard of it"
        )
    return min(int(text), MOST_INCARNATION)


def reserve(folder: pathlib.Path, upto: int) -> None:
    """Keep that incarnations up to this one may have been claimed. Raises StorageFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_private(folder / FILE, b"%d\n" % upto, replace=True)
    except OSError as error:
        raise StorageFailed(f"{folder / FILE} cannot be written: {error}") from error
