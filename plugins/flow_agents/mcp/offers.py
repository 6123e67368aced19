"""What the upstream offers, kept up to date and announced."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from typing import Final

import trio

from flow_agents.mcp.greeting import Capabilities
from flow_agents.mcp.listing import KINDS, Ask, Listing
from flow_agents.mcp.settings import McpSettings
from flowcore.errors import AgentUnavailable, CallError, UpstreamFailure
from flowcore.interfaces import AgentPort
from flowcore.mcp import ParamHeader

logger = logging.getLogger(__name__)

_PAUSE: Final = 0.1
"""Seconds between two listings, so that changes that come in a burst are listed together."""
_LONGEST_WAIT: Final = 60.0
"""Seconds between a listing that failed and the next try, longer each time."""


class Offers:
    """The lists of one connection, read anew where they changed."""

    def __init__(
        self,
        listing: Listing,
        capabilities: Capabilities,
        ask: Ask,
        port: AgentPort,
        settings: McpSettings,
    ) -> None:
        self._listing = listing
        self._capabilities = capabilities
        self._ask = ask
        self._port = port
        self._timeout = settings.list_timeout
        self._refresh = math.inf if settings.refresh is None else settings.refresh
        self._stale: set[str] = set()
        self._changed = trio.Event()

    def mirrors(self, tool: str) -> tuple[ParamHeader, ...]:
        """The arguments of a tool that headers mirror (2026-07-28 over HTTP)."""
        return self._listing.mirrors.get(tool, ())

    def changed(self, kinds: Collection[str]) -> None:
        """These kinds (tools, resources, prompts) are not what they were."""
        self._stale.update(kinds)
        self._changed.set()

    def missed(self) -> None:
        """Whatever the upstream announces may have changed unheard."""
        stale = []
        for kind in KINDS:
            features = getattr(self._capabilities, kind)
            if features is not None and features.listChanged:
                stale.append(kind)
        if stale:
            self.changed(stale)

    async def list(self, kinds: Collection[str] = tuple(KINDS)) -> None:
        """List these kinds and announce what there is now. Raises CallError, and then nothing has changed."""
        try:
            with trio.fail_after(self._timeout):
                catalog = await self._listing.read(
                    self._ask, [kind for kind in KINDS if kind in kinds]
                )
        except trio.TooSlowError:
            raise AgentUnavailable(
                f"the upstream does not list what it offers within {self._timeout:g} s"
            ) from None
        self._port.announce(catalog)

    async def keep(self) -> None:
        """List what changes, until cancelled. Raises UpstreamFailure for lists that are none."""
        failures = 0
        while True:
            with trio.move_on_after(self._refresh) as waiting:
                await self._changed.wait()
            self._changed = trio.Event()
            kinds, self._stale = self._stale, set()
            if waiting.cancelled_caught:
                kinds = set(KINDS)
            try:
                await self.list(kinds)
            except UpstreamFailure:
                raise
            except CallError as error:
                logger.warning("agent %s is not listed anew: %s", self._port.agent, error)
                self.changed(kinds)
                await trio.sleep(min(2.0**failures, _LONGEST_WAIT))
                failures += 1
            else:
                failures = 0
                await trio.sleep(_PAUSE)
