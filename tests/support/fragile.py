"""An exporter that crashes when it is told to, as a plugin of one file, and keeps what came."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import attrs
import trio

from flowcore.config import setting
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.telemetry import Exporter, LogLine, Page, Signal, Snapshot, SpanRecord


class Fragile:
    """One life."""

    lives: ClassVar[list[Fragile]] = []
    """All there were, the one that lives last."""
    signals: frozenset[Signal] = frozenset({"traces", "logs"})
    tried: ClassVar[int] = 0
    """How often one was to be opened."""

    def __init__(self) -> None:
        self.spans: list[SpanRecord] = []
        self.lines: list[LogLine] = []
        self.end = trio.Event()
        self.hold: trio.Event | None = None
        self.pages: Mapping[str, Callable[[str], Awaitable[Page]]] = {"/fragile": self.page}

    async def page(self, accept: str) -> Page:
        """How many there were."""
        del accept
        return Page("text/plain", b"%d" % len(self.lives))

    async def send_spans(self, spans: Sequence[SpanRecord]) -> None:
        """Keep them."""
        if self.hold is not None:
            await self.hold.wait()
        self.spans += spans

    async def send_logs(self, lines: Sequence[LogLine]) -> None:
        """Keep them."""
        self.lines += lines

    async def send_metrics(self, snapshot: Snapshot) -> None:
        """Nothing: it is not asked to."""

    def status(self) -> dict[str, Any]:
        """Which life it is."""
        return {"life": self.lives.index(self) + 1}

    async def crash(self) -> None:
        """What goes on within it, and fails when it is told to."""
        await self.end.wait()
        raise RuntimeError("the exporter broke")


@attrs.frozen(kw_only=True)
class FragileConfig:
    """How it is to fail."""

    fails: int = setting(0, help="how often it does not open, before it does")


@asynccontextmanager
async def open_fragile(config: FragileConfig, context: Context) -> AsyncGenerator[Exporter]:
    """A life."""
    del context
    Fragile.tried += 1
    if Fragile.tried <= config.fails:
        raise RuntimeError("nobody is there")
    fragile = Fragile()
    Fragile.lives.append(fragile)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fragile.crash)
        yield fragile
        nursery.cancel_scope.cancel()


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("exporter", "fragile", FragileConfig, open_fragile))
