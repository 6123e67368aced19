"""What is good no more, at hand for every request: a copy of the state's revocations."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import trio

from flowcore.durable.asking import do_in_the_end
from flowcore.state import Command, Reinstate, Reinstated, Revocation, Revoke, State

logger = logging.getLogger(__name__)


class Revocations:
    """Revoked ids. Empty where nothing is followed; asked in a few hundred nanoseconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._until: dict[str, float | None] = {}
        self._stale = trio.Event()

    def __contains__(self, id_: object) -> bool:
        if not self._until:
            return False
        until = self._until.get(id_, 0.0)  # type: ignore[call-overload]
        return until is None or until > self._clock()

    def __len__(self) -> int:
        return len(self._until)

    def heard(self, command: Command | None) -> None:
        """A command was applied here: a revocation holds from now on, or no more."""
        if isinstance(command, Revoke):
            until = None if command.ttl is None else self._clock() + command.ttl
            for id_ in command.ids:
                before = self._until.get(id_, 0.0)
                longer = None if before is None or until is None else max(before, until)
                self._until[id_] = longer
        elif isinstance(command, Reinstate):
            for id_ in command.ids:
                self._until.pop(id_, None)
        elif command is None:
            self._stale.set()

    async def load(self, state: State) -> None:
        """Take over what is revoked as the state is here now."""
        found: dict[str, float | None] = {}
        after = ""
        while True:
            page: list[Revocation] = await state.revocations(after)
            found |= {one.id: one.expires for one in page}
            if not page:
                break
            after = page[-1].id
        self._until = found

    async def follow(self, state: State) -> None:
        """Begin anew whenever a snapshot has taken the place of what was there; until cancelled."""
        while True:
            await self._stale.wait()
            self._stale = trio.Event()
            await self.load(state)

    async def revoke(self, state: State, ids: tuple[str, ...], seconds: float | None) -> None:
        """These are good no more, on any node. Returns when that is known to the state, and holds here.

        Raises QuotaExceeded, InvalidArguments.
        """
        await do_in_the_end(state, Revoke(ids=ids, ttl=seconds))

    async def reinstate(self, state: State, ids: tuple[str, ...]) -> tuple[str, ...]:
        """These are good again, on any node; gives those that were revoked. Raises as `State.do` does."""
        done: Reinstated = await state.do(Reinstate(ids=ids))
        return done.ids
