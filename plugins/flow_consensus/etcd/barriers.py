"""Read barriers: all that are asked while one look at the head is under way share the next one."""

from __future__ import annotations

import attrs
import trio

from flow_consensus.etcd.failures import EtcdFailure, Unanswered
from flow_consensus.etcd.log import Log
from flow_consensus.etcd.settings import EtcdSettings
from flowcore.errors import StateUnavailable, UntrustedFile


@attrs.define(eq=False)
class _Round:
    """What several wait for."""

    done: trio.Event = attrs.field(factory=trio.Event)
    position: int | None = None
    why: str = ""


class Barriers:
    """Those that wait, and one task that looks."""

    def __init__(self, log: Log, settings: EtcdSettings) -> None:
        self._log = log
        self._settings = settings
        self._next: _Round | None = None
        self._wake = trio.Event()

    async def wait(self) -> int:
        """A position, as `Consensus.read_barrier` gives it. Raises StateUnavailable."""
        self._log.check()
        if self._next is None:
            self._next = _Round()
            self._wake.set()
        mine = self._next
        with trio.move_on_after(self._settings.patience):
            await mine.done.wait()
        if mine.position is not None:
            return mine.position
        why = mine.why or self._log.stopped or self._log.client.trouble or "etcd is slow"
        raise StateUnavailable(f"nobody says what is committed: {why}", retry_after=0.5)

    async def run(self) -> None:
        """Look as often as somebody waits, until cancelled. Raises UntrustedFile."""
        log = self._log
        try:
            while True:
                if self._next is None:
                    self._wake = trio.Event()
                    await self._wake.wait()
                now, self._next = self._next, None
                assert now is not None
                await self._look(now)
        finally:
            if self._next is not None:
                self._next.why = log.stopped or "the node is being stopped"
                self._next.done.set()

    async def _look(self, now: _Round) -> None:
        """All that were acknowledged before this begins are before what it finds."""
        log = self._log
        with trio.move_on_after(self._settings.patience):
            while True:
                try:
                    end = await log.read_end()
                except Unanswered:
                    await log.client.pause()
                except EtcdFailure as error:
                    now.why = str(error)
                    break
                except UntrustedFile as error:
                    now.why = str(error)
                    now.done.set()
                    raise
                else:
                    now.position = end.last
                    break
        now.done.set()
