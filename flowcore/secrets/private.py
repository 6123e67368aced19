"""Files that only their owner may read: how they are read, and how they are written."""

from __future__ import annotations

import os
import pathlib
import secrets
import stat
from collections.abc import Sequence

LARGEST = 1 << 16
"""Most bytes of such a file, unless the reader says otherwise."""


def check_mode(mode: int) -> None:
    """Raise ValueError if others may read or write a file of this mode (`st_mode`), saying what to do."""
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"can be read by others (mode {stat.S_IMODE(mode):04o}); chmod it to 600")


def read_private(path: pathlib.Path, *, most: int = LARGEST) -> bytes:
    """The content of a regular file of mode 0600 or stricter, of at most `most` bytes.

    Raises ValueError, whose text goes on a sentence that began with the file's name.
    """
    try:
        # without O_NONBLOCK a named pipe would hold the start for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError("is no regular file")
            check_mode(mode)
            content = file.read(most + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise ValueError(f"has more than {most:,} bytes")
    return content


def _give(descriptor: int, path: pathlib.Path) -> None:
    """Make a file the owner's of the one that it will replace: a node reads what root has exchanged."""
    try:
        before = path.stat()
    except FileNotFoundError:
        return
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)


def write_private(
    path: pathlib.Path,
    content: bytes | Sequence[bytes],
    *,
    mode: int = 0o600,
    replace: bool = False,
) -> None:
    """Write a file in one step: all of it is there, or what was there before. It is then of whose it was.

    Content that comes in parts is written part by part, without a copy of the whole.

    Raises FileExistsError unless it may `replace` one, OSError for what the system refuses.
    """
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask
            if replace:
                _give(file.fileno(), path)
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            made.replace(path)
        else:
            os.link(made, path)
    finally:
        made.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
