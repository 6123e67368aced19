"""The exporters of a node: each is opened, fed, and opened again when it fails; none keeps others from work.

An exporter that cannot open, crashes or hangs is degraded and tried again with back-off; it ends no start, no
request and no other exporter. All of them together have `SHUTDOWN` seconds to get rid of what waits.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import trio

from flowcore.agents.reasons import reason_of
from flowcore.assembly import Component, Status, StatusBoard
from flowcore.errors import PluginError
from flowcore.telemetry import Exporter, Exporting, Telemetry

logger = logging.getLogger(__name__)

SHUTDOWN = 3.0
"""Seconds that exporters have at the end, all together."""
CLOSING = 0.5
"""Seconds of these that are left for them to close."""
PATIENCE = 1.0
"""Seconds that a start waits for exporters to open."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0

Opening = Callable[[Component], AbstractAsyncContextManager[Any]]


class Exporters:
    """Keeps the exporters of a plan open."""

    def __init__(
        self,
        telemetry: Telemetry,
        board: StatusBoard,
        opening: Opening,
        snapshot: Callable[[], Any] | None = None,
    ) -> None:
        """`opening` opens a component; `snapshot` gives the metrics."""
        self._telemetry = telemetry
        self._board = board
        self._opening = opening
        self._snapshot = snapshot
        self._stopping = trio.Event()
        self._until = 0.0
        """By when they must have let go, on trio's clock, once they are told to stop."""

    async def keep(self, component: Component, tried: trio.Event) -> None:
        """Have an exporter open until all are told to stop; `tried` is set when it was tried once."""
        try:
            await self._reopen(component, tried)
        finally:
            self._telemetry.detach(component.name)
            self._telemetry.backlog(component.name, component.selection.common).drop()
        self._board.set(component.path, component.factory.type, Status.STOPPED, "")

    async def _reopen(self, component: Component, tried: trio.Event) -> None:
        wait = FIRST_WAIT
        while not self._stopping.is_set():
            began = trio.current_time()
            try:
                await self._live(component, tried)
            except Exception as error:
                reason = reason_of(error)
                logger.warning("exporter %s failed: %s", component.name, reason)
                self._tell(component, reason)
            tried.set()
            if trio.current_time() - began > LONGEST_WAIT:
                wait = FIRST_WAIT
            with trio.move_on_after(wait):
                await self._stopping.wait()
            wait = min(2 * wait, LONGEST_WAIT)

    async def _live(self, component: Component, tried: trio.Event) -> None:
        telemetry = self._telemetry
        async with self._opening(component) as exporter:
            self._check_pages(exporter)
            exporting = Exporting(
                component.name,
                component.selection.common,
                exporter,
                self._snapshot,
                lambda why: self._tell(component, why),
                telemetry.backlog(component.name, component.selection.common),
            )
            self._tell(component, "")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(exporting.run)
                telemetry.attach(exporting)
                try:
                    tried.set()
                    await self._stopping.wait()
                finally:
                    # what comes before it is open again waits for it, as far as there is room
                    telemetry.crashed(exporting)
                telemetry.detach(component.name)
                exporting.close()
                nursery.cancel_scope.deadline = self._until - CLOSING
            await exporting.finish(self._until - CLOSING - trio.current_time())

    def _check_pages(self, exporter: Exporter) -> None:
        taken = self._telemetry.pages.keys() & exporter.pages.keys()
        if taken:
            raise PluginError(f"another exporter has the page {min(taken)!r}")

    def _tell(self, component: Component, why: str) -> None:
        status = Status.DEGRADED if why else Status.OK
        self._board.set(component.path, component.factory.type, status, why)

    def stop(self) -> None:
        """Have all of them get rid of what they have, and close."""
        self._until = trio.current_time() + SHUTDOWN
        self._stopping.set()


@asynccontextmanager
async def open_exporters(
    components: tuple[Component, ...],
    telemetry: Telemetry,
    board: StatusBoard,
    opening: Opening,
    snapshot: Callable[[], Any] | None = None,
) -> AsyncGenerator[Exporters]:
    """The exporters of a node, open as far as they can be."""
    exporters = Exporters(telemetry, board, opening, snapshot)
    for component in components:
        telemetry.expect(component.name, component.selection.common)
    async with trio.open_nursery() as nursery:
        tried = [trio.Event() for _ in components]
        for component, event in zip(components, tried, strict=True):
            nursery.start_soon(exporters.keep, component, event)
        with trio.move_on_after(PATIENCE):
            for event in tried:
                await event.wait()
        try:
            yield exporters
        finally:
            exporters.stop()
            nursery.cancel_scope.deadline = trio.current_time() + SHUTDOWN
