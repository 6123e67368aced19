"""An agent that writes down each time it is run, in a file that outlives it: what ran twice shows there."""

from __future__ import annotations

import collections
import os
import pathlib

import trio

from flowcore.native import tool


class Ledger:
    """Writes a line for each time it is run."""

    def __init__(self, path: str, node: str) -> None:
        self._node = node
        # a line is one write: those of several nodes do not run into each other
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @tool()
    async def write(self, request: str, seconds: float = 0.0) -> str:
        """Write its name down, then take a while: what must not be done twice."""
        return await self._write(request, seconds)

    @tool(idempotent=True)
    async def again(self, request: str, seconds: float = 0.0) -> str:
        """Write its name down, then take a while: what may be done twice."""
        return await self._write(request, seconds)

    async def _write(self, request: str, seconds: float) -> str:
        os.write(self._file, f"{request} {self._node}\n".encode())
        await trio.sleep(seconds)
        return self._node


def agent(name: str, path: pathlib.Path, node: str) -> str:
    """The TOML of such an agent."""
    return f"""
[agent.{name}]
type = "python"
target = "{__file__}:Ledger"
options = {{ path = "{path}", node = "{node}" }}
"""


def written(path: pathlib.Path) -> collections.Counter[str]:
    """How often each request was run."""
    lines = path.read_text().splitlines()
    return collections.Counter(line.partition(" ")[0] for line in lines)
