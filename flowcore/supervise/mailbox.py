"""The order of things in a supervisor: one message after another, each done before the next is begun."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio


class Mailbox:
    """What is to be done, in the order in which it came. What is asked for here is answered, or refused."""

    def __init__(self) -> None:
        self._messages: deque[Callable[[], Awaitable[None]]] = deque()
        self._came = trio.Event()
        self._asked: set[_Answer] = set()

    def post(self, message: Callable[[], Awaitable[None]]) -> None:
        """Have this done in its turn."""
        self._messages.append(message)
        self._came.set()

    async def do_next(self) -> None:
        """Do what came first, waiting for it if there is nothing yet."""
        if not self._messages:
            self._came = trio.Event()
            await self._came.wait()
        await self._messages.popleft()()

    async def ask(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Have this done in its turn, and give its result or raise its exception.

        If the caller goes away before its turn has come, nothing is done.
        """
        answer = _Answer()
        self._asked.add(answer)
        self.post(partial(answer.fulfil, work))
        try:
            await answer.done.wait()
        finally:
            self._asked.discard(answer)
            answer.abandoned = True
        if answer.error is not None:
            raise answer.error
        return answer.value

    def refuse(self, why: Callable[[], Exception]) -> None:
        """Raise this to everyone who still waits for an answer."""
        for answer in self._asked:
            answer.refuse(why())


class _Answer:
    """What somebody who asked waits for."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.value: Any = None
        self.error: Exception | None = None
        self.abandoned = False

    async def fulfil(self, work: Callable[[], Awaitable[Any]]) -> None:
        if self.abandoned:
            return
        try:
            self.value = await work()
        except Exception as error:
            self.error = error  # raised again where it was asked for
        self.done.set()

    def refuse(self, error: Exception) -> None:
        if not self.done.is_set():
            self.error = error
            self.done.set()
