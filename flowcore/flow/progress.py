"""Progress for a program: what a call tells of how far it is, given to a function."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
from msgspec import Raw

from flowcore.requests import Peer

logger = logging.getLogger(__name__)

OnProgress = Callable[[float, float | None, str | None], None]
"""Called with how far a call is, of how much if that is known, and a text if there is one."""


class _Told(msgspec.Struct, gc=False):
    progress: float
    total: float | None = None
    message: str | None = None


_decode = msgspec.json.Decoder(_Told).decode


class Listening:
    """A peer that gives progress to a function, and leaves everything else to another peer."""

    def __init__(self, peer: Peer, on_progress: OnProgress) -> None:
        self._peer = peer
        self._on_progress: OnProgress | None = on_progress

    @property
    def capabilities(self) -> dict[str, Raw]:
        """What the other peer can do."""
        return self._peer.capabilities

    def notify(self, method: str, params: Raw) -> None:
        """Progress calls the function; one that raises is called no more, and the work goes on."""
        if method != "notifications/progress":
            self._peer.notify(method, params)
            return
        if self._on_progress is None:
            return
        try:
            told = _decode(params)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # an upstream's nonsense tells nothing
        try:
            self._on_progress(told.progress, told.total, told.message)
        except Exception:
            self._on_progress = None
            logger.exception("on_progress failed, and is told no more")

    async def request(self, method: str, params: Raw) -> Raw:
        """The other peer is asked."""
        return await self._peer.request(method, params)
