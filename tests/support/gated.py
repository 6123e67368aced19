"""An agent whose work waits at a gate, and which counts how often each request of it is run."""

from __future__ import annotations

import collections
from collections.abc import Callable

import trio

from flowcore.native import tool


class Gate:
    """Where the work of all nodes of one process waits, and where it is counted."""

    def __init__(self) -> None:
        self.runs: collections.Counter[str] = collections.Counter()
        """How often each request was run."""
        self.inside: collections.Counter[str] = collections.Counter()
        """Of these, how many are waiting, by node."""
        self._open = trio.Event()
        self._changed = trio.Event()

    def open(self) -> None:
        """Let all work end."""
        self._open.set()

    async def until_run(self, requests: dict[str, int]) -> None:
        """Wait until each of these requests has been run so often."""
        await self._until(lambda: all(self.runs[one] >= count for one, count in requests.items()))

    async def until_left(self, node: str) -> None:
        """Wait until no work of a node waits any more."""
        await self._until(lambda: not self.inside[node])

    async def _until(self, done: Callable[[], bool]) -> None:
        with trio.fail_after(120):
            while not done():
                await self._changed.wait()

    async def passed(self, request: str, node: str) -> str:
        """Be counted, and wait; the node."""
        self.runs[request] += 1
        self.inside[node] += 1
        self._change()
        try:
            await self._open.wait()
        finally:
            self.inside[node] -= 1
            self._change()
        return node

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


gates: list[Gate] = []
"""The gate of the test that runs is the last one."""


class Gated:
    """Work at the gate."""

    def __init__(self, node: str) -> None:
        self._node = node

    @tool()
    async def once(self, request: str) -> str:
        """What must not be done twice."""
        return await gates[-1].passed(request, self._node)

    @tool(idempotent=True)
    async def again(self, request: str) -> str:
        """What may be done twice."""
        return await gates[-1].passed(request, self._node)
