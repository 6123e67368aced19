"""Commands with the time that a server has given them."""

from __future__ import annotations

import msgspec


class Timed(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A command as it stands in the log."""

    time: float
    command: bytes


def timed(data: bytes) -> Timed | None:
    """None for what is no command, as an adversary may have it stand there."""
    try:
        return msgspec.msgpack.decode(data, type=Timed)
    except msgspec.MsgspecError:
        return None
