"""Keys and tasks that outlive a node, as requests see them: in a state that other nodes may share.

Without one both live in the memory of their node.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Raw

from flowcore.envelope import Envelope, Owner, Reply
from flowcore.errors import CallError
from flowcore.requests.task import KeptTask, Task


class HeldKey(Protocol):
    """A key that this node has reserved: its work is to be done here, once."""

    async def settle(self, reply: Reply | None, error: CallError | None) -> None:
        """Tell what came of it. Returns when that is known to all, or after a while: it goes on being told.

        An error that never began frees the key; one after which nobody knows makes it unknown.
        """
        ...

    def give_up(self, *, began: bool) -> None:
        """The work was cut off: tell so, without being waited for."""
        ...


class SharedKeys(Protocol):
    """Idempotency keys that hold on every node."""

    async def reserve(
        self, envelope: Envelope, fingerprint: bytes, *, join: bool, repeatable: bool
    ) -> HeldKey | Reply:
        """Reserve the key of a request, or give the outcome that it has.

        Where another node works on it, its outcome is waited for, with `join`, until the deadline. Raises the
        stored error, OutcomeUnknown, IdempotencyConflict, StillRunning, DeadlineExceeded; StateUnavailable,
        Overloaded, QuotaExceeded: nothing has begun.
        """
        ...


class Keeper(Protocol):
    """Where tasks are kept that outlive a node."""

    async def keep(self, task: Task, envelope: Envelope) -> KeptTask:
        """Keep a task that runs here. When it returns, the task is not lost any more.

        Raises TooLarge, QuotaExceeded, StateUnavailable, Overloaded, OutcomeUnknown.
        """
        ...

    async def find(self, id_: str, owner: Owner) -> Task:
        """A task of this owner, as it stands. Raises UnknownTarget, StateUnavailable."""
        ...

    async def cancel(self, id_: str, owner: Owner) -> None:
        """Wish that a task end, wherever it is done. Raises UnknownTarget, StateUnavailable."""
        ...

    async def answer(self, id_: str, owner: Owner, answers: dict[str, Raw]) -> None:
        """Give answers to what a task asks that another node does.

        Raises UnknownTarget, StateUnavailable, InvalidArguments, AgentUnavailable.
        """
        ...
