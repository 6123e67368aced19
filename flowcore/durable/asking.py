"""Commands that are given again until they are taken."""

from __future__ import annotations

from typing import Any

import trio

from flowcore.errors import OutcomeUnknown, Overloaded, StateUnavailable
from flowcore.state import Command, State

PASSING = (StateUnavailable, Overloaded, OutcomeUnknown)
"""What a command may be refused with now, and not later."""
_FIRST, _LONGEST = 0.05, 2.0


class Patience:
    """Waits that grow, with jitter, between one attempt and the next."""

    def __init__(self) -> None:
        self._next = _FIRST

    async def wait(self, error: Overloaded | StateUnavailable | OutcomeUnknown) -> None:
        """Wait as long as is meet after this refusal."""
        from random import uniform  # chance that decides nothing but when to ask again

        asked = min(_LONGEST, error.retry_after or 0.0)
        await trio.sleep(max(asked, self._next) * uniform(0.5, 1.0))  # nosec B311
        self._next = min(_LONGEST, 2 * self._next)


async def do_in_the_end(state: State, command: Command) -> Any:
    """Have a command applied that does no harm if it is applied twice, however long that takes."""
    patience = Patience()
    while True:
        try:
            return await state.do(command)
        except PASSING as error:
            await patience.wait(error)
