"""Long work, and work that one node does at a time. For configs/durable.toml; see docs/durable.md."""

from __future__ import annotations

import trio

from flowcore.native import CallContext, tool


class Reports:
    """Reports take a while."""

    @tool(idempotent=True, task="optional")
    async def write(self, context: CallContext, subject: str, pages: int = 3) -> str:
        """Write a report: it may be begun again where it was lost, for that does no harm."""
        for page in range(1, pages + 1):
            context.progress(page, pages, f"page {page} of {pages}")
            await trio.sleep(1.0)
        return f"{pages} pages about {subject}"

    @tool()
    async def send(self, subject: str) -> str:
        """Send a report: twice would be once too often, so give a key with it."""
        return f"sent: {subject}"


class Ledger:
    """What must be done by one node at a time."""

    def __init__(self) -> None:
        self._last = 0

    @tool()
    async def book(self, context: CallContext, amount: int) -> str:
        """Book an amount under the number that this node holds the agent by."""
        if context.fence < self._last:
            raise ValueError(f"{context.fence} is over: {self._last} was seen")
        self._last = context.fence
        return f"booked {amount} under {context.fence}"
