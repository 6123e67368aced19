"""A call that may speak before it answers: it runs on its own, and somebody carries off what it says.

A call that can neither notify nor ask needs none of this and runs in its handler's task.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs
import msgspec
import trio
from msgspec import Raw

from flowcore.errors import CallCancelled, CallError, InternalError, InvalidArguments, Overloaded

if TYPE_CHECKING:
    from flow_edges.mcp.peers import Talker

logger = logging.getLogger(__name__)

_MOST_QUESTIONS = 32
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


@attrs.define(eq=False)
class Question:
    """What the work asks of the client, until it is answered."""

    method: str
    params: Raw
    answer: Raw | None = None
    answered: trio.Event = attrs.field(factory=trio.Event)


class Running:
    """One call under way: what it has said and asked so far, and in the end its outcome."""

    def __init__(self, backlog: int) -> None:
        self.scope = trio.CancelScope()
        self.frames: deque[bytes] = deque()
        """Notifications, encoded, that nobody has carried off yet."""
        self.questions: dict[str, Question] = {}
        """Unanswered questions, by key."""
        self.result: bytes | None = None
        self.error: CallError | None = None
        self.cancelled = False
        """Whether it ended because its scope was cancelled."""
        self.peer: Talker | None = None
        self.dropped = 0
        self._backlog = backlog
        self._asked = 0
        self._news = trio.Event()

    @property
    def ended(self) -> bool:
        """Whether the outcome is there."""
        return self.result is not None or self.error is not None

    async def run(self, work: Callable[[], Awaitable[bytes]]) -> None:
        """Do the work and keep its outcome. Raises nothing but what ends the whole edge."""
        try:
            with self.scope:
                try:
                    self.result = await work()
                except CallError as error:
                    self.error = error
                except Exception:
                    logger.exception("a call failed within the edge")
                    self.error = InternalError("internal error")
        finally:
            if not self.ended:
                self.cancelled = True
                self.error = CallCancelled("the call was cancelled")
            self._news.set()

    def emit(self, frame: bytes) -> None:
        """Say something. Never blocks: what exceeds the backlog is dropped and counted."""
        if len(self.frames) >= self._backlog or self.ended:
            self.dropped += 1
            return
        self.frames.append(frame)
        self._news.set()

    async def ask(self, method: str, params: Raw) -> Raw:
        """Ask the client something and wait for the answer, a JSON object."""
        if len(self.questions) >= _MOST_QUESTIONS:
            raise Overloaded(f"a call may ask at most {_MOST_QUESTIONS} things at a time")
        self._asked += 1
        key = f"{method.partition('/')[0]}-{self._asked}"
        question = self.questions[key] = Question(method, params)
        self._news.set()
        try:
            await question.answered.wait()
        finally:
            self.questions.pop(key, None)
        assert question.answer is not None
        return question.answer

    def answer(self, answers: dict[str, Raw]) -> None:
        """Give answers by key; others than those asked for are ignored. Raises InvalidArguments if one
        is no JSON object."""
        for key, answer in answers.items():
            if key in self.questions and memoryview(answer)[0] != ord("{"):
                raise InvalidArguments(f"the answer {key!r} in inputResponses must be an object")
        for key, answer in answers.items():
            question = self.questions.pop(key, None)
            if question is not None:
                question.answer = answer
                question.answered.set()

    async def news(self) -> None:
        """Wait until there is a frame, a question or the outcome. One waits at a time."""
        while not (self.frames or self.questions or self.ended):
            await self._news.wait()
            self._news = trio.Event()
