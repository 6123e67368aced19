"""What a router keeps on disk beside the state: whole, or not at all.

A line that names the format and carries a BLAKE2b digest of the rest; MessagePack, its length before it; and
behind it what is long, as it is. Written beside and renamed, so that a crash leaves what was there before or
what comes now; what does not fit its digest counts as not there, for all of it can be made again.
"""

from __future__ import annotations

import hashlib
import logging
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from flowcore.routing.troubles import Troubles
from flowcore.secrets import write_private

logger = logging.getLogger(__name__)

_FORMAT = b"flowcore router 2 "
_LENGTH = 8
_AGAIN = 5.0
"""Seconds after which what could not be saved is tried again, at most."""


def write_kept(path: pathlib.Path, value: dict[str, Any], **long: bytes) -> None:
    """Keep a value. Raises OSError; what was kept before is still there then.

    What is `long` becomes part of it, and is never copied: a copy would hold the interpreter for as long.
    """
    told = msgspec.msgpack.encode((value, {name: len(one) for name, one in long.items()}))
    parts = [len(told).to_bytes(_LENGTH, "big"), told, *long.values()]
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = _FORMAT + digest.hexdigest().encode() + b"\n"
    write_private(path, [head, *parts], replace=True)  # there are people's texts in it


def read_kept(path: pathlib.Path) -> Any:
    """What was kept; None, and a warning, where it cannot be trusted."""
    try:
        head, _, data = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("%s cannot be read, and is made anew: %s", path.name, error.strerror)
        return None
    digest = hashlib.blake2b(data, digest_size=32).hexdigest().encode()
    if head != _FORMAT + digest:
        logger.warning("%s is damaged, or of another version, and is made anew", path.name)
        return None
    at = _LENGTH + int.from_bytes(data[:_LENGTH], "big")
    value, sizes = msgspec.msgpack.decode(data[_LENGTH:at])
    for name, size in sizes.items():
        value[name] = data[at : at + size]
        at += size
    return value


async def save_often(
    save: Callable[[], Awaitable[bool]], seconds: float, what: str, troubles: Troubles
) -> None:
    """Save now and then, until cancelled; where that fails, say so and try again soon.

    `save` says whether all is on disk: False if it is put off.
    """
    about, wait = f"{what} cannot be saved", seconds
    while True:
        await trio.sleep(wait)
        try:
            saved = await save()
        except OSError as error:
            troubles.set(about, error)
            wait = min(seconds, _AGAIN)
        else:
            if saved:
                troubles.clear(about)
            wait = seconds
