"""A neighbour that is wanted: dialled until there is a link, and again when it is lost."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any, Protocol

import trio

from flowcore.errors import LinkFailed
from flowcore.swarm.links.backoff import Backoff
from flowcore.swarm.links.link import LiveLink
from flowcore.swarm.links.settings import LinkSettings

logger = logging.getLogger(__name__)


class Dialler(Protocol):
    """Who dials for it."""

    def up(self) -> Mapping[str, LiveLink]: ...
    async def reach(self, address: str, expected: str | None) -> LiveLink: ...


class Neighbour:
    """One node to which a link is wanted."""

    def __init__(
        self,
        name: str,
        address: str,
        dialler: Dialler,
        settings: LinkSettings,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.address = address
        self._dialler = dialler
        self._backoff = Backoff(settings.retry_first, settings.retry_most, chance)
        self._scope = trio.CancelScope()
        self._noticed = trio.Event()
        self._retry_first = settings.retry_first
        self._pause = False
        self._next: float | None = None
        self.reason = ""
        """Why there is no link, if there is none."""
        self.links = 0
        """How many links there were."""

    def stop(self) -> None:
        """It is not wanted any more."""
        self._scope.cancel()

    def move(self, address: str) -> None:
        """It is at another address now, perhaps; then it is dialled there at once."""
        if address != self.address:
            self.address = address
            self._backoff.failures = 0
            self.notice()

    def notice(self) -> None:
        """Look again: a link has come or gone, or the address is another."""
        self._noticed.set()

    def arrived(self) -> None:
        """There is a link."""
        self.links += 1
        self.reason = ""

    def ended(self, seconds: float, reason: str) -> None:
        """Its link is down, after so many seconds: if these were few, it is not dialled at once."""
        self.reason = reason
        self._backoff.stood(seconds)
        self._pause = self._backoff.failures > 0 or seconds < self._retry_first

    async def run(self) -> None:
        """Dial until it is not wanted any more."""
        with self._scope:
            while True:
                self._noticed = trio.Event()
                if self.name in self._dialler.up():
                    await self._noticed.wait()
                    continue
                if self._pause:
                    self._pause = False
                    await self._wait()
                    continue
                try:
                    await self._dialler.reach(self.address, self.name)
                except LinkFailed as error:
                    if self.name in self._dialler.up():
                        continue  # it has dialled meanwhile
                    if str(error) != self.reason:
                        logger.warning("no link to %r: %s", self.name, error)
                    self.reason = str(error)
                    await self._wait()

    async def _wait(self) -> None:
        """Until it is time to dial again, or something has changed."""
        wait = self._backoff.failed()
        self._next = trio.current_time() + wait
        with trio.move_on_after(wait):
            await self._noticed.wait()
        self._next = None

    def status(self, now: float, *, up: bool) -> dict[str, Any]:
        """How it stands with it."""
        told: dict[str, Any] = {
            "address": self.address,
            "up": up,
            "failures": self._backoff.failures,
            "reconnects": max(0, self.links - 1),
        }
        if not up:
            told["reason"] = self.reason
            if self._next is not None:
                told["next"] = round(max(0.0, self._next - now), 3)
        return told
